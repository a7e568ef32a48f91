"""What tasks share, in the real supervisor and runner, imported as a worker imports them."""

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from uuid6 import uuid7

MOMENT = "2026-01-01T00:00:00Z"
CONFIG = Path(__file__).parents[2] / "orchestration/config"


@pytest.fixture(scope="module")
def execution() -> Any:
    """Airflow's modules by name, told of by ours."""
    sys.path.insert(0, str(CONFIG))
    importlib.import_module("lean_tasks")
    sys.path.remove(str(CONFIG))
    return lambda name: importlib.import_module(f"airflow.sdk.execution_time.{name}")


def test_clients_share_what_their_certificates_were_read_into(execution: Any) -> None:
    client = execution("supervisor").Client
    made = [client(base_url="http://x", token="") for _ in range(2)]
    contexts = {id(one._transport._pool._ssl_context) for one in made}
    assert len(contexts) == 1


def test_a_client_may_have_another_transport(execution: Any) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
    client = execution("supervisor").Client(base_url="http://x", token="", transport=transport)
    assert client.get("/").status_code == 200


def asked_while_one_ran(supervisor: Any, seconds: float) -> list[str]:
    """The ends of the addresses that the API server is asked for while a task runs that long."""
    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.api.datamodels._generated import TaskInstance

    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rpartition("/")[2])
        if asked[-1] != "run":
            return httpx.Response(200, json={})
        run = {"dag_id": "d", "run_id": "r", "run_type": "manual", "consumed_asset_events": []}
        run |= dict.fromkeys(("start_date", "run_after"), MOMENT)
        return httpx.Response(200, json={"dag_run": run, "max_tries": 0, "should_retry": False})

    with supervisor.Client(
        base_url="http://x", token="", transport=httpx.MockTransport(answer)
    ) as client:
        supervisor.ActivitySubprocess.start(
            dag_rel_path="x.py",
            what=TaskInstance(id=uuid7(), task_id="t", dag_id="d", run_id="r", try_number=1),
            bundle_info=BundleInfo(name="b", version=None),
            client=client,
            target=lambda: time.sleep(seconds),
        ).wait()
    return asked


def test_a_short_task_sends_no_heartbeat(execution: Any) -> None:
    assert asked_while_one_ran(execution("supervisor"), 0.2) == ["run"]


def test_a_longer_one_does(execution: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = execution("supervisor")
    monkeypatch.setattr(supervisor, "MIN_HEARTBEAT_INTERVAL", 0.2)
    asked = asked_while_one_ran(supervisor, 1.0)
    assert asked[0] == "run"
    assert set(asked[1:]) == {"heartbeat"}


def test_what_tasks_are_told_is_read_by_one_decoder(execution: Any) -> None:
    runner = execution("task_runner")
    kind = runner.CommsDecoder[runner.ToTask, runner.ToSupervisor]
    first, second = (kind(input=lines) for lines in (iter(()), iter(())))
    assert first.decoder is second.decoder
    assert first.lock is not second.lock
    told = first.decoder.validate_json('{"type": "VariableResult", "key": "k", "value": "v"}')
    assert (told.key, told.value) == ("k", "v")
