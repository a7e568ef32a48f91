"""The verbs that use a stack, with an engine of paper and stubs: what each does and says."""

import itertools
import json
import webbrowser

import pytest

from orchestration import StackError, proof, settings, use
from orchestration.engine import Service


@pytest.fixture(autouse=True)
def machine(clone, engine, web, monkeypatch):
    """A machine with an engine, where every service answers well."""
    for name, port in web.stack_is_well().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(use, "engine_for", lambda chosen: engine)


@pytest.fixture
def installed(clone):
    """A clone with a complete .env."""
    settings.write_env(settings.draft_env(clone)[0], "docker", clone)
    return clone


# health


def test_health_of_a_stack_that_is_well(installed, engine, capsys):
    engine.held = {"redis": 5 * 2**20}
    assert use.report_health(as_json=False, deep=False)
    told = capsys.readouterr().out.splitlines()
    [redis] = [line for line in told if " redis " in line]
    assert "✓" in redis
    assert "5 MiB" in redis
    assert told[-1] == "healthy (docker)"


def test_health_for_machines_is_json_alone(installed, engine, web, capsys):
    web.stack_is_well(redis="down")
    assert not use.report_health(as_json=True, deep=False)
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "degraded"
    assert {row["name"] for row in document["services"] if not row["healthy"]} == {"redis"}


def test_health_of_an_ill_stack_is_explained(installed, engine, web, capsys):
    web.stack_is_well(redis="down")
    assert not use.report_health(as_json=False, deep=False)
    assert capsys.readouterr().out.splitlines()[-1] == "next: inv logs -s redis"


def test_deep_health_sends_the_canary_but_not_through_an_ill_stack(installed, web, monkeypatch):
    proven = []
    monkeypatch.setattr(proof, "prove", lambda airflow, console: proven.append(1) or "well")
    assert use.report_health(as_json=False, deep=True)
    assert len(proven) == 1
    web.stack_is_well(redis="down")
    assert not use.report_health(as_json=False, deep=True)
    assert len(proven) == 1


def test_deep_health_for_machines_is_json_alone_too(installed, monkeypatch, capsys):
    monkeypatch.setattr(proof, "prove", lambda airflow, console: console.print("✓") or "well")
    assert use.report_health(as_json=True, deep=True)
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "healthy"
    assert said["checks"][-1]["name"] == "canary"


def test_deep_health_fails_with_the_canary(installed, monkeypatch, capsys):
    def refuse(airflow, console):
        raise StackError("the proof failed")

    monkeypatch.setattr(proof, "prove", refuse)
    assert not use.report_health(as_json=False, deep=True)
    assert "the proof failed" in capsys.readouterr().out


def test_health_without_an_engine_that_answers_is_a_report_too(installed, engine, capsys):
    engine.ps_fails = StackError("no Docker engine answers: start it")
    assert not use.report_health(as_json=True, deep=True)
    document = json.loads(capsys.readouterr().out)
    assert document["services"] == []
    assert document["checks"][0]["detail"] == "no Docker engine answers: start it"


def test_watching_looks_again_until_it_is_stopped(installed, engine, clock, monkeypatch, capsys):
    engine.held = {"redis": 1}
    monkeypatch.setattr(use, "time", clock)
    looked = itertools.islice(use.reports(settings.Settings.load()), 3)
    monkeypatch.setattr(use, "reports", lambda chosen: looked)
    assert use.report_health(as_json=True, deep=False, watch=True)
    documents = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [document["status"] for document in documents] == ["healthy"] * 3
    assert documents[0]["services"][1]["memory_bytes"] == 1
    assert clock.slept == [use.WATCH_SECONDS] * 2


def test_watching_with_the_canary_is_refused(installed, web, monkeypatch):
    monkeypatch.setattr(use, "reports", lambda chosen: [])
    with pytest.raises(StackError, match=r"--deep .* --watch .*: choose one"):
        use.report_health(as_json=False, deep=True, watch=True)
    assert web.asked == []


# logs


def test_logs_of_all_or_one(installed, engine):
    use.show_logs(None, tail="5", since="", follow=False)
    use.show_logs("redis", tail="9", since="10m", follow=True)
    assert engine.asked == [("logs", [], 5, "", False), ("logs", ["redis"], 9, "10m", True)]


def test_logs_of_a_service_that_does_not_exist(installed, engine):
    with pytest.raises(StackError, match="there is no service radis; known: postgres, redis"):
        use.show_logs("radis", tail="5", since="", follow=False)


@pytest.mark.parametrize(("code", "is_error"), [(0, False), (130, False), (1, True)])
def test_an_interrupt_while_following_is_no_error(installed, engine, code, is_error):
    engine.exit_code = code
    if is_error:
        with pytest.raises(StackError, match="inv health"):
            use.show_logs(None, tail="5", since="", follow=True)
    else:
        use.show_logs(None, tail="5", since="", follow=True)


@pytest.mark.parametrize("tail", ["", "many", "-1", "1.5", "²"])
def test_a_tail_that_is_no_number_is_refused_before_the_engine_is_asked(installed, engine, tail):
    with pytest.raises(StackError, match="is no number of lines: --tail 100"):
        use.show_logs(None, tail=tail, since="", follow=False)
    assert engine.asked == []


def test_a_since_that_is_no_span_is_refused_before_the_engine_is_asked(installed, engine):
    with pytest.raises(StackError, match="--since yesterday is no span"):
        use.show_logs(None, tail="5", since="yesterday", follow=False)
    assert engine.asked == []


# trigger


@pytest.mark.parametrize(
    ("conf", "value"),
    [(None, {}), ("", {}), ("{}", {}), ('{"seed": 7, "deep": {"a": [1]}}', None)],
)
def test_a_conf_is_a_json_object(conf, value):
    expected = json.loads(conf) if value is None else value
    assert use.parse_conf(conf) == expected


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
def test_a_conf_that_is_none_is_refused_before_anything_is_asked(installed, web, conf, why):
    with pytest.raises(StackError, match=why):
        use.trigger("flights", conf, wait=False)
    assert web.asked == []


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


def test_trigger_tells_where_to_watch(flights, capsys):
    use.trigger("flights", '{"seed": 7}', wait=False)
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [
        "flights: run r1 started",
        f"watch it: {flights.url}/dags/flights/runs/r1",
    ]
    assert flights.of("POST /api/v2/dags/flights/dagRuns")[0]["body"]["conf"] == {"seed": 7}


def test_trigger_with_wait_tells_the_end(flights, capsys):
    use.trigger("flights", None, wait=True)
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


def test_trigger_with_wait_prints_the_report_as_it_is_behind_the_end(reported, capsys):
    use.trigger("flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-3:] == ["flights: success in 0 s", *reported]


def test_a_report_that_cannot_be_read_makes_no_failure_of_a_success(flights, capsys):
    del flights.answers["GET /api/v2/dags/flights/dagRuns/r1/taskInstances/~/xcomEntries"]
    use.trigger("flights", None, wait=True)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "flights: success in 0 s",
        "its report could not be read: Airflow refused (404): not found",
    ]


def test_trigger_with_wait_fails_with_the_run_and_prints_no_report(flights, reported, capsys):
    flights.answers["GET /api/v2/dags/flights/dagRuns/r1"] = (200, {"state": "failed"})
    with pytest.raises(StackError, match="flights failed without a failed task"):
        use.trigger("flights", None, wait=True)
    assert "rmse" not in capsys.readouterr().out


def test_an_interrupted_wait_says_that_the_run_goes_on(flights, monkeypatch):
    def interrupted(*run):
        raise KeyboardInterrupt

    monkeypatch.setattr(proof, "follow", interrupted)
    with pytest.raises(StackError, match=r"the run goes on: http.*/dags/flights/runs/r1$"):
        use.trigger("flights", None, wait=True)


# airflow, shell


ODD = ["--conf", '{"a b": "$HOME"}', "*", "it's", ""]


def test_airflows_own_command_line_gets_its_words_and_gives_its_exit_code(installed, engine):
    engine.listed.append(Service("airflow-apiserver", "exited"))
    engine.exit_code = 3
    assert use.airflow_cli(ODD) == 3
    assert engine.asked == [("run", "airflow-apiserver", ["airflow", *ODD])]


def test_a_shell_is_opened_where_a_service_runs(installed, engine):
    assert use.open_shell("redis") == 0
    assert engine.asked == [("run", "redis", ["bash"])]


def test_a_shell_of_a_service_that_does_not_exist_is_refused(installed, engine):
    with pytest.raises(StackError, match="there is no service radis; known: postgres, redis"):
        use.open_shell("radis")
    assert engine.asked == []


def test_a_shell_needs_an_engine_that_works(installed, engine):
    engine.reasons = ["no engine", "no compose"]
    with pytest.raises(StackError, match=r"^no engine\nno compose$"):
        use.open_shell("redis")
    assert engine.asked == []


def test_a_shell_needs_what_the_service_runs_from(installed, engine):
    engine.built = False
    with pytest.raises(StackError, match="is not built: inv install"):
        use.open_shell("redis")
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


@pytest.mark.parametrize("page", use.PAGES)
def test_a_page_is_opened_in_the_browser_and_told(installed, web, browser, capsys, page):
    use.open_page(page)
    assert browser.opened == [web.url]
    assert capsys.readouterr().out == f"{web.url}\n"


def test_each_page_is_at_its_own_port(installed, browser, web, dead_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_PORT", str(dead_port))
    with pytest.raises(StackError) as silent:
        use.open_page("mlflow")
    assert str(silent.value) == f"nothing answers at http://127.0.0.1:{dead_port}: inv up"
    assert browser.opened == []
    use.open_page("status")
    assert browser.opened == [web.url]


def test_no_proxy_stands_before_a_page(installed, browser, dead_port, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    use.open_page("status")
    assert browser.opened


def test_a_page_that_does_not_exist_is_refused_with_those_that_do(installed, web, browser):
    with pytest.raises(StackError) as refused:
        use.open_page("redis")
    assert str(refused.value) == "redis has no page; pages: status, airflow-apiserver, mlflow"
    assert (web.asked, browser.opened) == ([], [])


def test_without_a_browser_the_way_from_another_machine_is_told(installed, web, no_browser):
    with pytest.raises(StackError) as refused:
        use.open_page("status")
    way = f"ssh -L {web.port}:127.0.0.1:{web.port} THIS-HOST, then {web.url}"
    assert str(refused.value).endswith(way)


def test_every_verb_of_a_stack_that_is_not_installed_names_the_next_command(clone):
    for verb in (
        lambda: use.report_health(as_json=False, deep=False),
        lambda: use.report_health(as_json=False, deep=False, watch=True),
        lambda: use.show_logs(None, tail="1", since="", follow=False),
        lambda: use.trigger("flights", None, wait=False),
        lambda: use.airflow_cli(["version"]),
        lambda: use.open_shell("redis"),
        lambda: use.open_page("status"),
    ):
        with pytest.raises(StackError, match="inv install"):
            verb()
