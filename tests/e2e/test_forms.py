"""Start every DAG from its form in Airflow's page, open MLflow's page, and exchange files.

Chromium is driven by the Python that Nox names in BROWSER_PYTHON.
"""

import json
import os
import stat

import pytest

from tests.e2e.clone import until
from tests.support.process import run
from tests.support.repository import ROOT

DAGS = ("canary", "monitoring_pipeline", "training_pipeline")


def browse(stack, server, port, secret, *names):
    """Run forms.py and return what it prints."""
    if not (python := os.environ.get("BROWSER_PYTHON")):
        pytest.skip("The browser's driver is missing. Run: nox -s forms")
    # As this machine's own name, under which MLflow shows its assistant.
    address = f"http://localhost:{stack.exported[port]}"
    argv = [python, ROOT / "tests/e2e/forms.py", server, address, *names]
    done = run(*argv, input=stack.setting(secret), timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs_before(stack):
    """Return the newest run of each DAG before a form starts one, after a training."""
    if stack.alias("champion") is None:
        stack.run_ok("inv", "trigger", "training_pipeline", "--wait", timeout=1200)
    return {name: newest_run(stack, name) for name in DAGS}


def newest_run(stack, dag_id):
    """Return the run of a DAG that was created last, or an empty dict."""
    runs = stack.airflow(f"/api/v2/dags/{dag_id}/dagRuns?limit=1&order_by=-id")["dag_runs"]
    return runs[0] if runs else {}


def await_newest_run(stack, dag_id):
    """Wait until the newest run of a DAG has finished, and return it."""
    until(lambda: newest_run(stack, dag_id)["state"] in ("success", "failed"), 1200, pause=3)
    return newest_run(stack, dag_id)


def test_every_dag_starts_from_its_form_as_it_opens(stack, runs_before):
    secret = "_AIRFLOW_WWW_USER_PASSWORD"  # pragma: allowlist secret
    usable = browse(stack, "airflow", "AIRFLOW_PORT", secret, *DAGS)
    assert {name for name, forms in usable.items() if "trigger" in forms} == set(DAGS)
    assert "backfill" in usable["monitoring_pipeline"]
    for name in DAGS:
        run = await_newest_run(stack, name)
        assert run["dag_run_id"] != runs_before[name].get("dag_run_id"), name
        assert run["state"] == "success", name


def test_mlflow_shows_no_assistant(stack, runs_before):
    secret = "MLFLOW_ADMIN_PASSWORD"  # pragma: allowlist secret
    page = browse(stack, "mlflow", "MLFLOW_PORT", secret, "flight-delay")
    assert page == {"assistant": 0}


def test_tasks_clear_runs_the_tasks_again(stack, runs_before):
    run = await_newest_run(stack, "canary")
    path = f"/api/v2/dags/canary/dagRuns/{run['dag_run_id']}/taskInstances/round_trip"
    tries = stack.airflow(path)["try_number"]
    words = ["--yes", "--start-date", run["logical_date"], "canary"]
    stack.run_ok("inv", "airflow", "--", "tasks", "clear", *words)
    until(lambda: stack.airflow(path)["try_number"] > tries, 120, pause=2)
    assert await_newest_run(stack, "canary")["state"] == "success"


# How to add an entry, and what `get` prints of it.
ENTRIES = {
    "connections": (["add", "exchanged", "--conn-uri", "http://user@example.org"], "example.org"),
    "variables": (["set", "exchanged", "a value"], "a value"),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_export_and_import_use_files_of_the_user(stack, kind):
    def airflow(*words):
        return stack.run_ok("inv", "airflow", "--", kind, *words)

    add, shown = ENTRIES[kind]
    file = stack.folder / f"{kind}.json"
    airflow(*add)
    airflow("export", file.name)
    assert "exchanged" in json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    airflow("delete", "exchanged")
    airflow("import", file.name)
    assert shown in airflow("get", "exchanged")
    airflow("delete", "exchanged")
    file.unlink()
