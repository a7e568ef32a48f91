"""Test that faults of Airflow 3.0.1 which cost work, results or secrets do not happen.

The same code runs on both engines, so one of them is enough.
"""

import json
from datetime import UTC, datetime

import pytest

from tests.e2e.clone import until

API = "/api/v2"
NAMES = ("fixes", "secrets", "groups", "inner", "outer", "consumer")
PASSWORD, TOKEN = "made-up-password", "made-up-token"  # pragma: allowlist secret
RUN_SECONDS = 120

pytestmark = pytest.mark.usefixtures("dags")


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("semantics/later_fixes")
    for dag_id in map("later_{}".format, NAMES):
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"{API}/dags/{dag_id}"), 120)


@pytest.fixture(scope="module")
def request_api(stack):
    """Return a function that sends a request to Airflow's API and returns the response."""
    session, address = stack.session(), stack.url("AIRFLOW_PORT") + API

    def request(method, path, **options):
        return session.request(method, address + path, timeout=30, **options)

    return request


@pytest.fixture(scope="module")
def finished_run(request_api):
    """Return a function that runs a DAG, and returns the path of its run and its task instances."""

    def finish(dag_id):
        body = {"logical_date": datetime.now(UTC).isoformat()}
        response = request_api("POST", f"/dags/{dag_id}/dagRuns", json=body)
        assert response.ok, response.text
        path = f"/dags/{dag_id}/dagRuns/{response.json()['dag_run_id']}"

        def has_finished():
            return request_api("GET", path).json()["state"] in ("success", "failed")

        until(has_finished, RUN_SECONDS, pause=1)
        return path, request_api("GET", f"{path}/taskInstances").json()["task_instances"]

    return finish


def log(request_api, path, task_id):
    return json.dumps(request_api("GET", f"{path}/taskInstances/{task_id}/logs/1").json())


def test_tasks_end_as_in_later_versions(finished_run, request_api):
    path, tasks = finished_run("later_fixes")
    ends = {(one["task_id"], one["map_index"]): one["state"] for one in tasks}
    expected = dict.fromkeys((name, -1) for name in ("deferring", "logs", "plain", "collect"))
    expected = dict.fromkeys([*expected, ("mapped", 0), ("mapped", 1)], "success")
    assert ends == {**expected, ("fails", -1): "failed"}
    assert "a message with its own level" in log(request_api, path, "logs")
    exception = f"{path}/taskInstances/fails/xcomEntries/exception"
    assert request_api("GET", exception).json()["value"] == "this is broken"
    old = f"{path}/taskInstances/mapped/xcomEntries/old?map_index=1"
    assert request_api("GET", old).status_code == 404


def test_log_and_page_of_task_show_no_secrets(finished_run, request_api):
    extra = json.dumps({"token": TOKEN})
    body = {"connection_id": "later", "conn_type": "http", "password": PASSWORD, "extra": extra}
    assert request_api("POST", "/connections", json=body).ok
    try:
        path, tasks = finished_run("later_secrets")
    finally:
        request_api("DELETE", "/connections/later")
    assert {one["state"] for one in tasks} == {"success"}
    # A list of task instances does not contain rendered fields.
    rendered = request_api("GET", f"{path}/taskInstances/render").json()["rendered_fields"]
    assert rendered["bash_command"] == f"true *** {path.rpartition('/')[2]}"
    text = log(request_api, path, "show") + json.dumps(rendered)
    assert [one for one in (PASSWORD, TOKEN, "declared-by-task") if one in text] == []


def test_sensor_waits_for_all_tasks_of_a_group(finished_run):
    _, tasks = finished_run("later_groups")
    assert {one["task_id"]: one["state"] for one in tasks} == dict.fromkeys(
        ("wait", "after", "first", "group.work"), "success"
    )


def test_deferred_trigger_ends_with_a_run_that_it_reset(finished_run):
    for _ in range(2):
        _, [one] = finished_run("later_outer")
        assert one["state"] == "success"


def test_run_gets_all_events_until_its_creation(request_api):
    [asset] = request_api("GET", "/assets?name_pattern=later_events").json()["assets"]
    path = "/dags/later_consumer/dagRuns"

    def add_event():
        assert request_api("POST", "/assets/events", json={"asset_id": asset["id"]}).ok

    def runs():
        return request_api("GET", f"{path}?order_by=run_after").json()["dag_runs"]

    add_event()
    until(runs, RUN_SECONDS, pause=1)
    for _ in range(3):
        add_event()
    until(lambda: [run["state"] for run in runs()] == ["success"] * 2, RUN_SECONDS, pause=1)
    events = request_api("GET", f"{path}/{runs()[1]['dag_run_id']}/upstreamAssetEvents").json()
    assert events["total_entries"] == 3
