"""Long work shown: lines of what changed on a pipe, a live table on a terminal."""

import io

import pytest
from rich.console import Console

from orchestration.progress import Progress


@pytest.fixture
def terminal():
    """A terminal that keeps what it was shown."""
    return Console(file=io.StringIO(), force_terminal=True, width=80, highlight=False)


@pytest.fixture
def pipe():
    """Not a terminal."""
    return Console(file=io.StringIO(), force_terminal=False)


def table_text(shown, lines, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(shown._table(lines))
    return out.getvalue().splitlines()


def test_a_pipe_gets_a_line_for_what_changed_with_its_time(pipe, clock):
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


def test_what_has_settled_keeps_its_time_and_what_waits_goes_on(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    shown.show([("redis", "ok", "up"), ("mlflow", "wait", "starting")])
    clock.sleep(4)
    redis, mlflow = table_text(shown, [("redis", "ok", "up"), ("mlflow", "wait", "starting")])
    assert "0.0 s" in redis
    assert "4.0 s" in mlflow


def test_what_waits_again_counts_again(pipe, clock):
    shown = Progress(pipe, clock.monotonic)
    shown.show([("redis", "ok", "up")])
    shown.show([("redis", "wait", "restarting")])
    clock.sleep(3)
    [redis] = table_text(shown, [("redis", "wait", "restarting")])
    assert "3.0 s" in redis


def test_a_terminal_gets_a_table_and_no_lines(terminal, clock, capsys):
    with Progress(terminal, clock.monotonic) as shown:
        shown.show([("redis", "ok", "up")])
    assert "redis" in terminal.file.getvalue()
    assert capsys.readouterr().out == ""


def test_the_table_stops_when_the_work_fails(terminal, clock):
    shown = Progress(terminal, clock.monotonic)

    def work():
        with shown:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert not shown.live.is_started


@pytest.mark.parametrize("detail", ["[/tmp/x] is gone", "[refused] by peer"])
def test_brackets_in_a_detail_are_shown(terminal, clock, detail):
    shown = Progress(terminal, clock.monotonic)
    [line] = table_text(shown, [("redis", "bad", detail)])
    assert detail in line
