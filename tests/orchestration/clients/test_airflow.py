"""Airflow's API over loopback: log in, find a DAG, run it, watch it, read what it left."""

import pytest

from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError

DAG = "/api/v2/dags/flights"
RUN = f"{DAG}/dagRuns/r1"
ERRORS = "GET /api/v2/importErrors"


def a_task(task_id, start_date="2026-01-01", **more):
    values = {"state": "success", "try_number": 1, "map_index": -1, "duration": 1.0}
    return {"task_id": task_id, "start_date": start_date} | values | more


def dags(*names):
    return 200, {"dags": [{"dag_id": name} for name in names]}


def test_one_login_with_the_account_of_the_settings_serves_all_questions(airflow, web):
    web.answers["GET /api/v2/dags"] = dags("b", "a")
    assert airflow.dag_ids() == ["b", "a"]
    assert airflow.dag_ids() == ["b", "a"]
    [login] = web.of("POST /auth/token")
    account = {"username": "airflow", "password": "pa55-w0rd"}  # pragma: allowlist secret
    assert login.body == account
    headers = [request.headers for request in web.of("GET /api/v2/dags")]
    assert [each["Authorization"] for each in headers] == ["Bearer t0ken"] * 2


def test_a_changed_password_is_told_with_what_to_do(airflow, web):
    web.answers["POST /auth/token"] = (401, {"detail": "Invalid credentials"})
    with pytest.raises(StackError, match="account airflow") as refused:
        airflow.dag_ids()
    assert "_AIRFLOW_WWW_USER_PASSWORD" in str(refused.value)
    assert web.url in str(refused.value)
    assert "pa55-w0rd" not in str(refused.value)


def test_a_proxy_of_the_environment_is_not_asked(airflow, web, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    web.answers["GET /api/v2/dags"] = dags("a")
    assert airflow.dag_ids() == ["a"]


def test_an_airflow_that_is_not_there_is_told_with_the_next_command(make_settings, dead_port):
    with pytest.raises(StackError, match=rf"not answer at http://127.0.0.1:{dead_port}: inv up"):
        Airflow(make_settings(AIRFLOW_PORT=dead_port)).dag_ids()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"detail": "not allowed"}, "refused (403): not allowed"),
        (b"plain words", "refused (403): plain words"),
        ([], "refused (403): []"),
    ],
)
def test_a_refusal_is_told_in_airflows_words(airflow, web, document, words):
    web.answers["GET /api/v2/dags"] = (403, document)
    with pytest.raises(StackError) as refused:
        airflow.dag_ids()
    assert words in str(refused.value)


def test_a_dag_that_is_not_parsed_yet_is_waited_for(airflow, web, clock):
    web.answers[f"GET {DAG}"] = [(404, {}), (404, {}), (200, {"dag_id": "flights"})]
    assert airflow.dag("flights", wait_seconds=60) == {"dag_id": "flights"}
    assert clock.slept == [0.5, 0.5]


def test_a_dag_is_not_waited_for_longer_than_wanted(airflow, web, clock):
    web.answers |= {ERRORS: (200, {"import_errors": []}), "GET /api/v2/dags": dags()}
    with pytest.raises(StackError, match="no DAG flights; known: none yet"):
        airflow.dag("flights", wait_seconds=3)
    assert sum(clock.slept) == 3


def test_a_mistyped_dag_is_answered_with_those_that_are_near(airflow, web):
    web.answers[ERRORS] = (200, {"import_errors": []})
    web.answers["GET /api/v2/dags"] = dags("canary", "flights_daily", "flight")
    with pytest.raises(StackError) as absent:
        airflow.dag("flights")
    told = str(absent.value)
    assert told.startswith("there is no DAG flights; known: ")
    assert {"flight", "flights_daily"} == set(told.partition("known: ")[2].split(", "))


def test_a_name_that_is_like_none_is_answered_with_all(airflow, web):
    web.answers[ERRORS] = (200, {"import_errors": []})
    web.answers["GET /api/v2/dags"] = dags("b", "a")
    with pytest.raises(StackError, match="there is no DAG zzz; known: a, b"):
        airflow.dag("zzz")


def test_an_import_error_that_hides_a_dag_is_told_instead(airflow, web):
    errors = [
        {"filename": "other.py", "stack_trace": "SyntaxError: no"},
        {
            "filename": "/opt/airflow/dags/flights.py",
            "stack_trace": "Traceback:\n  x\nImportError: pandas\n",
        },
    ]
    web.answers[ERRORS] = (200, {"import_errors": errors})
    with pytest.raises(StackError) as absent:
        airflow.dag("flights")
    assert str(absent.value) == "/opt/airflow/dags/flights.py does not import: ImportError: pandas"


def test_a_name_with_a_question_mark_asks_for_that_name(airflow, web):
    web.answers |= {ERRORS: (200, {"import_errors": []}), "GET /api/v2/dags": dags("flights")}
    web.answers[f"GET {DAG}"] = (200, {"dag_id": "flights"})
    with pytest.raises(StackError, match="there is no DAG"):
        airflow.dag("flights?x")


def test_unpausing_patches_only_that(airflow, web):
    web.answers[f"PATCH {DAG}"] = (200, {})
    airflow.unpause("flights")
    assert web.of(f"PATCH {DAG}")[0].body == {"is_paused": False}


def test_a_run_is_started_now_with_its_conf(airflow, web):
    web.answers[f"POST {DAG}/dagRuns"] = (200, {"dag_run_id": "r1"})
    assert airflow.trigger("flights", {"seed": 7}) == "r1"
    assert web.of(f"POST {DAG}/dagRuns")[0].body == {"logical_date": None, "conf": {"seed": 7}}


def test_tasks_are_in_the_order_they_started_and_those_to_come_are_last(airflow, web):
    found = [a_task("z", None), a_task("b", "2026-02"), a_task("a", None), a_task("c", "2026-01")]
    web.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": found})
    assert [task["task_id"] for task in airflow.tasks("flights", "r1")] == ["c", "b", "a", "z"]


def watched(web, *states):
    web.answers[f"GET {RUN}"] = [(200, {"state": state}) for state in states]
    web.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": [a_task("one")]})


@pytest.mark.parametrize("end", ["success", "failed"])
def test_a_run_is_watched_to_its_end(airflow, web, clock, end):
    watched(web, "queued", "running", end)
    seen = list(airflow.watch("flights", "r1", seconds=60, pause=2))
    assert [state for state, _ in seen] == ["queued", "running", end]
    assert [task["task_id"] for task in seen[-1][1]] == ["one"]
    assert clock.slept == [2, 2]


def test_a_run_that_does_not_end_is_told_with_its_page(airflow, web, clock):
    watched(web, "running")
    with pytest.raises(StackError) as late:
        list(airflow.watch("flights", "r1", seconds=10, pause=3))
    assert str(late.value) == (
        f"flights is still running after 10 s: {web.url}/dags/flights/runs/r1"
    )
    assert clock.slept == [3, 3, 3, 3]


def test_what_a_task_returned_is_read_as_a_value(airflow, web):
    path = f"GET {RUN}/taskInstances/one/xcomEntries/return_value"
    web.answers[path] = (200, {"value": {"hop": 1.5}})
    assert airflow.returned("flights", "r1", "one") == {"hop": 1.5}
    assert web.of(path)[0].query == {
        "map_index": ["-1"],
        "deserialize": ["False"],
        "stringify": ["False"],
    }


def test_a_task_that_returned_nothing_has_returned_none(airflow):
    assert airflow.returned("flights", "r1", "one") is None


def pushed(web, values, ends=None):
    """Each task's report by (task, map index), in the answers' order; when the tasks ended."""
    ends = ends or {}
    entries = [{"task_id": name, "map_index": index} for name, index in values]
    tasks = [
        a_task(name, map_index=index, end_date=ends.get((name, index))) for name, index in ends
    ]
    web.answers[f"GET {RUN}/taskInstances/~/xcomEntries"] = (200, {"xcom_entries": entries})
    web.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": tasks})
    for name in {name for name, _ in values}:
        own = [(200, {"value": value}) for (task, _), value in values.items() if task == name]
        web.answers[f"GET {RUN}/taskInstances/{name}/xcomEntries/report"] = own


def test_reports_are_in_the_order_in_which_the_tasks_ended(airflow, web):
    values = {("a", -1): ["model v3", "[b]rmse[/b] 9"], ("b", -1): ["rows 7"], ("c", -1): ["x"]}
    ends = {("a", -1): "2026-03", ("b", -1): "2026-02", ("quiet", -1): "2026-01"}
    pushed(web, values, ends)
    told = airflow.reports("flights", "r1")
    assert told == ["rows 7", "model v3", "[b]rmse[/b] 9", "x"], "without an end it is the last"
    [asked] = web.of(f"GET {RUN}/taskInstances/~/xcomEntries")
    assert asked.query["xcom_key"] == ["report"]
    [asked] = web.of(f"GET {RUN}/taskInstances/a/xcomEntries/report")
    assert asked.query["stringify"] == asked.query["deserialize"] == ["False"]


def test_each_of_a_mapped_tasks_instances_has_its_own_report(airflow, web):
    path = f"GET {RUN}/taskInstances/many/xcomEntries/report"
    ends = {("many", 10): "2026-01", ("many", 2): "2026-02", ("many", 0): "2026-02"}
    pushed(web, {("many", index): [] for index in (0, 2, 10)}, ends)
    web.answers[path] = [(200, {"value": [line]}) for line in ("first", "second", "third")]
    assert airflow.reports("flights", "r1") == ["first", "second", "third"]
    assert [request.query["map_index"] for request in web.of(path)] == [["10"], ["0"], ["2"]]


@pytest.mark.parametrize(
    "value", ["a line", {"a": 1}, None, 7, ["a", 1], ["a", ["b"]], [None]], ids=repr
)
def test_a_report_that_is_no_list_of_strings_is_passed_over(airflow, web, value):
    pushed(web, {("odd", -1): value, ("one", -1): ["kept"], ("none", -1): []})
    assert airflow.reports("flights", "r1") == ["kept"]


def test_a_report_that_went_away_meanwhile_is_passed_over(airflow, web):
    pushed(web, {("gone", -1): ["x"], ("one", -1): ["kept"]})
    del web.answers[f"GET {RUN}/taskInstances/gone/xcomEntries/report"]
    assert airflow.reports("flights", "r1") == ["kept"]


def test_a_run_without_reports_has_no_lines(airflow, web):
    pushed(web, {}, {("one", -1): "2026-01"})
    assert airflow.reports("flights", "r1") == []


def test_the_tail_of_a_log_ends_with_the_exception(airflow, web):
    content = [
        {"event": "::group::Log message source"},
        {"event": "loading\n\nmore"},
        "a plain line",
        {"event": "Task failed", "error_detail": [{"exc_type": "ValueError", "exc_value": "bad"}]},
        {"timestamp": "2026"},
    ]
    web.answers[f"GET {RUN}/taskInstances/one/logs/3"] = (200, {"content": content})
    task = a_task("one", try_number=3, map_index=2)
    assert airflow.log_tail("flights", "r1", task) == [
        "loading",
        "more",
        "a plain line",
        "Task failed",
        "ValueError: bad",
    ]
    assert airflow.log_tail("flights", "r1", task, lines=2) == ["Task failed", "ValueError: bad"]
    assert web.of(f"GET {RUN}/taskInstances/one/logs/3")[0].query == {"map_index": ["2"]}


def test_a_log_that_is_not_there_has_no_lines(airflow):
    assert airflow.log_tail("flights", "r1", a_task("one")) == []


def test_old_runs_are_pruned_but_never_one_that_goes_on(airflow, web):
    states = {"r5": "success", "r4": "running", "r3": "failed", "r2": "success", "r1": "success"}
    runs = [{"dag_run_id": name, "state": state} for name, state in states.items()]
    web.answers[f"GET {DAG}/dagRuns"] = (200, {"dag_runs": runs})
    airflow.prune_runs("flights", keep=2)
    deleted = [request.question for request in web.requests if "DELETE" in request.question]
    assert deleted == [f"DELETE {DAG}/dagRuns/r2", f"DELETE {DAG}/dagRuns/r1"]
    assert web.of(f"GET {DAG}/dagRuns")[0].query["order_by"] == ["-run_after"]


def test_logins_that_are_slowed_down_are_told_as_that(airflow, web):
    web.answers["POST /auth/token"] = (429, {"detail": "slow"})
    with pytest.raises(StackError, match="too many were tried: again in a minute"):
        airflow.dag_ids()
