"""What the verbs show of services: tables, what changes while one looks, progress, addresses."""

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


def a_report(healthy=True, detail="PONG", checks=(), **more):
    state = "running" if healthy else "exited"
    values = {"since": None, "restarts": 0, "memory_bytes": None} | more
    row = Row("redis", state, healthy, detail=detail, **values)
    return Report("docker", [row], list(checks))


def work(name, state, detail="said", at=None):
    return Work(name, state, detail, at)


class Screen(io.StringIO):
    """A terminal that keeps what it was shown."""

    def isatty(self):
        return True


def at_terminal(monkeypatch):
    """Make standard output a terminal; not in a fixture, pytest sets its own again after those."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    return screen


# the table


def test_the_table_shows_a_detail_in_brackets(capsys):
    render.print_table(a_report(False, "[/data/x] is gone", [Check("mlflow", True, 1.0, "")]))
    assert "[/data/x] is gone" in capsys.readouterr().out


def test_work_stands_below_the_services_and_does_not_change_the_verdict(capsys):
    ended = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
    told = [
        work("canary", "up", "queued 1 s", ended),
        work("training", "down", "[failed]"),
        work("backup", "unknown"),
        work("drift", "none"),
        work("monitoring", "of tomorrow"),
    ]
    render.print_table(dataclasses.replace(a_report(), work=told))
    *lines, verdict = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-5:] == [
        ["✓", "canary", "well", "3", "min", "ago", "queued", "1", "s"],
        ["✗", "training", "down", "[failed]"],
        ["?", "backup", "unknown", "said"],
        ["–", "drift", "none", "said"],
        ["–", "monitoring", "of", "tomorrow", "said"],
    ]
    assert verdict == ["healthy", "(docker)"]


def test_a_service_is_a_line_with_all_that_is_known_of_it(capsys):
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    render.print_table(a_report(since=since, restarts=3, memory_bytes=7 * 2**20))
    heading, line, verdict = capsys.readouterr().out.splitlines()
    assert heading.split() == ["service", "state", "for", "restarts", "memory", "detail"]
    assert line.split() == ["✓", "redis", "running", "5", "min", "3", "7", "MiB", "PONG"]
    assert verdict == "healthy (docker)"


def test_what_is_not_well_is_marked_and_decides_the_verdict(capsys):
    render.print_table(a_report(False))
    _, line, verdict = capsys.readouterr().out.splitlines()
    assert line.startswith("✗ ")
    assert verdict == "down (docker)"


def test_what_the_canary_told_stands_below_the_table(capsys):
    checks = [Check("mlflow", True, 1.0, "HTTP 200"), Check("canary", True, 9.0, "[queued] 1 s")]
    render.print_table(a_report(checks=checks))
    assert capsys.readouterr().out.splitlines()[-2:] == ["canary: [queued] 1 s", "healthy (docker)"]


def test_a_pipe_gets_whole_lines_without_colour(capsys):
    render.print_table(a_report(detail="x" * 100))
    told = capsys.readouterr().out
    assert "x" * 100 in told
    assert "\x1b" not in told


@pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_the_person_wants_none(monkeypatch, no_color, has_colour):
    screen = at_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", no_color)
    render.print_table(a_report())
    assert bool(COLOUR.search(screen.getvalue())) == has_colour


# watch


def until_interrupted(*reports):
    yield from reports
    raise KeyboardInterrupt


WELL, ILL = a_report(), a_report(False)


@pytest.mark.parametrize(("reports", "verdict"), [([WELL, ILL], False), ([ILL, WELL], True)])
@pytest.mark.parametrize("as_json", [True, False])
def test_watching_ends_with_the_last_verdict(capsys, reports, verdict, as_json):
    assert render.watch(until_interrupted(*reports), as_json=as_json) is verdict


def test_watching_that_ends_before_anything_was_seen_is_not_well(capsys):
    assert render.watch(until_interrupted(), as_json=False) is False


def test_watching_for_machines_is_a_document_a_line(capsys):
    render.watch(until_interrupted(WELL, WELL, ILL), as_json=True)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert documents == [report.as_dict() for report in (WELL, WELL, ILL)]


def test_a_pipe_is_told_only_when_a_verdict_changed(capsys):
    same = a_report(detail="PONG again", restarts=1)
    unreached = a_report(checks=[Check("mlflow", False, None, "refused")])
    render.watch(until_interrupted(WELL, same, WELL, ILL, ILL, WELL, unreached), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    verdicts = [line for line in lines if line.endswith("(docker)")]
    assert verdicts == [f"{word} (docker)" for word in ("healthy", "down", "healthy", "degraded")]
    assert len([line for line in lines if re.fullmatch(r"\d\d:\d\d:\d\d", line)]) == 4


@pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
def test_a_terminal_shows_the_newest_in_the_place_of_the_one_before(
    monkeypatch, no_color, has_colour
):
    screen = at_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert not render.watch(until_interrupted(WELL, WELL, ILL), as_json=False)
    shown = screen.getvalue()
    assert shown.count("healthy (docker)") == 2
    assert "\x1b[2K" in shown
    assert shown.endswith("\x1b[?25h")
    assert bool(COLOUR.search(shown)) == has_colour


def test_a_dumb_terminal_is_told_like_a_pipe(monkeypatch):
    screen = at_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    render.watch(until_interrupted(WELL, WELL, ILL), as_json=False)
    assert "\x1b[2K" not in screen.getvalue()
    assert screen.getvalue().count("(docker)") == 2


def test_json_on_a_terminal_is_json_alone(monkeypatch):
    screen = at_terminal(monkeypatch)
    render.watch(until_interrupted(WELL), as_json=True)
    assert json.loads(screen.getvalue()) == WELL.as_dict()


# progress, addresses


def test_services_and_what_is_reached_from_here_are_rows_of_a_start():
    checks = [Check("mlflow", True, 1.0, "HTTP 200"), Check("status", False, None, "refused")]
    assert render.progress_lines(a_report(checks=checks)) == [
        ("redis", "ok", "PONG"),
        ("mlflow from here", "ok", "HTTP 200"),
        ("status from here", "wait", "refused"),
    ]


@pytest.mark.parametrize(
    ("state", "kind"), [("running", "wait"), ("absent", "wait"), ("exited", "bad"), ("dead", "bad")]
)
def test_a_one_shot_that_runs_is_not_yet_bad(state, kind):
    row = Row("airflow-init", state, False, None, 0, None, "…")
    assert render.line(row) == ("airflow-init", kind, "…")


def test_the_addresses_name_the_account_and_never_its_password(make_settings):
    chosen = make_settings(AIRFLOW_PORT=8090, _AIRFLOW_WWW_USER_USERNAME="ada")
    told = lifecycle.addresses(chosen)
    assert "Airflow  http://127.0.0.1:8090  (user ada, password in .env)" in told
    assert len(told.splitlines()) == 3
    assert chosen["_AIRFLOW_WWW_USER_PASSWORD"] not in told
