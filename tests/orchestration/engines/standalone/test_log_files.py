"""Log files shown as Compose shows containers: how many lines, how old, whose."""

import io
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from orchestration.engines.standalone import log_files
from orchestration.errors import StackError

REPO = Path(__file__).resolve().parents[4]
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


def test_last_lines_includes_an_unfinished_line(tmp_path):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\ntwo")
    assert log_files.last_lines(file, 1) == ["two"]


def test_windows_line_ends_and_progress_bars_are_lines(tmp_path, capsys):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\r\n10%\r20%\r\ntwo\r\n")
    log_files.show({"mlflow": file}, tail=9, since="", follow=False)
    assert capsys.readouterr().out == "mlflow | one\nmlflow | 10%\nmlflow | 20%\nmlflow | two\n"


def test_lines_of_a_long_traceback_have_the_time_above_it(log):
    traceback = [f"  in line {number}" for number in range(100)]
    file = log("2026-11-22 13:00:00 ERROR", *traceback)
    assert log_files.last_lines(file, 3, NOON) == traceback[-3:]


def test_a_terminal_that_is_not_utf8_gets_what_it_can_show(log, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    log_files.show({"mlflow": log("thé")}, tail=1, since="", follow=False)
    assert out.buffer.getvalue() == b"mlflow | th?\n"


# Following

SHOW = """
import sys
from pathlib import Path
from orchestration.engines.standalone import log_files

files = {Path(file).stem: Path(file) for file in sys.argv[3:]}
sys.exit(log_files.show(files, tail=int(sys.argv[1]), since=sys.argv[2], follow=True))
"""


@pytest.fixture
def follow():
    """Start a process that follows the files; it is killed where a test waits in vain."""
    started = []

    def start(*files, tail=5, since=""):
        argv = [sys.executable, "-c", SHOW, str(tail), since, *map(str, files)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        # Who runs these tests may ignore it, as a shell does for what it starts in the background.
        pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(argv, cwd=REPO, **pipes)
        started.append((process, threading.Timer(20, process.kill)))
        started[-1][1].start()
        return process

    yield start
    for process, timer in started:
        timer.cancel()
        process.kill()
        process.communicate()


def read(process, count=1):
    """Return the next lines that the process prints."""
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def add(file, text):
    """Append to a file, made if need be."""
    with file.open("ab") as log:
        log.write(text if isinstance(text, bytes) else text.encode())


def has_ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_end(processes):
    end = time.monotonic() + 10
    while not all(map(has_ended, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return all(map(has_ended, processes))


def test_follow_prints_last_lines_then_new_ones_after_the_service_name(log, follow):
    mlflow, status = log("one", "two"), log("three", name="status.log")
    process = follow(mlflow, status, tail=1)
    assert sorted(read(process, 2)) == ["mlflow | two", "status | three"]
    add(status, "four\nfive\n")
    assert read(process, 2) == ["status | four", "status | five"]
    add(mlflow, b"\xff six\n")
    assert read(process) == ["mlflow | \ufffd six"]


def test_follow_prints_a_line_once_it_is_complete(log, follow):
    mlflow, status = log("one"), log(name="status.log")
    process = follow(mlflow, status)
    assert read(process) == ["mlflow | one"]
    add(mlflow, b"tw\xc3")
    add(status, "between\n")
    assert read(process) == ["status | between"]
    add(mlflow, b"\xa9\n")
    assert read(process) == ["mlflow | twé"]


def test_follow_continues_through_rotation_in_the_middle_of_a_line(log, follow):
    file = log("one")
    process = follow(file)
    assert read(process) == ["mlflow | one"]
    # Once a new line is shown, `tail` watches the file.
    add(file, "two\n")
    assert read(process) == ["mlflow | two"]
    add(file, "three\nfo")
    file.rename(f"{file}.1")
    add(file, "ur\nfive\n")
    assert read(process, 3) == ["mlflow | three", "mlflow | four", "mlflow | five"]


def test_follow_prints_a_file_that_is_made_later_from_its_first_line(log, tmp_path, follow):
    process = follow(log("one"), tmp_path / "status.log")
    assert read(process) == ["mlflow | one"]
    add(tmp_path / "status.log", "two\nthree\n")
    assert read(process, 2) == ["status | two", "status | three"]


def test_follow_with_since_leaves_out_old_lines_only(log, follow):
    file = log(f"{ago(hours=2)} old", f"{ago(minutes=1)} new")
    process = follow(file, since="10m")
    assert read(process)[0].endswith(" new")
    add(file, "without a time\n")
    assert read(process) == ["mlflow | without a time"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_follow_leaves_no_process_behind(log, follow, number, code):
    process = follow(log("one"), log("two", name="status.log"))
    read(process, 2)
    tails = psutil.Process(process.pid).children()
    assert [tail.name() for tail in tails] == ["tail", "tail"]
    process.send_signal(number)
    assert process.wait() == code
    assert all_end(tails)


def test_follow_ends_with_its_reader(log, follow):
    file = log("one")
    process = follow(file)
    read(process)
    tails = psutil.Process(process.pid).children()
    process.stdout.close()
    add(file, "two\n")
    assert "BrokenPipeError" in process.stderr.read()
    assert all_end(tails)


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
