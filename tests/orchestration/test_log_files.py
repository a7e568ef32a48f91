"""Log files shown as Compose shows containers: how many lines, how old, whose."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.engines.standalone import log_files
from orchestration.errors import StackError

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def log(tmp_path):
    """Write the lines of a log file."""

    def write(*lines, name="mlflow.log"):
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    return write


def ago(**span):
    """A moment of the past as Airflow writes it."""
    return (datetime.now(UTC) - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%S.123+0000")


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, []), (1, ["c"]), (2, ["b", "c"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])],
)
def test_the_last_lines_as_many_as_asked(log, count, shown):
    assert log_files.last_lines(log("a", "b", "c"), count) == shown


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert log_files.last_lines(tmp_path / "never.log", 5) == []


def test_bytes_that_are_no_text_do_not_end_it(tmp_path):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"good\n\xff\xfe\nend")
    first, _, last = log_files.last_lines(file, 5)
    assert (first, last) == ("good", "end")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
    ],
)
def test_a_span_is_a_number_and_a_unit(text, span):
    assert log_files.span(text) == span


@pytest.mark.parametrize(
    "text", ["yesterday", "10", "m", "10w", "1.5h", "-3m", "10m ago", "1h30m", "9999999d"]
)
def test_what_is_no_span_is_refused_with_examples(text):
    with pytest.raises(StackError) as refused:
        log_files.span(text)
    assert str(refused.value) == f"--since {text} is no span: 30s, 10m, 2h or 1d"


@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        ("2026-11-22T11:59:59.999+0000", False),
        ("2026-11-22T12:00:00.000+0000", True),
        ("2026-11-23T00:00:00", True),
        ("2026-11-22 11:59:59.100 UTC", False),
        ("2026-11-22 12:00:01.100 UTC", True),
        ("2026/11/22 11:59:59", False),
        ("2026/11/22 12:00:00", True),
        ("[2026-11-22T13:00:00.000+0000]", True),
        ("\x1b[2m2026-11-22T11:00:00.000000Z\x1b[0m", False),
    ],
)
def test_lines_are_cut_off_by_their_own_time_in_every_form(log, stamp, shown):
    line = f"{stamp} INFO ready"
    assert log_files.last_lines(log(line), 5, NOON) == ([line] if shown else [])


def test_a_line_without_a_time_belongs_to_the_one_above(log):
    old = ["2026-11-22 11:00:00 ERROR", "Traceback (old)", "  in old"]
    new = ["2026/11/22 12:30:00 ERROR", "Traceback (new)", "  in new"]
    assert log_files.last_lines(log("before any time", *old, *new), 9, NOON) == new


def test_an_older_line_after_a_newer_one_is_left_out(log):
    lines = ["2026-11-22 13:00:00 new", "2026-11-22 11:00:00 old", "of old"]
    assert log_files.last_lines(log(*lines), 9, NOON) == lines[:1]


def test_a_time_far_inside_a_line_is_what_it_talks_of_not_its_own(log):
    own = "2026-11-22 13:00:00 new"
    tale = f"{'a long story ' * 5} until 2026-11-22 01:00:00"
    assert log_files.last_lines(log(own, tale), 9, NOON) == [own, tale]


def test_what_is_only_shaped_like_a_time_belongs_to_the_line_above(log):
    file = log(f"{ago(minutes=1)} here", "0000-00-00 00:00:00 nowhere", "2026-06-31T00:61:00 never")
    shown = log_files.last_lines(file, 10, datetime.now(UTC) - timedelta(hours=1))
    assert len(shown) == 3


def test_without_a_start_nothing_is_left_out(log):
    lines = ["no time", "1999-01-01 00:00:00 old"]
    assert log_files.last_lines(log(*lines), 9) == lines


def test_each_line_stands_behind_its_services_name(log, capsys):
    files = {
        "mlflow": log("one", "two"),
        "airflow-scheduler": log("three", name="airflow-scheduler.log"),
    }
    assert log_files.show(files, tail=1, since="", follow=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mlflow            | two",
        "airflow-scheduler | three",
    ]


def test_a_service_that_wrote_nothing_yet_is_passed_over(log, tmp_path, capsys):
    files = {"status": tmp_path / "never.log", "mlflow": log("one")}
    assert log_files.show(files, tail=5, since="", follow=False) == 0
    assert capsys.readouterr().out == "mlflow | one\n"


def test_since_counts_back_from_now(log, capsys):
    file = log(f"{ago(minutes=11)} old", f"{ago(minutes=9)} new", "of new")
    log_files.show({"mlflow": file}, tail=5, since="10m", follow=False)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in shown] == ["new", "new"]
    assert shown[1] == "mlflow | of new"


def test_a_bad_span_is_told_before_any_line(log, capsys):
    with pytest.raises(StackError, match="yesterday"):
        log_files.show({"mlflow": log("one")}, tail=5, since="yesterday", follow=False)
    assert capsys.readouterr().out == ""


def test_a_line_that_has_not_ended_is_shown_where_nothing_is_followed(tmp_path, capsys):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\ntwo")
    assert log_files.last_lines(file, 1) == ["two"]
    log_files.show({"mlflow": file}, tail=5, since="", follow=False)
    assert capsys.readouterr().out == "mlflow | one\nmlflow | two\n"


def test_windows_ends_and_progress_bars_are_lines(tmp_path):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\r\n10%\r20%\r\ntwo\r\n")
    assert log_files.last_lines(file, 9) == ["one", "10%", "20%", "two"]


class Metered(io.BytesIO):
    """Bytes that count how many were read."""

    taken = 0

    def read(self, size=-1):
        block = super().read(size)
        self.taken += len(block)
        return block


class MeteredFile(type(Path())):
    """A file of which it is known how much was read."""

    def open(self, mode):
        self.log = Metered(b"an old line\n" * 500_000 + b"one\ntwo\n")
        return self.log


def test_of_a_large_log_only_the_end_is_read():
    file = MeteredFile("mlflow.log")
    assert log_files.last_lines(file, 2) == ["one", "two"]
    assert file.log.taken <= log_files.BLOCK_BYTES


def test_how_old_a_long_traceback_is_stands_far_above_its_end(log, monkeypatch):
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 7)
    traceback = [f"  in line {number}" for number in range(100)]
    file = log("2026-11-22 13:00:00 ERROR", *traceback)
    assert log_files.last_lines(file, 3, NOON) == traceback[-3:]


@pytest.mark.parametrize("count", [0, 1, 3, 399, 400, 401, 9999])
@pytest.mark.parametrize("end", ["", "\n"])
def test_lines_longer_than_a_block_and_many_of_them_are_counted_right(
    tmp_path, monkeypatch, count, end
):
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 7)
    lines = [f"{number} ü{'x' * (number % 23)}" for number in range(400)]
    file = tmp_path / "mlflow.log"
    file.write_text("\n".join(lines) + end, encoding="utf-8")
    assert log_files.last_lines(file, count) == lines[max(0, 400 - count) :]


# Following


@pytest.fixture
def follow(capsys):
    """Follow while each of `steps` happens in turn, then press Ctrl-C; what was printed in each."""

    def run(files, *steps, tail=0, since=""):
        left, printed = iter(steps), []

        def sleep(seconds):
            assert seconds == 0.25
            printed.append(capsys.readouterr().out.splitlines())
            step = next(left, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        assert log_files.show(files, tail=tail, since=since, follow=True, sleep=sleep) == 130
        return printed

    return run


def adding(file, text):
    """A step that writes at the end of a file, made if need be."""

    def step():
        with file.open("ab") as log:
            log.write(text if isinstance(text, bytes) else text.encode())

    return step


def rotating(file, last="", first=""):
    """A step as supervisord takes it: write, close, rename, open anew, write on."""

    def step():
        adding(file, last)()
        file.rename(f"{file}.1")
        adding(file, first)()

    return step


def test_new_lines_stand_behind_their_services_name_and_are_printed_once(log, follow):
    mlflow, status = log("one"), log("two", name="status.log")
    printed = follow(
        {"mlflow": mlflow, "status": status},
        adding(status, "three\nfour\n"),
        lambda: None,
        adding(mlflow, "five\n"),
        tail=1,
    )
    assert printed == [
        ["mlflow | one", "status | two"],
        ["status | three", "status | four"],
        [],
        ["mlflow | five"],
    ]


def test_a_line_is_printed_once_it_is_complete(tmp_path, follow):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\nt")
    steps = adding(file, "w"), adding(file, "o\nth"), adding(file, b"\xc3"), adding(file, b"\xa9\n")
    printed = follow({"mlflow": file}, *steps, tail=5)
    assert printed == [["mlflow | one"], [], ["mlflow | two"], [], ["mlflow | thé"]]


def test_a_line_begun_before_since_is_printed_once_it_is_complete(tmp_path, follow):
    file = tmp_path / "mlflow.log"
    file.write_text(f"{ago(hours=2)} old\n{ago(minutes=1)} one\ntw", encoding="utf-8")
    first, second = follow({"mlflow": file}, adding(file, "o\n"), tail=5, since="10m")
    assert [line.split()[-1] for line in first] == ["one"]
    assert second == ["mlflow | two"]


def test_rotation_loses_no_line_and_repeats_none(log, follow):
    file = log("one")
    printed = follow(
        {"mlflow": file},
        rotating(file, last="two\nth", first="ree\nfour\n"),
        adding(file, "five\n"),
        lambda: None,
    )
    assert printed == [
        [],
        ["mlflow | two", "mlflow | three", "mlflow | four"],
        ["mlflow | five"],
        [],
    ]


def test_between_renaming_and_the_new_file_nothing_is_lost(log, tmp_path, follow):
    file = log("one")
    old = tmp_path / "mlflow.log.1"
    printed = follow(
        {"mlflow": file},
        lambda: file.rename(old),
        adding(old, "two\n"),
        adding(file, "three\n"),
    )
    assert printed == [[], [], ["mlflow | two"], ["mlflow | three"]]


class RotatedAtALook(type(Path())):
    """A file that is rotated just before somebody looks whether it was."""

    step = None

    def stat(self, **options):
        if step := self.step:
            self.step = None
            step()
        return super().stat(**options)


def test_what_is_written_just_before_the_rotation_is_seen(log, follow):
    file = RotatedAtALook(log("one"))

    def step():
        file.step = rotating(Path(file), last="two\n", first="three\n")

    assert follow({"mlflow": file}, step)[1] == ["mlflow | two", "mlflow | three"]


def test_a_file_that_was_emptied_is_read_from_its_start(tmp_path, follow):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"a long line\nunfinis")
    printed = follow({"mlflow": file}, lambda: file.write_text("two\n"), adding(file, "three\n"))
    assert printed == [[], ["mlflow | unfinis", "mlflow | two"], ["mlflow | three"]]


def test_a_file_that_comes_later_is_shown_from_its_first_line(tmp_path, follow):
    file = tmp_path / "status.log"
    printed = follow({"status": file}, lambda: None, adding(file, "one\ntwo\n"), tail=1)
    assert printed == [[], [], ["status | one", "status | two"]]


def test_bytes_that_are_no_text_do_not_end_following(log, follow):
    file = log("one")
    junk = bytes(range(256)) + b"\n"
    _, printed, end = follow({"mlflow": file}, adding(file, junk), adding(file, "end\n"))
    assert printed
    assert end == ["mlflow | end"]


def test_a_terminal_that_is_not_utf8_gets_what_it_can_show(log, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    log_files.show({"mlflow": log("thé")}, tail=1, since="", follow=False)
    assert out.buffer.getvalue() == b"mlflow | th?\n"


class Screen(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def coloured(log, monkeypatch):
    """What an output gets to see of two services in an environment."""

    def shown(out, **environment):
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", **environment}.items():
            monkeypatch.setenv(name, value)
        files = {"mlflow": log("\x1b[1mone"), "status": log("two", name="status.log")}
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout", out)
            log_files.show(files, tail=1, since="", follow=False)
        return out.getvalue()

    return shown


PLAIN = "mlflow | \x1b[1mone\nstatus | two\n"


def test_on_a_terminal_each_services_name_has_its_colour(coloured):
    first, second = coloured(Screen()).splitlines()
    assert first == "\x1b[36mmlflow | \x1b[0m\x1b[1mone"
    assert second == "\x1b[33mstatus | \x1b[0mtwo"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_gets_none(coloured, environment):
    assert coloured(Screen(), **environment) == PLAIN


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_what_is_no_terminal_gets_lines_that_can_be_searched(coloured, environment):
    assert coloured(io.StringIO(), **environment) == PLAIN


def test_more_services_than_colours_begin_again(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", Screen())
    files = {f"service-{number}": tmp_path / "never.log" for number in range(23)}
    assert log_files.show(files, tail=1, since="", follow=False) == 0
