"""Log files shown as Compose shows containers: how many lines, how old, whose."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestration import StackError, log_files

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


def test_without_following_nothing_is_started(log, recorded):
    log_files.show({"mlflow": log("one")}, tail=5, since="", follow=False)
    assert recorded.commands == []


def test_following_goes_on_where_the_last_line_ended_also_through_rotation(
    log, recorded, monkeypatch
):
    monkeypatch.setattr(log_files.shell, "show", lambda command: recorded.show(command) or 130)
    files = {"mlflow": log("one"), "status": log("two", name="status.log")}
    assert log_files.show(files, tail=5, since="", follow=True) == 130
    [command] = recorded.commands
    assert list(command.argv) == ["tail", "-n", "0", "-F", *map(str, files.values())]
