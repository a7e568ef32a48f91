"""Run Airflow's own example DAGs, as installed with Airflow."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.clone import Clone, until

PACKAGE = Path(os.environ.get("AIRFLOW_EXAMPLES", "")) / "airflow"
FOLDERS = (PACKAGE / "example_dags", PACKAGE / "providers/standard/example_dags")
# They need Kubernetes, an object store, a website or Airflow 3.1.
OUTSIDE = {"example_kubernetes_executor", "example_local_kubernetes_executor"}
OUTSIDE |= {"tutorial_objectstorage", "example_dag_decorator", "example_hitl_operator"}
# It waits an hour: deferrable, a TimeSensor ignores its timeout (docs/known-issues.md).
OUTSIDE |= {"example_sensors"}
# The examples name their plugins by these modules, so copies of the files would not be found.
PLUGINS = "".join(
    f"from airflow.example_dags.plugins.{module} import *\n"
    for module in ("decreasing_priority_weight_strategy", "listener_plugin", "workday")
)
# Examples whose purpose is another state than success.
EXPECTED = {
    # It waits for a task group that its parent does not have.
    "example_external_task_marker_child": "failed",
    # A parameter is missing unless `airflow tasks test` provides it.
    "example_passing_params_via_test_command": "failed",
}
CONF = {"example_params_ui_tutorial": {"required_field": "long enough"}}
RUN_SECONDS = 900
FINISHED = {"success", "failed"}


@pytest.fixture(scope="module")
def examples(stack: Clone) -> Iterator[list[str]]:
    """Add the examples and their plugins; return the IDs of their DAGs."""
    target, plugin = stack.folder / "dags/examples", stack.folder / "plugins/examples.py"
    left_out = shutil.ignore_patterns("plugins", "__pycache__", *(f"{name}.py" for name in OUTSIDE))
    for folder in FOLDERS:
        shutil.copytree(folder, target, ignore=left_out, dirs_exist_ok=True)
    plugin.write_text(PLUGINS)
    # The API server and the scheduler read plugins at their start only.
    stack.run_ok("inv", "restart")
    sources = {file.name for file in target.glob("*.py")} - {"__init__.py"}

    def parsed() -> dict[str, str]:
        dags = stack.airflow("/api/v2/dags?limit=500")["dags"]
        files = {dag["dag_id"]: Path(dag["fileloc"]) for dag in dags}
        return {
            dag_id: file.name for dag_id, file in files.items() if file.parent.name == "examples"
        }

    until(lambda: set(parsed().values()) == sources, 240, pause=3)
    yield sorted(parsed())
    shutil.rmtree(target)
    plugin.unlink()
    stack.run_ok("inv", "restart")
    until(lambda: not parsed(), 120, pause=3)


def test_example_dags_run_to_their_expected_state(stack, examples):
    session, api = stack.session(), stack.url("AIRFLOW_PORT") + "/api/v2/dags/"
    runs = {}
    for dag_id in examples:
        session.patch(api + dag_id, json={"is_paused": False}).raise_for_status()
        body = {"logical_date": datetime.now(UTC).isoformat(), "conf": CONF.get(dag_id, {})}
        response = session.post(f"{api}{dag_id}/dagRuns", json=body)
        assert response.ok, f"{dag_id}: {response.text}"
        runs[dag_id] = response.json()["dag_run_id"]
    states: dict[str, str] = {}

    def all_finished() -> bool:
        for dag_id in examples:
            if states.get(dag_id) not in FINISHED:
                answer = session.get(f"{api}{dag_id}/dagRuns/{runs[dag_id]}")
                states[dag_id] = answer.json()["state"]
        return set(states.values()) <= FINISHED

    try:
        until(all_finished, RUN_SECONDS, pause=5)
    finally:
        for dag_id in examples:
            session.patch(api + dag_id, json={"is_paused": True})
    assert states == {dag_id: EXPECTED.get(dag_id, "success") for dag_id in examples}
    assert len(examples) > 60
