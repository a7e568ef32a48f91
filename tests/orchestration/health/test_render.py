"""Test the tables, the live display and the progress lines of health reports."""

import dataclasses
import io
import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from orchestration import lifecycle
from orchestration.clients.status_page import Work
from orchestration.health import render
from orchestration.health.report import Check, Report, Row

pytestmark = pytest.mark.usefixtures("usual_terminal")

COLOUR = re.compile(r"\x1b\[(?:\d+;)*3\dm")


def make_report(healthy=True, detail="PONG", checks=(), **more):
    state = "running" if healthy else "exited"
    values = {"since": None, "restarts": 0, "memory_bytes": None} | more
    row = Row("redis", state, healthy, detail=detail, **values)
    return Report("docker", [row], list(checks))


def work(name, state, detail="reason", at=None):
    return Work(name, state, detail, at)


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self):
        return True


def at_terminal(monkeypatch):
    """Make standard output a terminal. In a fixture pytest would replace it again."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    return screen


# Table


def test_table_shows_a_detail_in_brackets(capsys):
    render.print_table(make_report(False, "[/data/x] is gone", [Check("mlflow", True, 1.0, "")]))
    assert "[/data/x] is gone" in capsys.readouterr().out


def test_table_lists_work_and_counts_failed_runs(capsys):
    ended = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    entries = [
        work("canary", "up", "queued 1 s", ended),
        work("training", "down", "[failed]"),
        work("backup", "unknown"),
        work("drift", "none"),
        work("monitoring", "new state"),
    ]
    render.print_table(dataclasses.replace(make_report(), work=entries))
    *lines, verdict = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-5:] == [
        ["✓", "canary", "ok", "3", "min", "ago", "queued", "1", "s"],
        ["✗", "training", "down", "[failed]"],
        ["?", "backup", "unknown", "reason"],
        ["–", "drift", "none", "reason"],
        ["–", "monitoring", "new", "state", "reason"],
    ]
    assert verdict == ["degraded", "(docker)"]


def test_table_shows_all_columns_of_a_service(capsys):
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    render.print_table(make_report(since=since, restarts=3, memory_bytes=7 * 2**20))
    heading, line, verdict = capsys.readouterr().out.splitlines()
    assert heading.split() == ["service", "state", "for", "restarts", "memory", "detail"]
    assert line.split() == ["✓", "redis", "running", "5", "min", "3", "7", "MiB", "PONG"]
    assert verdict == "healthy (docker)"


def test_table_marks_an_unhealthy_service(capsys):
    render.print_table(make_report(False))
    _, line, verdict = capsys.readouterr().out.splitlines()
    assert line.startswith("✗ ")
    assert verdict == "down (docker)"


def test_table_shows_the_canary_below_the_services(capsys):
    checks = [Check("mlflow", True, 1.0, "HTTP 200"), Check("canary", True, 9.0, "[queued] 1 s")]
    render.print_table(make_report(checks=checks))
    assert capsys.readouterr().out.splitlines()[-2:] == ["canary: [queued] 1 s", "healthy (docker)"]


def test_table_in_a_pipe_has_full_lines_without_colour(capsys):
    render.print_table(make_report(detail="x" * 100))
    output = capsys.readouterr().out
    assert "x" * 100 in output
    assert "\x1b" not in output


@pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
def test_table_on_a_terminal_respects_no_color(monkeypatch, no_color, has_colour):
    screen = at_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", no_color)
    render.print_table(make_report())
    assert bool(COLOUR.search(screen.getvalue())) == has_colour


# Watch


def until_interrupted(*reports):
    yield from reports
    raise KeyboardInterrupt


HEALTHY, DOWN = make_report(), make_report(False)


@pytest.mark.parametrize(
    ("reports", "verdict"), [([HEALTHY, DOWN], False), ([DOWN, HEALTHY], True)]
)
@pytest.mark.parametrize("as_json", [True, False])
def test_watch_returns_the_last_verdict(capsys, reports, verdict, as_json):
    assert render.watch(until_interrupted(*reports), as_json=as_json) is verdict


def test_watch_interrupted_before_the_first_report_is_false(capsys):
    assert render.watch(until_interrupted(), as_json=False) is False


def test_watch_as_json_prints_one_document_per_line(capsys):
    render.watch(until_interrupted(HEALTHY, HEALTHY, DOWN), as_json=True)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert documents == [report.as_dict() for report in (HEALTHY, HEALTHY, DOWN)]


def test_watch_in_a_pipe_prints_only_changed_verdicts(capsys):
    same = make_report(detail="PONG again", restarts=1)
    unreached = make_report(checks=[Check("mlflow", False, None, "refused")])
    render.watch(
        until_interrupted(HEALTHY, same, HEALTHY, DOWN, DOWN, HEALTHY, unreached), as_json=False
    )
    lines = capsys.readouterr().out.splitlines()
    verdicts = [line for line in lines if line.endswith("(docker)")]
    assert verdicts == [f"{word} (docker)" for word in ("healthy", "down", "healthy", "degraded")]
    assert len([line for line in lines if re.fullmatch(r"\d\d:\d\d:\d\d", line)]) == 4


@pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
def test_watch_on_a_terminal_replaces_the_previous_report(monkeypatch, no_color, has_colour):
    screen = at_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert not render.watch(until_interrupted(HEALTHY, HEALTHY, DOWN), as_json=False)
    shown = screen.getvalue()
    assert shown.count("healthy (docker)") == 2
    assert "\x1b[2K" in shown
    assert shown.endswith("\x1b[?25h")
    assert bool(COLOUR.search(shown)) == has_colour


def test_watch_on_a_dumb_terminal_prints_as_in_a_pipe(monkeypatch):
    screen = at_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    render.watch(until_interrupted(HEALTHY, HEALTHY, DOWN), as_json=False)
    assert "\x1b[2K" not in screen.getvalue()
    assert screen.getvalue().count("(docker)") == 2


def test_watch_as_json_on_a_terminal_prints_only_json(monkeypatch):
    screen = at_terminal(monkeypatch)
    render.watch(until_interrupted(HEALTHY), as_json=True)
    assert json.loads(screen.getvalue()) == HEALTHY.as_dict()


# Progress and addresses


def test_progress_lines_include_services_and_checks():
    checks = [Check("mlflow", True, 1.0, "HTTP 200"), Check("status", False, None, "refused")]
    assert render.progress_lines(make_report(checks=checks)) == [
        ("redis", "ok", "PONG"),
        ("mlflow from here", "ok", "HTTP 200"),
        ("status from here", "wait", "refused"),
    ]


@pytest.mark.parametrize(
    ("state", "kind"), [("running", "wait"), ("absent", "wait"), ("exited", "bad"), ("dead", "bad")]
)
def test_progress_line_of_a_running_init_job_is_not_bad(state, kind):
    row = Row("airflow-init", state, False, None, 0, None, "…")
    assert render.progress_line(row) == ("airflow-init", kind, "…")


def test_addresses_name_the_account_but_not_the_password(make_settings):
    chosen = make_settings(AIRFLOW_PORT=8090, _AIRFLOW_WWW_USER_USERNAME="ada")
    text = lifecycle.addresses(chosen)
    assert "Airflow  http://127.0.0.1:8090  (user ada, password in .env)" in text
    assert len(text.splitlines()) == 3
    assert chosen["_AIRFLOW_WWW_USER_PASSWORD"] not in text
