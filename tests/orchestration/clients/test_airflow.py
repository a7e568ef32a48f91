"""Test the client of Airflow's API against an HTTP stub."""

from datetime import UTC, datetime

import pytest

from orchestration.clients.airflow import Airflow
from orchestration.errors import StackError

DAG = "/api/v2/dags/flights"
RUN = f"{DAG}/dagRuns/r1"
ERRORS = "GET /api/v2/importErrors"
DATE = datetime(2026, 1, 31, tzinfo=UTC)
TAKEN = (409, {"detail": {"reason": "Unique constraint violation"}})


def make_task(task_id, start_date="2026-01-01", **more):
    values = {"state": "success", "try_number": 1, "map_index": -1, "duration": 1.0}
    return {"task_id": task_id, "start_date": start_date} | values | more


def dags(*names):
    return 200, {"dags": [{"dag_id": name} for name in names]}


def test_session_logs_in_once_for_all_requests(airflow, web):
    web.answers["GET /api/v2/dags"] = dags("b", "a")
    assert airflow.dag_ids() == ["b", "a"]
    assert airflow.dag_ids() == ["b", "a"]
    [login] = web.requests_for("POST /auth/token")
    account = {"username": "airflow", "password": "pa55-w0rd"}  # pragma: allowlist secret
    assert login.body == account
    headers = [request.headers for request in web.requests_for("GET /api/v2/dags")]
    assert [header["Authorization"] for header in headers] == ["Bearer t0ken"] * 2


def test_session_with_rejected_password_names_the_setting(airflow, web):
    web.answers["POST /auth/token"] = (401, {"detail": "Invalid credentials"})
    with pytest.raises(StackError, match="account airflow") as error:
        airflow.dag_ids()
    assert "_AIRFLOW_WWW_USER_PASSWORD" in str(error.value)
    assert web.url in str(error.value)
    assert "pa55-w0rd" not in str(error.value)


def test_session_ignores_proxy_variables(airflow, web, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    web.answers["GET /api/v2/dags"] = dags("a")
    assert airflow.dag_ids() == ["a"]


def test_request_without_airflow_raises_with_next_command(make_settings, dead_port):
    with pytest.raises(
        StackError, match=rf"not answer at http://127.0.0.1:{dead_port}\.\nRun: inv up"
    ):
        Airflow(make_settings(AIRFLOW_PORT=dead_port)).dag_ids()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"detail": "not allowed"}, "rejected a request (403): not allowed"),
        (b"plain text", "rejected a request (403): plain text"),
        ([], "rejected a request (403): []"),
    ],
)
def test_request_rejected_quotes_airflows_reason(airflow, web, document, message):
    web.answers["GET /api/v2/dags"] = (403, document)
    with pytest.raises(StackError) as error:
        airflow.dag_ids()
    assert message in str(error.value)


def test_dag_not_parsed_yet_is_waited_for(airflow, web, clock):
    web.answers[f"GET {DAG}"] = [(404, {}), (404, {}), (200, {"dag_id": "flights"})]
    assert airflow.dag("flights", wait_seconds=60) == {"dag_id": "flights"}
    assert clock.slept == [0.5, 0.5]


def test_dag_missing_is_waited_for_no_longer_than_requested(airflow, web, clock):
    web.answers |= {ERRORS: (200, {"import_errors": []}), "GET /api/v2/dags": dags()}
    with pytest.raises(StackError, match=r"no DAG flights\.\nAirflow has no DAGs yet\."):
        airflow.dag("flights", wait_seconds=3)
    assert sum(clock.slept) == 3


def test_dag_mistyped_suggests_similar_ids(airflow, web):
    web.answers[ERRORS] = (200, {"import_errors": []})
    web.answers["GET /api/v2/dags"] = dags("canary", "flights_daily", "flight")
    with pytest.raises(StackError) as error:
        airflow.dag("flights")
    cause, fix = str(error.value).splitlines()
    assert cause == "There is no DAG flights."
    assert {"flight", "flights_daily"} == set(fix.removeprefix("Use one of: ").split(", "))


def test_dag_without_similar_ids_lists_all(airflow, web):
    web.answers[ERRORS] = (200, {"import_errors": []})
    web.answers["GET /api/v2/dags"] = dags("b", "a")
    with pytest.raises(StackError, match=r"There is no DAG zzz\.\nUse one of: a, b"):
        airflow.dag("zzz")


def test_dag_with_import_error_reports_that(airflow, web):
    errors = [
        {"filename": "other.py", "stack_trace": "SyntaxError: no"},
        {
            "filename": "/opt/airflow/dags/flights.py",
            "stack_trace": "Traceback:\n  x\nImportError: pandas\n",
        },
    ]
    web.answers[ERRORS] = (200, {"import_errors": errors})
    with pytest.raises(StackError) as error:
        airflow.dag("flights")
    assert (
        str(error.value) == "/opt/airflow/dags/flights.py cannot be imported: ImportError: pandas\n"
        "Run: nox -s dag_lint"
    )


def test_dag_quotes_special_characters_in_the_id(airflow, web):
    web.answers |= {ERRORS: (200, {"import_errors": []}), "GET /api/v2/dags": dags("flights")}
    web.answers[f"GET {DAG}"] = (200, {"dag_id": "flights"})
    with pytest.raises(StackError, match="There is no DAG"):
        airflow.dag("flights?x")


def test_unpause_patches_only_is_paused(airflow, web):
    web.answers[f"PATCH {DAG}"] = (200, {})
    airflow.unpause("flights")
    assert web.requests_for(f"PATCH {DAG}")[0].body == {"is_paused": False}


@pytest.mark.parametrize("date", [None, DATE])
def test_trigger_sends_conf_and_date(airflow, web, date):
    web.answers[f"POST {DAG}/dagRuns"] = (200, {"dag_run_id": "r1"})
    assert airflow.trigger("flights", {"seed": 7}, date) == "r1"
    assert web.requests_for(f"POST {DAG}/dagRuns")[0].body == {
        "logical_date": date and "2026-01-31T00:00:00+00:00",
        "conf": {"seed": 7},
    }


def test_trigger_second_run_of_a_date_names_the_first(airflow, web):
    runs = [{"dag_run_id": "scheduled__x", "state": "failed"}]
    web.answers |= {f"POST {DAG}/dagRuns": TAKEN, f"GET {DAG}/dagRuns": (200, {"dag_runs": runs})}
    with pytest.raises(StackError) as error:
        airflow.trigger("flights", {}, DATE)
    assert str(error.value).splitlines() == [
        "flights already has a run for 2026-01-31T00:00:00+00:00: scheduled__x (failed).",
        "Clear that run to repeat it, or use another date.",
        f"Open: {web.url}/dags/flights/runs/scheduled__x",
    ]
    bounds = {key: DATE.isoformat() for key in ("logical_date_gte", "logical_date_lte")}
    query = web.requests_for(f"GET {DAG}/dagRuns")[0].query
    assert query == {key: [date] for key, date in bounds.items()}


@pytest.mark.parametrize("date", [None, DATE])
def test_trigger_other_conflict_quotes_airflows_reason(airflow, web, date):
    web.answers |= {f"POST {DAG}/dagRuns": TAKEN, f"GET {DAG}/dagRuns": (200, {"dag_runs": []})}
    with pytest.raises(StackError, match=r"rejected a request \(409\): .*violation"):
        airflow.trigger("flights", {}, date)


def test_tasks_are_sorted_by_start_with_unstarted_last(airflow, web):
    tasks = [
        make_task("z", None),
        make_task("b", "2026-02"),
        make_task("a", None),
        make_task("c", "2026-01"),
    ]
    web.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": tasks})
    assert [task["task_id"] for task in airflow.tasks("flights", "r1")] == ["c", "b", "a", "z"]


def answer_states(web, *states):
    web.answers[f"GET {RUN}"] = [(200, {"state": state}) for state in states]
    web.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": [make_task("one")]})


@pytest.mark.parametrize("final", ["success", "failed"])
def test_watch_yields_until_the_run_is_finished(airflow, web, clock, final):
    answer_states(web, "queued", "running", final)
    updates = list(airflow.watch("flights", "r1", seconds=60, pause=2))
    assert [state for state, _ in updates] == ["queued", "running", final]
    assert [task["task_id"] for task in updates[-1][1]] == ["one"]
    assert clock.slept == [2, 2]


def test_watch_timeout_names_the_page_of_the_run(airflow, web, clock):
    answer_states(web, "running")
    with pytest.raises(StackError) as error:
        list(airflow.watch("flights", "r1", seconds=10, pause=3))
    assert str(error.value) == (
        f"flights is still running after 10 s.\nOpen: {web.url}/dags/flights/runs/r1"
    )
    assert clock.slept == [3, 3, 3, 3]


def test_return_value_is_read_as_json(airflow, web):
    path = f"GET {RUN}/taskInstances/one/xcomEntries/return_value"
    web.answers[path] = (200, {"value": {"hop": 1.5}})
    assert airflow.return_value("flights", "r1", "one") == {"hop": 1.5}
    assert web.requests_for(path)[0].query == {
        "map_index": ["-1"],
        "deserialize": ["False"],
        "stringify": ["False"],
    }


def test_return_value_missing_is_none(airflow):
    assert airflow.return_value("flights", "r1", "one") is None


def answer_reports(web, values, ends=None):
    """Answer with each task's report by (task, map index), and with when the tasks finished."""
    ends = ends or {}
    entries = [{"task_id": name, "map_index": index} for name, index in values]
    tasks = [
        make_task(name, map_index=index, end_date=ends.get((name, index))) for name, index in ends
    ]
    web.answers[f"GET {RUN}/taskInstances/~/xcomEntries"] = (200, {"xcom_entries": entries})
    web.answers[f"GET {RUN}/taskInstances"] = (200, {"task_instances": tasks})
    for name in {name for name, _ in values}:
        answers = [(200, {"value": value}) for (task, _), value in values.items() if task == name]
        web.answers[f"GET {RUN}/taskInstances/{name}/xcomEntries/report"] = answers


def test_reports_are_in_the_order_in_which_tasks_finished(airflow, web):
    values = {("a", -1): ["model v3", "[b]rmse[/b] 9"], ("b", -1): ["rows 7"], ("c", -1): ["x"]}
    ends = {("a", -1): "2026-03", ("b", -1): "2026-02", ("quiet", -1): "2026-01"}
    answer_reports(web, values, ends)
    lines = airflow.reports("flights", "r1")
    assert lines == ["rows 7", "model v3", "[b]rmse[/b] 9", "x"], "a task without an end is last"
    [request] = web.requests_for(f"GET {RUN}/taskInstances/~/xcomEntries")
    assert request.query["xcom_key"] == ["report"]
    [request] = web.requests_for(f"GET {RUN}/taskInstances/a/xcomEntries/report")
    assert request.query["stringify"] == request.query["deserialize"] == ["False"]


def test_reports_of_a_mapped_task_include_each_instance(airflow, web):
    path = f"GET {RUN}/taskInstances/many/xcomEntries/report"
    ends = {("many", 10): "2026-01", ("many", 2): "2026-02", ("many", 0): "2026-02"}
    answer_reports(web, {("many", index): [] for index in (0, 2, 10)}, ends)
    web.answers[path] = [(200, {"value": [line]}) for line in ("first", "second", "third")]
    assert airflow.reports("flights", "r1") == ["first", "second", "third"]
    assert [request.query["map_index"] for request in web.requests_for(path)] == [
        ["10"],
        ["0"],
        ["2"],
    ]


@pytest.mark.parametrize(
    "value", ["a line", {"a": 1}, None, 7, ["a", 1], ["a", ["b"]], [None]], ids=repr
)
def test_reports_skip_values_other_than_lists_of_strings(airflow, web, value):
    answer_reports(web, {("odd", -1): value, ("one", -1): ["kept"], ("none", -1): []})
    assert airflow.reports("flights", "r1") == ["kept"]


def test_reports_skip_an_xcom_that_was_deleted_meanwhile(airflow, web):
    answer_reports(web, {("gone", -1): ["x"], ("one", -1): ["kept"]})
    del web.answers[f"GET {RUN}/taskInstances/gone/xcomEntries/report"]
    assert airflow.reports("flights", "r1") == ["kept"]


def test_reports_of_a_run_without_any_are_empty(airflow, web):
    answer_reports(web, {}, {("one", -1): "2026-01"})
    assert airflow.reports("flights", "r1") == []


def test_log_tail_ends_with_the_exception(airflow, web):
    content = [
        {"event": "::group::Log message source"},
        {"event": "loading\n\nmore"},
        "a plain line",
        {"event": "Task failed", "error_detail": [{"exc_type": "ValueError", "exc_value": "bad"}]},
        {"timestamp": "2026"},
    ]
    web.answers[f"GET {RUN}/taskInstances/one/logs/3"] = (200, {"content": content})
    task = make_task("one", try_number=3, map_index=2)
    assert airflow.log_tail("flights", "r1", task) == [
        "loading",
        "more",
        "a plain line",
        "Task failed",
        "ValueError: bad",
    ]
    assert airflow.log_tail("flights", "r1", task, lines=2) == ["Task failed", "ValueError: bad"]
    assert web.requests_for(f"GET {RUN}/taskInstances/one/logs/3")[0].query == {"map_index": ["2"]}


def test_log_tail_without_a_log_is_empty(airflow):
    assert airflow.log_tail("flights", "r1", make_task("one")) == []


def test_prune_runs_keeps_newest_and_running_ones(airflow, web):
    states = {"r5": "success", "r4": "running", "r3": "failed", "r2": "success", "r1": "success"}
    runs = [{"dag_run_id": name, "state": state} for name, state in states.items()]
    web.answers[f"GET {DAG}/dagRuns"] = (200, {"dag_runs": runs})
    airflow.prune_runs("flights", keep=2)
    deleted = [request.endpoint for request in web.requests if "DELETE" in request.endpoint]
    assert deleted == [f"DELETE {DAG}/dagRuns/r2", f"DELETE {DAG}/dagRuns/r1"]
    assert web.requests_for(f"GET {DAG}/dagRuns")[0].query["order_by"] == ["-run_after"]


def test_session_when_logins_are_blocked_suggests_retry(airflow, web):
    web.answers["POST /auth/token"] = (429, {"detail": "slow"})
    with pytest.raises(StackError, match=r"too many attempts\.\nWait a minute"):
        airflow.dag_ids()
