"""Test the requests of tasks to the API server."""

import json
import math
import signal
from types import SimpleNamespace

import httpx
import pytest
from airflow.sdk import task

from tests.runtime.airflow.runner import Api, Log, in_runner, run
from tests.runtime.airflow.supervised import patched_supervisor

REFUSED = {"detail": {"reason": "invalid_state", "previous_state": "running"}}
REFUSAL = f"Server returned error {REFUSED}"


@pytest.fixture(scope="module")
def supervisor():
    return patched_supervisor()


def running(function, **options):
    """Return the target of a process that runs a function as a task."""
    return in_runner(lambda: task(task_id="t", **options)(function)())


def metrics():
    import numpy

    return {
        "nan": math.nan,
        "-inf": [-math.inf],
        "numpy nan": numpy.float64("nan"),
        "best": numpy.float32(0.5) > 0.25,
        "float32": numpy.float32(0.5),
        "count": numpy.int64(3),
        "plain": (1, 0.5, True),
    }


def test_returned_numbers_reach_next_task(supervisor):
    from airflow.sdk.execution_time.xcom import XCom

    run(supervisor, running(metrics), api := Api())
    assert api.states == ["success"]
    # PostgreSQL's JSON has no such numbers.
    json.dumps(api.xcoms["return_value"], allow_nan=False)
    result = XCom.deserialize_value(SimpleNamespace(value=api.xcoms["return_value"]))
    assert math.isnan(result.pop("nan"))
    assert math.isnan(result.pop("numpy nan"))
    plain = {"-inf": [-math.inf], "best": True, "float32": 0.5, "count": 3, "plain": (1, 0.5, True)}
    assert result == plain
    assert type(result["best"]) is bool


def test_stored_xcoms_are_answered(supervisor):
    def push():
        from airflow.sdk import get_current_context

        for number in range(3):
            get_current_context()["ti"].xcom_push(str(number), number)
        return {"a": 1, "b": 2}

    run(supervisor, running(push, multiple_outputs=True), api := Api())
    assert api.states == ["success"]
    assert api.xcoms == {"0": 0, "1": 1, "2": 2, "a": 1, "b": 2, "return_value": {"a": 1, "b": 2}}


@pytest.mark.parametrize(("key", "multiple"), [("return_value", False), ("a", True)])
def test_task_fails_if_its_xcom_is_refused(supervisor, key, multiple):
    api = Api({key: httpx.Response(400, json={"detail": "too long"})})
    log = run(supervisor, running(lambda: {"a": 1}, multiple_outputs=multiple), api)
    assert api.states == ["failed"]
    assert "The API server did not accept SetXCom: too long" in log.lines


def test_refused_template_fields_do_not_fail_task(supervisor):
    api = Api({"rtif": httpx.Response(400, json={"detail": "too long"})})
    log = run(supervisor, running(lambda: "result"), api)
    assert (api.states, api.xcoms) == (["success"], {"return_value": "result"})
    assert "The API server did not accept SetRenderedFields: too long" in log.lines


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.Response(409, json=REFUSED), REFUSAL),
        (httpx.Response(403, json={"detail": "Invalid auth token"}), "Invalid auth token"),
        (httpx.ConnectError("no route to host"), "no route to host"),
    ],
)
def test_reason_of_refused_start_is_in_log(supervisor, monkeypatch, error, reason):
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    log = Log()
    with pytest.raises(httpx.HTTPError):
        run(supervisor, signal.pause, Api({"run": error}), log)
    assert log.lines == [f"The API server did not let this task start: {reason}"]


def test_reason_of_refused_end_is_in_log_once(supervisor):
    api = Api({"state": httpx.Response(409, json=REFUSED)})
    log = run(supervisor, running(lambda: None), api)
    refusals = [line for line in log.lines if "did not" in line]
    assert refusals == [f"The API server did not accept SucceedTask: {REFUSAL}"]
