"""Test that tasks get from the API server what they gave it, or fail with the reason in their log.

The same code runs on both engines, so one of them is enough.
"""

import json

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import trigger

API = "/api/v2"
FINISHED = ("success", "failed")
DAGS = ("mapped_groups", "keys_and_numbers", "newest", "skips", "refused", "connection")
RUN_SECONDS = 90
# The scheduler creates a run each minute.
SCHEDULED_SECONDS = 150

pytestmark = pytest.mark.usefixtures("dags")


@pytest.fixture(scope="module")
def dags(stack):
    stack.add_dags("semantics/api_requests")
    for dag_id in DAGS:
        until(lambda dag_id=dag_id: "dag_id" in stack.airflow(f"{API}/dags/{dag_id}"), 120)


@pytest.fixture(scope="module")
def request_api(stack):
    """Return a function that sends a request to Airflow's API and returns the response."""
    session, address = stack.session(), stack.url("AIRFLOW_PORT") + API

    def request(method, path, **options):
        return session.request(method, address + path, timeout=30, **options)

    return request


def finished_run(stack, dag_id):
    """Run a DAG; return the path of its run, the run's state and the states of each task."""
    path = f"{API}/dags/{dag_id}/dagRuns/{trigger(stack, dag_id)}"
    until(lambda: stack.airflow(path)["state"] in FINISHED, RUN_SECONDS, pause=1)
    states = {}
    for one in stack.airflow(f"{path}/taskInstances")["task_instances"]:
        states.setdefault(one["task_id"], set()).add(one["state"])
    return path, stack.airflow(path)["state"], states


def xcom(stack, path, task_id, key="return_value"):
    return stack.airflow(f"{path}/taskInstances/{task_id}/xcomEntries/{key}")["value"]


def test_task_after_mapped_group_collects_its_results(stack):
    path, state, states = finished_run(stack, "mapped_groups")
    assert state == "success", states
    assert xcom(stack, path, "best") == [10, 10]


def test_keys_and_numbers_are_kept(stack, request_api):
    path, state, states = finished_run(stack, "keys_and_numbers")
    assert state == "success", states
    assert xcom(stack, path, "fit", "val/auc") == 0.9
    variable = "/variables/team/region"
    assert request_api("GET", variable).json()["value"] == "eu-west"
    body = {"key": "team/region", "value": "us", "description": "changed"}
    assert request_api("PATCH", variable, json=body).json()["value"] == "us"
    assert request_api("DELETE", variable).status_code == 204
    assert request_api("GET", variable).status_code == 404


def test_pool_with_slash_is_deleted(request_api):
    assert request_api("POST", "/pools", json={"name": "team/gpu", "slots": 1}).ok
    assert request_api("DELETE", "/pools/team/gpu").status_code == 204


def test_latest_only_operator_works_in_frequent_dag(stack, request_api):
    path = f"{API}/dags/newest/dagRuns?run_type=scheduled&limit=100"

    def states():
        return [run["state"] for run in stack.airflow(path)["dag_runs"]]

    try:
        until(lambda: set(states()) & set(FINISHED), SCHEDULED_SECONDS, pause=2)
        assert set(states()) <= {"success", "running", "queued"}
    finally:
        request_api("PATCH", "/dags/newest", json={"is_paused": True})


def test_short_circuit_skips_plain_and_mapped_tasks(stack):
    _, state, states = finished_run(stack, "skips")
    expected = {"stop": {"success"}, "plain": {"skipped"}, "mapped": {"skipped"}}
    assert (state, states) == ("success", expected)


def test_refused_result_fails_its_task_with_reason_in_log(stack):
    path, state, states = finished_run(stack, "refused")
    assert (state, states["numbers"]) == ("failed", {"failed"})
    log = json.dumps(stack.airflow(f"{path}/taskInstances/numbers/logs/1"))
    assert "The API server did not accept SetXCom" in log
    assert "pushed value is too large to map" in log


def test_saved_connection_keeps_its_secrets(stack, request_api):
    extra = {"token": "made-up-token", "region": "eu"}  # pragma: allowlist secret
    body = {"connection_id": "edited", "conn_type": "http", "extra": json.dumps(extra)}
    body["password"] = "made up"  # pragma: allowlist secret
    assert request_api("POST", "/connections", json=body).ok
    shown = request_api("GET", "/connections/edited").json()
    assert "made" not in json.dumps(shown)
    # The web interface sends back what it shows.
    saved = request_api("PATCH", "/connections/edited", json={**shown, "host": "changed"})
    assert saved.json()["host"] == "changed"
    path, state, states = finished_run(stack, "connection")
    assert state == "success", states
    assert xcom(stack, path, "read") == ["made up", extra]
    assert request_api("DELETE", "/connections/edited").status_code == 204
