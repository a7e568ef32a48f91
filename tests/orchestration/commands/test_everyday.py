"""The verbs that use a stack, with an engine of paper and stubs: what each does and says."""

import itertools
import json
import webbrowser

import pytest

from orchestration.clients import dag_runs
from orchestration.commands import health as health_command
from orchestration.commands import logs, open_page, trigger
from orchestration.commands import shell as shell_command
from orchestration.engines import factory
from orchestration.engines.base import Service
from orchestration.errors import StackError
from orchestration.health import canary


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """A machine with an engine, where every service answers well."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(factory, "engine_for", lambda chosen: engine)


# health


def test_health_of_a_stack_that_is_well(project, installed, engine, capsys):
    engine.held = {"redis": 5 * 2**20}
    assert health_command.run(project, as_json=False, deep=False)
    told = capsys.readouterr().out.splitlines()
    [redis] = [line for line in told if " redis " in line]
    assert "✓" in redis
    assert "5 MiB" in redis
    assert told[-1] == "healthy (docker)"


def test_health_for_machines_is_json_alone(project, installed, engine, web, capsys):
    web.stack_is_well(redis="down")
    assert not health_command.run(project, as_json=True, deep=False)
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "degraded"
    assert {row["name"] for row in document["services"] if not row["healthy"]} == {"redis"}


def test_health_of_an_ill_stack_is_explained(project, installed, engine, web, capsys):
    web.stack_is_well(redis="down")
    assert not health_command.run(project, as_json=False, deep=False)
    assert capsys.readouterr().out.splitlines()[-1] == "Run: inv logs -s redis"


def test_deep_health_sends_the_canary_but_not_through_an_ill_stack(
    project, installed, web, monkeypatch
):
    proven = []
    monkeypatch.setattr(canary, "prove", lambda airflow, console: proven.append(1) or "well")
    assert health_command.run(project, as_json=False, deep=True)
    assert len(proven) == 1
    web.stack_is_well(redis="down")
    assert not health_command.run(project, as_json=False, deep=True)
    assert len(proven) == 1


def test_deep_health_for_machines_is_json_alone_too(project, installed, monkeypatch, capsys):
    monkeypatch.setattr(canary, "prove", lambda airflow, console: console.print("✓") or "well")
    assert health_command.run(project, as_json=True, deep=True)
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "healthy"
    assert said["checks"][-1]["name"] == "canary"


def test_deep_health_fails_with_the_canary(project, installed, monkeypatch, capsys):
    def refuse(airflow, console):
        raise StackError("the proof failed")

    monkeypatch.setattr(canary, "prove", refuse)
    assert not health_command.run(project, as_json=False, deep=True)
    assert "the proof failed" in capsys.readouterr().out


def test_health_without_an_engine_that_answers_is_a_report_too(project, installed, engine, capsys):
    engine.ps_fails = StackError("no Docker engine answers: start it")
    assert not health_command.run(project, as_json=True, deep=True)
    document = json.loads(capsys.readouterr().out)
    assert document["services"] == []
    assert document["checks"][0]["detail"] == "no Docker engine answers: start it"


def test_watching_looks_again_until_it_is_stopped(
    project, installed, engine, clock, monkeypatch, capsys
):
    engine.held = {"redis": 1}
    monkeypatch.setattr(health_command, "time", clock)
    looked = itertools.islice(health_command.reports(project.settings()), 3)
    monkeypatch.setattr(health_command, "reports", lambda chosen: looked)
    assert health_command.run(project, as_json=True, deep=False, watch=True)
    documents = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [document["status"] for document in documents] == ["healthy"] * 3
    assert documents[0]["services"][1]["memory_bytes"] == 1
    assert clock.slept == [health_command.WATCH_SECONDS] * 2


def test_watching_with_the_canary_is_refused(project, installed, web, monkeypatch):
    monkeypatch.setattr(health_command, "reports", lambda chosen: [])
    with pytest.raises(StackError, match=r"--deep .* --watch .*: choose one"):
        health_command.run(project, as_json=False, deep=True, watch=True)
    assert web.requests == []


# logs


def test_logs_of_all_or_one(project, installed, engine):
    logs.run(project, None, tail="5", since="", follow=False)
    logs.run(project, "redis", tail="9", since="10m", follow=True)
    assert engine.asked == [("logs", [], 5, "", False), ("logs", ["redis"], 9, "10m", True)]


def test_logs_of_a_service_that_does_not_exist(project, installed, engine):
    with pytest.raises(StackError, match=r"radis is not a service\.\nUse one of: postgres, redis"):
        logs.run(project, "radis", tail="5", since="", follow=False)


@pytest.mark.parametrize(("code", "is_error"), [(0, False), (130, False), (1, True)])
def test_an_interrupt_while_following_is_no_error(project, installed, engine, code, is_error):
    engine.exit_code = code
    if is_error:
        with pytest.raises(StackError, match="inv health"):
            logs.run(project, None, tail="5", since="", follow=True)
    else:
        logs.run(project, None, tail="5", since="", follow=True)


@pytest.mark.parametrize("tail", ["", "many", "-1", "1.5", "²"])
def test_a_tail_that_is_no_number_is_refused_before_the_engine_is_asked(
    project, installed, engine, tail
):
    with pytest.raises(StackError, match="is no number of lines: --tail 100"):
        logs.run(project, None, tail=tail, since="", follow=False)
    assert engine.asked == []


def test_a_since_that_is_no_span_is_refused_before_the_engine_is_asked(project, installed, engine):
    with pytest.raises(StackError, match="--since yesterday is no span"):
        logs.run(project, None, tail="5", since="yesterday", follow=False)
    assert engine.asked == []


# trigger


@pytest.mark.parametrize(
    ("conf", "value"), [(None, {}), ("", {}), ("{}", {}), ('{"seed": 7, "deep": {"a": [1]}}', None)]
)
def test_a_conf_is_a_json_object(conf, value):
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
def test_a_conf_that_is_none_is_refused_before_anything_is_asked(
    project, installed, web, conf, why
):
    with pytest.raises(StackError, match=why):
        trigger.run(project, "flights", conf, wait=False)
    assert web.requests == []


@pytest.fixture
def flights(installed, web):
    """A DAG whose run succeeds, of an installed use."""
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


def test_trigger_tells_where_to_watch(project, flights, capsys):
    trigger.run(project, "flights", '{"seed": 7}', wait=False)
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == ["flights: run r1 started", f"watch it: {flights.url}/dags/flights/runs/r1"]
    assert flights.of("POST /api/v2/dags/flights/dagRuns")[0].body["conf"] == {"seed": 7}


def test_trigger_with_wait_tells_the_end(project, flights, capsys):
    trigger.run(project, "flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-1] == "flights: success in 0 s"


@pytest.fixture
def reported(flights):
    """The same with a report."""
    path = "GET /api/v2/dags/flights/dagRuns/r1/taskInstances"
    entries = [{"task_id": "one", "map_index": -1}]
    lines = ["[bold]rmse[/bold] 9.1 :boom:", "x" * 300]
    flights.answers |= {
        f"{path}/~/xcomEntries": (200, {"xcom_entries": entries}),
        f"{path}/one/xcomEntries/report": (200, {"value": lines}),
    }
    return lines


def test_trigger_with_wait_prints_the_report_as_it_is_behind_the_end(project, reported, capsys):
    trigger.run(project, "flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-3:] == ["flights: success in 0 s", *reported]


def test_a_report_that_cannot_be_read_makes_no_failure_of_a_success(project, flights, capsys):
    del flights.answers["GET /api/v2/dags/flights/dagRuns/r1/taskInstances/~/xcomEntries"]
    trigger.run(project, "flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "flights: success in 0 s",
        "its report could not be read: Airflow refused (404): not found",
    ]


def test_trigger_with_wait_fails_with_the_run_and_prints_no_report(
    project, flights, reported, capsys
):
    flights.answers["GET /api/v2/dags/flights/dagRuns/r1"] = (200, {"state": "failed"})
    with pytest.raises(StackError, match="flights failed without a failed task"):
        trigger.run(project, "flights", None, wait=True)
    assert "rmse" not in capsys.readouterr().out


def test_an_interrupted_wait_says_that_the_run_goes_on(project, flights, monkeypatch):
    def interrupted(*run):
        raise KeyboardInterrupt

    monkeypatch.setattr(dag_runs, "follow", interrupted)
    with pytest.raises(StackError, match=r"the run goes on: http.*/dags/flights/runs/r1$"):
        trigger.run(project, "flights", None, wait=True)


# airflow, shell


ODD = ["--conf", '{"a b": "$HOME"}', "*", "it's", ""]


def test_airflows_own_command_line_gets_its_words_and_gives_its_exit_code(
    project, installed, engine
):
    engine.listed.append(Service("airflow-apiserver", "exited"))
    engine.exit_code = 3
    assert shell_command.airflow_cli(project, ODD) == 3
    assert engine.asked == [("run", "airflow-apiserver", ["airflow", *ODD])]


def test_a_shell_is_opened_where_a_service_runs(project, installed, engine):
    assert shell_command.open_shell(project, "redis") == 0
    assert engine.asked == [("run", "redis", ["bash"])]


def test_a_shell_of_a_service_that_does_not_exist_is_refused(project, installed, engine):
    with pytest.raises(StackError, match=r"radis is not a service\.\nUse one of: postgres, redis"):
        shell_command.open_shell(project, "radis")
    assert engine.asked == []


def test_a_shell_needs_an_engine_that_works(project, installed, engine):
    engine.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match=r"^no engine\nno compose$"):
        shell_command.open_shell(project, "redis")
    assert engine.asked == []


def test_a_shell_needs_what_the_service_runs_from(project, installed, engine):
    engine.built = False
    with pytest.raises(StackError, match=r"is not built yet\.\nRun: inv install"):
        shell_command.open_shell(project, "redis")
    assert engine.asked == []


# open


class Browser(webbrowser.BaseBrowser):
    """Notes the pages that it is asked to open."""

    def __init__(self):
        super().__init__("fake")
        self.opened = []

    def open(self, url, new=0, autoraise=True):
        self.opened.append(url)
        return True


@pytest.fixture
def no_browser(monkeypatch):
    """A machine without any browser; what a test registers is forgotten after it."""
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    monkeypatch.setattr(webbrowser, "_browsers", {})


@pytest.fixture
def browser(no_browser):
    """A person's browser."""
    browser = Browser()
    webbrowser.register("fake", None, browser, preferred=True)
    return browser


@pytest.mark.parametrize("page", open_page.PORTS)
def test_a_page_is_opened_in_the_browser_and_told(project, installed, web, browser, capsys, page):
    open_page.run(project, page)
    assert browser.opened == [web.url]
    assert capsys.readouterr().out == f"{web.url}\n"


def test_each_page_is_at_its_own_port(project, installed, browser, web, dead_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_PORT", str(dead_port))
    with pytest.raises(StackError) as silent:
        open_page.run(project, "mlflow")
    assert str(silent.value) == f"Nothing answers at http://127.0.0.1:{dead_port}.\nRun: inv up"
    assert browser.opened == []
    open_page.run(project, "status")
    assert browser.opened == [web.url]


def test_no_proxy_stands_before_a_page(project, installed, browser, dead_port, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    open_page.run(project, "status")
    assert browser.opened


def test_a_page_that_does_not_exist_is_refused_with_those_that_do(project, installed, web, browser):
    with pytest.raises(StackError) as refused:
        open_page.run(project, "redis")
    assert str(refused.value).startswith("redis has no web page.\nUse one of: airflow-apiserver")
    assert (web.requests, browser.opened) == ([], [])


def test_without_a_browser_the_way_from_another_machine_is_told(
    project, installed, web, no_browser
):
    with pytest.raises(StackError) as refused:
        open_page.run(project, "status")
    way = f"ssh -L {web.port}:127.0.0.1:{web.port} THIS-HOST, then open {web.url}"
    assert str(refused.value).endswith(way)


def test_every_verb_of_a_stack_that_is_not_installed_names_the_next_command(project, clone):
    for verb in (
        lambda: health_command.run(project, as_json=False, deep=False),
        lambda: health_command.run(project, as_json=False, deep=False, watch=True),
        lambda: logs.run(project, None, tail="1", since="", follow=False),
        lambda: trigger.run(project, "flights", None, wait=False),
        lambda: shell_command.airflow_cli(project, ["version"]),
        lambda: shell_command.open_shell(project, "redis"),
        lambda: open_page.run(project, "status"),
    ):
        with pytest.raises(StackError, match="inv install"):
            verb()
