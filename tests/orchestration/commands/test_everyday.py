"""Test the commands that use a running stack with a fake engine and stubs of the pages."""

import itertools
import json
import webbrowser
from datetime import UTC, datetime

import pytest

from orchestration.clients import dag_runs
from orchestration.commands import health as health_command
from orchestration.commands import logs, open_page, trigger
from orchestration.commands import shell as shell_command
from orchestration.engines import factory
from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import canary

HOPS = dict.fromkeys(canary.HOPS, 0.1)


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """Provide an engine, and healthy answers of every service."""
    for name, port in web.serve_stack().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)


# health


def test_health_healthy_stack_shows_rows_and_verdict(project, installed, engine, capsys):
    engine.memory_use = {"redis": 5 * 2**20}
    assert health_command.run(project, as_json=False, deep=False)
    lines = capsys.readouterr().out.splitlines()
    [redis] = [line for line in lines if " redis " in line]
    assert "✓" in redis
    assert "5 MiB" in redis
    assert lines[-1] == "healthy (docker)"


def test_health_json_prints_only_json(project, installed, engine, web, capsys):
    web.serve_stack(redis="down")
    assert not health_command.run(project, as_json=True, deep=False)
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "degraded"
    assert {row["name"] for row in document["services"] if not row["healthy"]} == {"redis"}


def test_health_unhealthy_stack_names_the_next_command(project, installed, engine, web, capsys):
    web.serve_stack(redis="down")
    assert not health_command.run(project, as_json=False, deep=False)
    assert capsys.readouterr().out.splitlines()[-1] == "Run: inv logs -s redis"


def test_deep_health_runs_the_canary_only_on_a_healthy_stack(project, installed, web, monkeypatch):
    runs = []
    monkeypatch.setattr(canary, "run", lambda airflow, console: runs.append(1) or HOPS)
    assert health_command.run(project, as_json=False, deep=True)
    assert len(runs) == 1
    web.serve_stack(redis="down")
    assert not health_command.run(project, as_json=False, deep=True)
    assert len(runs) == 1


def test_deep_health_json_prints_only_json(project, installed, monkeypatch, capsys):
    monkeypatch.setattr(canary, "run", lambda airflow, console: console.print("✓") or HOPS)
    assert health_command.run(project, as_json=True, deep=True)
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "healthy"
    assert document["checks"][-1]["name"] == "canary"


@pytest.mark.parametrize(("queued", "status"), [(59, "healthy"), (60, "degraded")])
def test_deep_health_replaces_the_result_of_the_last_canary(
    project, installed, web, monkeypatch, capsys, queued, status
):
    web.serve_stack(work=[{"name": "canary", "state": "down", "detail": "failed after 9 s"}])
    monkeypatch.setattr(canary, "run", lambda airflow, console: HOPS | {"queued": queued})
    assert health_command.run(project, as_json=True, deep=True) == (status == "healthy")
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    [entry] = document["work"]
    assert entry["detail"].startswith("waited 60 s in the queue; ") == (status == "degraded")
    assert datetime.fromisoformat(entry["at"]) <= datetime.now(UTC)


def test_deep_health_fails_with_the_canary(project, installed, monkeypatch, capsys):
    def fail(airflow, console):
        raise StackError("The canary failed.")

    monkeypatch.setattr(canary, "run", fail)
    assert not health_command.run(project, as_json=False, deep=True)
    assert "The canary failed." in capsys.readouterr().out


def test_health_without_engine_still_prints_a_report(project, installed, engine, capsys):
    engine.ps_fails = StackError("No Docker engine answers.")
    assert not health_command.run(project, as_json=True, deep=True)
    document = json.loads(capsys.readouterr().out)
    assert document["services"] == []
    assert document["checks"][0]["detail"] == "No Docker engine answers."


def test_health_watch_repeats_the_report(project, installed, engine, clock, monkeypatch, capsys):
    engine.memory_use = {"redis": 1}
    monkeypatch.setattr(health_command, "time", clock)
    reports = itertools.islice(health_command.reports(project.settings()), 3)
    monkeypatch.setattr(health_command, "reports", lambda settings: reports)
    assert health_command.run(project, as_json=True, deep=False, watch=True)
    documents = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [document["status"] for document in documents] == ["healthy"] * 3
    assert documents[0]["services"][1]["memory_bytes"] == 1
    assert clock.slept == [health_command.WATCH_SECONDS] * 2


def test_health_watch_with_deep_raises(project, installed, web, monkeypatch):
    monkeypatch.setattr(health_command, "reports", lambda settings: [])
    with pytest.raises(StackError, match="--deep and --watch cannot be combined"):
        health_command.run(project, as_json=False, deep=True, watch=True)
    assert web.requests == []


# logs


def test_logs_of_all_services_or_one(project, installed, engine):
    logs.run(project, None, tail="5", since="", follow=False)
    logs.run(project, "redis", tail="9", since="10m", follow=True)
    assert engine.calls == [("logs", [], 5, "", False), ("logs", ["redis"], 9, "10m", True)]


def test_logs_unknown_service_raises(project, installed, engine):
    with pytest.raises(StackError, match=r"radis is not a service\.\nUse one of: postgres, redis"):
        logs.run(project, "radis", tail="5", since="", follow=False)


@pytest.mark.parametrize(("code", "is_error"), [(0, False), (130, False), (1, True)])
def test_logs_interrupt_while_following_is_no_error(project, installed, engine, code, is_error):
    engine.exit_code = code
    if is_error:
        with pytest.raises(StackError, match="inv health"):
            logs.run(project, None, tail="5", since="", follow=True)
    else:
        logs.run(project, None, tail="5", since="", follow=True)


@pytest.mark.parametrize("tail", ["", "many", "-1", "1.5", "²"])
def test_logs_invalid_tail_raises_without_a_call(project, installed, engine, tail):
    with pytest.raises(StackError, match=r"is not a number\.\nUse a number, as in: --tail 100"):
        logs.run(project, None, tail=tail, since="", follow=False)
    assert engine.calls == []


def test_logs_invalid_since_raises_without_a_call(project, installed, engine):
    with pytest.raises(StackError, match="--since yesterday is not a duration"):
        logs.run(project, None, tail="5", since="yesterday", follow=False)
    assert engine.calls == []


# trigger


@pytest.mark.parametrize(
    ("conf", "value"), [(None, {}), ("", {}), ("{}", {}), ('{"seed": 7, "deep": {"a": [1]}}', None)]
)
def test_parse_conf_returns_the_object(conf, value):
    expected = json.loads(conf) if value is None else value
    assert trigger.parse_conf(conf) == expected


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ("{seed: 7}", "--conf is not JSON"),
        ("{", "--conf is not JSON"),
        ("[1]", "--conf must be a JSON object"),
        ("7", "--conf must be a JSON object"),
        ("null", "--conf must be a JSON object"),
    ],
)
def test_trigger_invalid_conf_raises_without_a_request(project, installed, web, conf, why):
    with pytest.raises(StackError, match=why):
        trigger.run(project, "flights", conf, wait=False)
    assert web.requests == []


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T06:30", "2026-01-31T06:30:00+00:00"),
        ("2026-01-31T06:30Z", "2026-01-31T06:30:00+00:00"),
        ("2026-01-31T00:00+01:00", "2026-01-30T23:00:00+00:00"),
        ("2026-01-31 06:30:15", "2026-01-31T06:30:15+00:00"),
    ],
)
def test_parse_date_returns_utc(date, moment):
    assert trigger.parse_date(date).isoformat() == moment


@pytest.mark.parametrize(
    "date", ["nonsense", "", "31.1.2026", "2026-02-30", "0001-01-01T00:00+05:00"]
)
def test_trigger_invalid_date_raises_without_a_request(project, installed, web, date):
    with pytest.raises(StackError, match=r"^--date is not a date: .*\n.*--date 2026-01-31 or"):
        trigger.run(project, "flights", None, date=date, wait=False)
    assert web.requests == []


@pytest.fixture
def flights(installed, web):
    """Serve a DAG whose run succeeds."""
    dag, run = "/api/v2/dags/flights", "/api/v2/dags/flights/dagRuns/r1"
    task = {"task_id": "one", "state": "success", "start_date": "2026", "end_date": "2027"}
    task |= {"map_index": -1, "try_number": 1, "duration": 2.0}
    web.answers |= {
        "POST /auth/token": (201, {"access_token": "t0ken"}),
        f"GET {dag}": (200, {"is_paused": False}),
        f"POST {dag}/dagRuns": (200, {"dag_run_id": "r1"}),
        f"GET {run}": (200, {"state": "success"}),
        f"GET {run}/taskInstances": (200, {"task_instances": [task]}),
        f"GET {run}/taskInstances/~/xcomEntries": (200, {"xcom_entries": []}),
        f"GET {run}/taskInstances/one/logs/1": (200, {"content": []}),
    }
    return web


def test_trigger_prints_the_address_of_the_run(project, flights, capsys):
    trigger.run(project, "flights", '{"seed": 7}', wait=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["flights: run r1 started", f"Open: {flights.url}/dags/flights/runs/r1"]
    assert flights.requests_for("POST /api/v2/dags/flights/dagRuns")[0].body["conf"] == {"seed": 7}


def test_trigger_without_date_sends_the_current_time(project, flights):
    before = datetime.now(UTC)
    trigger.run(project, "flights", None, wait=False)
    body = flights.requests_for("POST /api/v2/dags/flights/dagRuns")[0].body
    assert before <= datetime.fromisoformat(body["logical_date"]) <= datetime.now(UTC)


@pytest.mark.parametrize(("date", "waits"), [("2025-01-31", False), ("2999-01-01", True)])
def test_trigger_with_future_date_prints_when_it_may_start(project, flights, capsys, date, waits):
    flights.answers["GET /api/v2/dags/flights/dagRuns/r1"] = (200, {"run_after": date})
    trigger.run(project, "flights", None, date=date, wait=False)
    body = flights.requests_for("POST /api/v2/dags/flights/dagRuns")[0].body
    assert body["logical_date"] == f"{date}T00:00:00+00:00"
    state = f"starts at {date} or later" if waits else "started"
    assert f"flights: run r1 {state}\n" in capsys.readouterr().out


def test_trigger_wait_prints_the_result(project, flights, capsys):
    trigger.run(project, "flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-1] == "flights: success in 0 s"


@pytest.fixture
def report(flights):
    """Serve the same run with a report."""
    path = "GET /api/v2/dags/flights/dagRuns/r1/taskInstances"
    entries = [{"task_id": "one", "map_index": -1}]
    lines = ["[bold]rmse[/bold] 9.1 :boom:", "x" * 300]
    flights.answers |= {
        f"{path}/~/xcomEntries": (200, {"xcom_entries": entries}),
        f"{path}/one/xcomEntries/report": (200, {"value": lines}),
    }
    return lines


def test_trigger_wait_prints_the_report_unchanged(project, report, capsys):
    trigger.run(project, "flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-3:] == ["flights: success in 0 s", *report]


def test_trigger_wait_unreadable_report_is_no_failure(project, flights, capsys):
    del flights.answers["GET /api/v2/dags/flights/dagRuns/r1/taskInstances/~/xcomEntries"]
    trigger.run(project, "flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "flights: success in 0 s",
        "The run's report could not be read: Airflow rejected a request (404): not found",
    ]


def test_trigger_wait_failed_run_raises_without_report(project, flights, report, capsys):
    flights.answers["GET /api/v2/dags/flights/dagRuns/r1"] = (200, {"state": "failed"})
    with pytest.raises(StackError, match="flights failed, but none of its tasks did"):
        trigger.run(project, "flights", None, wait=True)
    assert "rmse" not in capsys.readouterr().out


def test_trigger_wait_interrupted_prints_the_address(project, flights, monkeypatch):
    def interrupt(*run):
        raise KeyboardInterrupt

    monkeypatch.setattr(dag_runs, "follow", interrupt)
    with pytest.raises(StackError, match=r"run continues\.\nOpen: http.*/dags/flights/runs/r1$"):
        trigger.run(project, "flights", None, wait=True)


# airflow, shell


SPECIAL = ["--conf", '{"a b": "$HOME"}', "*", "it's", ""]


def test_airflow_cli_passes_arguments_and_exit_code(project, installed, engine):
    engine.ps_result.append(Service("airflow-apiserver", "exited"))
    engine.exit_code = 3
    assert shell_command.airflow_cli(project, SPECIAL) == 3
    assert engine.calls == [("run", "airflow-apiserver", ["airflow", *SPECIAL])]


def test_shell_opens_in_the_service(project, installed, engine):
    assert shell_command.open_shell(project, "redis") == 0
    assert engine.calls == [("run", "redis", ["bash"])]


def test_shell_unknown_service_raises(project, installed, engine):
    with pytest.raises(StackError, match=r"radis is not a service\.\nUse one of: postgres, redis"):
        shell_command.open_shell(project, "radis")
    assert engine.calls == []


def test_shell_without_working_engine_raises(project, installed, engine):
    engine.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match=r"^no engine\nno compose$"):
        shell_command.open_shell(project, "redis")
    assert engine.calls == []


def test_shell_without_images_raises(project, installed, engine):
    engine.built = False
    with pytest.raises(StackError, match=r"is not built yet\.\nRun: inv install"):
        shell_command.open_shell(project, "redis")
    assert engine.calls == []


# open


class Browser(webbrowser.BaseBrowser):
    """Record the addresses to open."""

    def __init__(self):
        super().__init__("fake")
        self.opened = []

    def open(self, url, new=0, autoraise=True):
        self.opened.append(url)
        return True


@pytest.fixture
def no_browser(monkeypatch):
    """Remove all browsers, and those that a test registers after it."""
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    monkeypatch.setattr(webbrowser, "_browsers", {})


@pytest.fixture
def browser(no_browser):
    """Register a fake browser."""
    browser = Browser()
    webbrowser.register("fake", None, browser, preferred=True)
    return browser


@pytest.mark.parametrize("page", open_page.PORTS)
def test_open_opens_and_prints_the_address(project, installed, web, browser, capsys, page):
    open_page.run(project, page)
    assert browser.opened == [web.url]
    assert capsys.readouterr().out == f"{web.url}\n"


def test_open_uses_the_port_of_each_page(project, installed, browser, web, dead_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_PORT", str(dead_port))
    with pytest.raises(StackError) as error:
        open_page.run(project, "mlflow")
    assert str(error.value) == f"Nothing answers at http://127.0.0.1:{dead_port}.\nRun: inv up"
    assert browser.opened == []
    open_page.run(project, "status")
    assert browser.opened == [web.url]


def test_open_ignores_proxies(project, installed, browser, dead_port, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    open_page.run(project, "status")
    assert browser.opened


def test_open_unknown_page_lists_the_pages(project, installed, web, browser):
    with pytest.raises(StackError) as error:
        open_page.run(project, "redis")
    assert str(error.value).startswith("redis has no web page.\nUse one of: airflow-apiserver")
    assert (web.requests, browser.opened) == ([], [])


def test_open_without_browser_explains_the_ssh_tunnel(project, installed, web, no_browser):
    with pytest.raises(StackError) as error:
        open_page.run(project, "status")
    tunnel = f"ssh -L {web.port}:127.0.0.1:{web.port} THIS-HOST, then open {web.url}"
    assert str(error.value).endswith(tunnel)


def test_commands_before_install_name_the_next_command(project, clone):
    for command in (
        lambda: health_command.run(project, as_json=False, deep=False),
        lambda: health_command.run(project, as_json=False, deep=False, watch=True),
        lambda: logs.run(project, None, tail="1", since="", follow=False),
        lambda: trigger.run(project, "flights", None, wait=False),
        lambda: shell_command.airflow_cli(project, ["version"]),
        lambda: shell_command.open_shell(project, "redis"),
        lambda: open_page.run(project, "status"),
    ):
        with pytest.raises(StackError, match="inv install"):
            command()
