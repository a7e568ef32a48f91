"""Settings on a real stack: Airflow's own variables, bad values, and another clone's pages.

These tests share the stack and change its settings; the last one puts them back.
"""

import json

import pytest
import requests

from orchestration.settings import airflow_variables
from tests.e2e.clone import free_ports, until

PASSWORD = "made-up-for-the-warehouse"  # pragma: allowlist secret
CONNECTION = json.dumps({"conn_type": "http", "host": "db.example", "password": PASSWORD})
MINE = {
    "AIRFLOW__CORE__MAX_MAP_LENGTH": "2047",
    "AIRFLOW_CONN_WAREHOUSE": f"'{CONNECTION}'",
    "AIRFLOW_VAR_REGION": "north",
}
DAG = """
from airflow.hooks.base import BaseHook
from airflow.sdk import Variable, dag, task


@dag(schedule=None, is_paused_upon_creation=False)
def reads_settings():
    @task
    def read():
        from airflow.configuration import conf

        found = BaseHook.get_connection("warehouse")
        is_ours = "PASSWORD" in found.get_uri()
        return [found.host, is_ours, Variable.get("region"), conf.getint("core", "max_map_length")]

    read()


reads_settings()
""".replace("PASSWORD", PASSWORD)


@pytest.fixture(scope="module")
def extended(stack):
    """Add Airflow's variables to .env, apply them, and remove them at the end."""
    path = stack.folder / ".env"
    before = path.read_text()
    path.write_text(before + "".join(f"{name}={value}\n" for name, value in MINE.items()))
    stack.run_ok("inv", "up")
    yield stack
    (stack.folder / "dags/reads_settings.py").unlink(missing_ok=True)
    path.write_text(before)
    stack.run_ok("inv", "up")
    assert not (stack.folder / "orchestration" / airflow_variables.FILE).exists()


def variables_of(stack, service):
    """Return the names and values of the environment of a service's main process."""
    if stack.engine == "docker":
        [container] = json.loads(stack.run_ok("docker", "inspect", stack.container(service)))
        return dict(pair.split("=", 1) for pair in container["Config"]["Env"])
    state = stack.run_ok("supervisorctl", "-s", stack.supervisor(), "pid", service)
    with open(f"/proc/{state.strip()}/environ", encoding="utf-8") as file:
        return dict(pair.split("=", 1) for pair in file.read().split("\0") if "=" in pair)


def test_tasks_see_option_connection_and_variable(extended):
    (extended.folder / "dags/reads_settings.py").write_text(DAG)
    until(lambda: "dag_id" in extended.airflow("/api/v2/dags/reads_settings"), 120)
    extended.run_ok("inv", "trigger", "reads_settings", "--wait")
    [run] = extended.await_runs("reads_settings", 60)
    path = f"/api/v2/dags/reads_settings/dagRuns/{run['dag_run_id']}/taskInstances/read"
    value = extended.airflow(f"{path}/xcomEntries/return_value")["value"]
    assert (json.loads(value) if isinstance(value, str) else value) == [
        "db.example", True, "north", 2047,
    ]  # fmt: skip


def test_command_line_sees_option_and_connection(extended):
    shown = extended.run_ok("inv", "airflow", "--", "config", "get-value", "core", "max_map_length")
    assert shown.split()[-1] == "2047"
    extended.run_ok("inv", "airflow", "--", "connections", "get", "warehouse")


def test_only_airflow_gets_connections(extended):
    services = {row["name"] for row in extended.health()["services"] if row["state"] == "running"}
    for service in services:
        # PostgreSQL overwrites its environment on standalone with the title of its process.
        expected = service.startswith("airflow-")
        assert (PASSWORD in str(variables_of(extended, service))) == expected, service


def test_no_command_prints_a_connection(extended):
    shown = ""
    for argv in (("health", "--json"), ("doctor",), ("logs", "--tail", "500"), ("up",)):
        done = extended.run("inv", *argv)
        shown += done.stdout + done.stderr
    assert PASSWORD not in shown
    overlay = extended.folder / "orchestration" / airflow_variables.FILE
    assert not overlay.exists() or PASSWORD not in overlay.read_text()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("WORKER_CONCURRENCY=lots", "WORKER_CONCURRENCY=lots is not a number of tasks."),
        ("AIRFLOW_PROT=9", "Did you mean AIRFLOW_PORT?"),
        ("AIRFLOW__API__WORKERS=4", "the stack sets it to 1"),
        ("MLFLOW_PORT =9", "a space before '='"),
    ],
)
def test_bad_line_changes_nothing(stack, line, reason):
    path, started = stack.folder / ".env", stack.start_times()
    before = path.read_text()
    name = line.partition("=")[0]
    lines = [one for one in before.splitlines() if not one.startswith(f"{name}=")]
    path.write_text("\n".join([*lines, line, ""]))
    try:
        refused = stack.run("inv", "up")
    finally:
        path.write_text(before)
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert stack.start_times() == started


def test_ports_of_the_first_start_are_kept(stack):
    # The stack was started with these ports in the shell only.
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        assert stack.setting(name) == stack.exported[name]


def test_another_clone_does_not_show_this_stack_as_its_own(stack, second_clone):
    page = requests.get(stack.url("STATUS_PORT") + "/status.json", timeout=10).json()
    assert page["project"] == stack.setting("COMPOSE_PROJECT_NAME")
    ports = {name: stack.exported[name] for name in free_ports()}
    report = json.loads(second_clone.run("inv", "health", "--json", **ports).stdout)
    assert (report["status"], report["work"]) == ("down", [])
    assert {check["healthy"] for check in report["checks"]} == {False}
    assert f"another stack ({page['project']})" in str(report["checks"])
    diagnosis = second_clone.run("inv", "doctor", **ports).stdout
    assert "champion" not in diagnosis
    assert "port-taken" in diagnosis
    refused = second_clone.run("inv", "up", **ports)
    assert refused.returncode == 1
    assert "already in use by" in refused.stderr


def test_running_stack_does_not_move_to_the_ports_of_another_clone(stack, second_clone):
    started = stack.start_times()
    second_clone.run_ok("inv", "up", "--no-proof")
    try:
        taken = {name: second_clone.exported[name] for name in free_ports()}
        refused = stack.run("inv", "up", **taken)
        assert refused.returncode == 1
        assert "already in use by" in refused.stderr
        assert stack.start_times() == started
        diagnosis = stack.run("inv", "doctor", **taken).stdout
        assert "port-taken" in diagnosis
        assert "settings-not-applied" not in diagnosis
    finally:
        second_clone.run_ok("inv", "down")


def test_localhost_is_the_loopback_address(stack):
    started = stack.start_times()
    stack.run_ok("inv", "up", BIND_ADDRESS="localhost")
    assert stack.start_times() == started
    assert stack.health()["status"] != "down"
