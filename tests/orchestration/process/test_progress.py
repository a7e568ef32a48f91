"""Test progress output: lines for changes on a pipe, a live table on a terminal."""

import io
import re

import pytest
from rich.console import Console

from orchestration.process.progress import Progress

pytestmark = pytest.mark.usefixtures("usual_terminal")


@pytest.fixture
def terminal(usual_terminal):
    """A terminal that records its output."""
    return Console(file=io.StringIO(), force_terminal=True, width=80, highlight=False)


@pytest.fixture
def pipe():
    """A console that is not a terminal."""
    return Console(file=io.StringIO(), force_terminal=False)


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9|10)\d[;m]")
LINE_ERASED = "\x1b[2K"


class Screen(io.StringIO):
    """A file that counts as a terminal."""

    def isatty(self):
        return True


def table_text(shown, lines, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(shown._table(lines))
    return out.getvalue().splitlines()


def test_pipe_gets_a_line_for_each_change_with_its_time(pipe, clock):
    with Progress(pipe, clock.monotonic) as shown:
        shown.show([("redis", "wait", "starting"), ("mlflow", "wait", "starting")])
        clock.sleep(2.5)
        shown.show([("redis", "ok", "up"), ("mlflow", "wait", "still starting")])
        clock.sleep(1)
        shown.show([("redis", "bad", "gone"), ("mlflow", "ok", "up")])
    assert pipe.file.getvalue().splitlines() == [
        f"   0.0 s  … {'redis':<22} starting",
        f"   0.0 s  … {'mlflow':<22} starting",
        f"   2.5 s  ✓ {'redis':<22} up",
        f"   3.5 s  ✗ {'redis':<22} gone",
        f"   3.5 s  ✓ {'mlflow':<22} up",
    ]


def test_elapsed_counts_from_the_start(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    clock.sleep(7)
    assert shown.elapsed == 7


def test_table_finished_row_keeps_its_time(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    shown.show([("redis", "ok", "up"), ("mlflow", "wait", "starting")])
    clock.sleep(4)
    redis, mlflow = table_text(shown, [("redis", "ok", "up"), ("mlflow", "wait", "starting")])
    assert "0.0 s" in redis
    assert "4.0 s" in mlflow


def test_table_row_that_waits_again_counts_on(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    shown.show([("redis", "ok", "up")])
    shown.show([("redis", "wait", "restarting")])
    clock.sleep(3)
    [redis] = table_text(shown, [("redis", "wait", "restarting")])
    assert "3.0 s" in redis


def test_terminal_gets_a_table_and_no_lines(terminal, clock, capsys):
    with Progress(terminal, clock.monotonic) as shown:
        shown.show([("redis", "ok", "up")])
    assert "redis" in terminal.file.getvalue()
    assert capsys.readouterr().out == ""


def test_table_stops_if_the_work_fails(terminal, clock):
    shown = Progress(terminal, clock.monotonic)

    def work():
        with shown:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert not shown.live.is_started


@pytest.mark.parametrize("detail", ["[/tmp/x] is gone", "[refused] by peer"])
def test_table_shows_brackets_in_details(terminal, clock, detail):
    shown = Progress(terminal, clock.monotonic)
    [line] = table_text(shown, [("redis", "bad", detail)])
    assert detail in line


def test_table_shows_time_of_the_last_recovery(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    for seconds, kind in ((1, "ok"), (2, "wait"), (4, "ok"), (8, "ok")):
        clock.sleep(seconds)
        shown.show([("redis", kind, "it is")])
    [redis] = table_text(shown, [("redis", "ok", "it is")])
    assert "7.0 s" in redis
    assert [line.split()[:3] for line in pipe.file.getvalue().splitlines()] == [
        ["1.0", "s", "✓"],
        ["3.0", "s", "…"],
        ["7.0", "s", "✓"],
    ]


def test_table_shows_time_of_a_later_failure(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    shown.show([("redis", "ok", "up")])
    clock.sleep(5)
    shown.show([("redis", "bad", "gone")])
    [redis] = table_text(shown, [("redis", "bad", "gone")])
    assert "5.0 s" in redis


# Long waits on a pipe


def after(pipe, clock, *shows):
    """Show each (seconds to wait, kind, detail) and return the printed times and details."""
    shown = Progress(pipe, clock.monotonic)
    for seconds, kind, detail in shows:
        clock.sleep(seconds)
        shown.show([("airflow image", kind, detail)])
    lines = pipe.file.getvalue().splitlines()
    return [(float(line.split()[0]), line.split()[-1]) for line in lines]


def test_pipe_prints_new_detail_of_long_wait(pipe, clock):
    shows = [(0, "wait", "a"), (10, "wait", "b"), (19.5, "wait", "c"), (0.5, "wait", "d")]
    assert after(pipe, clock, *shows) == [(0, "a"), (30, "d")]


def test_pipe_prints_long_wait_at_intervals(pipe, clock):
    every_second = [(1, "wait", f"{number}") for number in range(1, 100)]
    assert [time for time, _ in after(pipe, clock, *every_second)] == [1, 31, 61, 91]


def test_pipe_does_not_repeat_a_detail(pipe, clock):
    shows = [(0, "wait", "a"), (45, "wait", "a"), (45, "wait", "a"), (1, "wait", "b")]
    assert after(pipe, clock, *shows) == [(0, "a"), (91, "b")]


@pytest.mark.parametrize("kind", ["ok", "bad"])
def test_pipe_does_not_repeat_finished_row(pipe, clock, kind):
    assert after(pipe, clock, (0, kind, "a"), (45, kind, "b")) == [(0, "a")]


def test_pipe_interval_starts_at_last_printed_line(pipe, clock):
    shows = [(0, "wait", "a"), (20, "ok", "b"), (5, "wait", "c"), (10, "wait", "d")]
    assert after(pipe, clock, *shows) == [(0, "a"), (20, "b"), (25, "c")]


def test_pipe_prints_row_that_returns(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    for lines in ([("task", "wait", "queued")], [], [("task", "wait", "queued")]):
        shown.show(lines)
    assert len(pipe.file.getvalue().splitlines()) == 2


# Limited terminals


def shown_on(console, clock):
    with Progress(console, clock.monotonic) as shown:
        shown.show([("redis", "wait", "starting")])
        shown.live.refresh()
        shown.show([("redis", "ok", "up"), ("mlflow", "bad", "gone")])
    return console.file.getvalue()


def test_terminal_gets_colours_and_overwrites_its_table(clock):
    out = shown_on(Console(file=Screen(), width=80), clock)
    assert COLOUR.search(out)
    assert LINE_ERASED in out


def test_terminal_with_no_color_gets_table_without_colours(monkeypatch, clock):
    monkeypatch.setenv("NO_COLOR", "1")
    out = shown_on(Console(file=Screen(), width=80), clock)
    assert not COLOUR.search(out)
    assert LINE_ERASED in out
    assert "mlflow" in out


LINES = [
    f"   0.0 s  … {'redis':<22} starting",
    f"   0.0 s  ✓ {'redis':<22} up",
    f"   0.0 s  ✗ {'mlflow':<22} gone",
]


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"COLORTERM": "truecolor"}])
def test_pipe_gets_no_escape_codes(monkeypatch, clock, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert shown_on(Console(file=io.StringIO()), clock).splitlines() == LINES


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_dumb_terminal_gets_plain_lines(monkeypatch, clock, term):
    monkeypatch.setenv("TERM", term)
    assert shown_on(Console(file=Screen()), clock).splitlines() == LINES
