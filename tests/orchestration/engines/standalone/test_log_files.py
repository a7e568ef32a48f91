"""Test which lines of log files are printed, and in which form."""

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
    """Return a function that writes lines to a log file."""

    def write(*lines, name="mlflow.log"):
        file = tmp_path / name
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    return write


def ago(**duration):
    """Return a time in the past in Airflow's format."""
    return (datetime.now(UTC) - timedelta(**duration)).strftime("%Y-%m-%dT%H:%M:%S.123+0000")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, ["c"]), (2, ["b", "c"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])],
)
def test_last_lines_returns_the_requested_number(log, count, expected):
    assert log_files.last_lines(log("a", "b", "c"), count) == expected


def test_last_lines_of_a_missing_file_are_empty(tmp_path):
    assert log_files.last_lines(tmp_path / "missing.log", 5) == []


def test_last_lines_tolerates_invalid_utf8(tmp_path):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"good\n\xff\xfe\nend")
    first, _, last = log_files.last_lines(file, 5)
    assert (first, last) == ("good", "end")


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
    ],
)
def test_parse_duration_accepts_a_number_and_a_unit(text, duration):
    assert log_files.parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["yesterday", "10", "m", "10w", "1.5h", "-3m", "10m ago", "1h30m", "9999999d"]
)
def test_parse_duration_rejects_other_text_with_examples(text):
    with pytest.raises(StackError) as raised:
        log_files.parse_duration(text)
    assert str(raised.value) == f"--since {text} is not a duration.\nUse 30s, 10m, 2h or 1d."


@pytest.mark.parametrize(
    ("timestamp", "included"),
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
def test_since_understands_every_timestamp_format(log, timestamp, included):
    line = f"{timestamp} INFO ready"
    assert log_files.last_lines(log(line), 5, NOON) == ([line] if included else [])


def test_since_assigns_a_line_without_a_timestamp_to_the_one_above(log):
    old = ["2026-11-22 11:00:00 ERROR", "Traceback (old)", "  in old"]
    new = ["2026/11/22 12:30:00 ERROR", "Traceback (new)", "  in new"]
    assert log_files.last_lines(log("before any time", *old, *new), 9, NOON) == new


def test_since_leaves_out_an_older_line_after_a_newer_one(log):
    lines = ["2026-11-22 13:00:00 new", "2026-11-22 11:00:00 old", "more old"]
    assert log_files.last_lines(log(*lines), 9, NOON) == lines[:1]


def test_since_ignores_a_time_far_inside_a_line(log):
    first = "2026-11-22 13:00:00 new"
    second = f"{'some long text ' * 5} until 2026-11-22 01:00:00"
    assert log_files.last_lines(log(first, second), 9, NOON) == [first, second]


def test_since_ignores_invalid_timestamps(log):
    file = log(f"{ago(minutes=1)} valid", "0000-00-00 00:00:00 zero", "2026-06-31T00:61:00 no date")
    lines = log_files.last_lines(file, 10, datetime.now(UTC) - timedelta(hours=1))
    assert len(lines) == 3


def test_last_lines_without_a_start_leaves_out_nothing(log):
    lines = ["no time", "1999-01-01 00:00:00 old"]
    assert log_files.last_lines(log(*lines), 9) == lines


def test_show_prints_each_line_after_its_service_name(log, capsys):
    files = {
        "mlflow": log("one", "two"),
        "airflow-scheduler": log("three", name="airflow-scheduler.log"),
    }
    assert log_files.show(files, tail=1, since="", follow=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mlflow            | two",
        "airflow-scheduler | three",
    ]


def test_show_skips_a_missing_file(log, tmp_path, capsys):
    files = {"status": tmp_path / "missing.log", "mlflow": log("one")}
    assert log_files.show(files, tail=5, since="", follow=False) == 0
    assert capsys.readouterr().out == "mlflow | one\n"


def test_show_counts_since_back_from_now(log, capsys):
    file = log(f"{ago(minutes=11)} old", f"{ago(minutes=9)} new", "more new")
    log_files.show({"mlflow": file}, tail=5, since="10m", follow=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["new", "new"]
    assert lines[1] == "mlflow | more new"


def test_show_rejects_a_bad_duration_before_it_prints(log, capsys):
    with pytest.raises(StackError, match="yesterday"):
        log_files.show({"mlflow": log("one")}, tail=5, since="yesterday", follow=False)
    assert capsys.readouterr().out == ""


def test_last_lines_includes_an_unfinished_line(tmp_path):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\ntwo")
    assert log_files.last_lines(file, 1) == ["two"]


def test_show_splits_carriage_returns_into_lines(tmp_path, capsys):
    file = tmp_path / "mlflow.log"
    file.write_bytes(b"one\r\n10%\r20%\r\ntwo\r\n")
    log_files.show({"mlflow": file}, tail=9, since="", follow=False)
    assert capsys.readouterr().out == "mlflow | one\nmlflow | 10%\nmlflow | 20%\nmlflow | two\n"


def test_since_includes_the_end_of_a_long_traceback(log):
    traceback = [f"  in line {number}" for number in range(100)]
    file = log("2026-11-22 13:00:00 ERROR", *traceback)
    assert log_files.last_lines(file, 3, NOON) == traceback[-3:]


def test_show_replaces_characters_that_the_terminal_cannot_print(log, monkeypatch):
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
    """Return a function that starts a process that follows files, for 20 seconds at most."""
    started = []

    def start(*files, tail=5, since=""):
        argv = [sys.executable, "-c", SHOW, str(tail), since, *map(str, files)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        # If a shell runs these tests in the background, child processes ignore SIGINT.
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
    """Append text to a file, which is created if it does not exist."""
    with file.open("ab") as log:
        log.write(text if isinstance(text, bytes) else text.encode())


def has_exited(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_exit(processes):
    deadline = time.monotonic() + 10
    while not all(map(has_exited, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return all(map(has_exited, processes))


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


def test_follow_prints_a_file_that_is_created_later_from_its_first_line(log, tmp_path, follow):
    process = follow(log("one"), tmp_path / "status.log")
    assert read(process) == ["mlflow | one"]
    add(tmp_path / "status.log", "two\nthree\n")
    assert read(process, 2) == ["status | two", "status | three"]


def test_follow_with_since_leaves_out_old_lines_only(log, follow):
    file = log(f"{ago(hours=2)} old", f"{ago(minutes=1)} new")
    process = follow(file, since="10m")
    assert read(process)[0].endswith(" new")
    add(file, "without a timestamp\n")
    assert read(process) == ["mlflow | without a timestamp"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_follow_leaves_no_process_behind(log, follow, number, code):
    process = follow(log("one"), log("two", name="status.log"))
    read(process, 2)
    tails = psutil.Process(process.pid).children()
    assert [tail.name() for tail in tails] == ["tail", "tail"]
    process.send_signal(number)
    assert process.wait() == code
    assert all_exit(tails)


def test_follow_exits_when_its_output_is_closed(log, follow):
    file = log("one")
    process = follow(file)
    read(process)
    tails = psutil.Process(process.pid).children()
    process.stdout.close()
    add(file, "two\n")
    assert "BrokenPipeError" in process.stderr.read()
    assert all_exit(tails)


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def print_logs(log, monkeypatch):
    """Return a function that prints the logs of two services to `out` and returns the text."""

    def print_to(out, **environment):
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", **environment}.items():
            monkeypatch.setenv(name, value)
        files = {"mlflow": log("\x1b[1mone"), "status": log("two", name="status.log")}
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout", out)
            log_files.show(files, tail=1, since="", follow=False)
        return out.getvalue()

    return print_to


PLAIN = "mlflow | \x1b[1mone\nstatus | two\n"


def test_show_colours_service_names_on_a_terminal(print_logs):
    first, second = print_logs(Terminal()).splitlines()
    assert first == "\x1b[36mmlflow | \x1b[0m\x1b[1mone"
    assert second == "\x1b[33mstatus | \x1b[0mtwo"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_show_uses_no_colour_if_the_terminal_refuses_it(print_logs, environment):
    assert print_logs(Terminal(), **environment) == PLAIN


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_show_uses_no_colour_without_a_terminal(print_logs, environment):
    assert print_logs(io.StringIO(), **environment) == PLAIN


def test_show_reuses_colours_for_many_services(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal())
    files = {f"service-{number}": tmp_path / "missing.log" for number in range(23)}
    assert log_files.show(files, tail=1, since="", follow=False) == 0
