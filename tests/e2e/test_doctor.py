"""Failures made for real on either engine: the doctor names them, and the stack is mended again."""

import contextlib
import json
import re
import subprocess

import pytest
import requests

from orchestration.settings.model import SECRETS
from tests.e2e.clone import STANDING, fresh_copy, until
from tests.e2e.faults import stop

MADE_UP = "made-up-for-one-container-alone"
OVERRIDE = f"""\
services:
  airflow-triggerer:
    environment:
      AIRFLOW__API_AUTH__JWT_SECRET: {MADE_UP}
"""


def findings(stack):
    """What the doctor finds, by name; it tells no secret, and its exit code says the same."""
    done = stack.run("inv", "doctor", "--json", timeout=60)
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"]) in ((0, "well"), (1, "findings")), done
    assert bool(told["findings"]) == bool(done.returncode)
    assert not [name for name, value in secrets(stack).items() if value in done.stdout]
    return {one["name"]: one for one in told["findings"]}


def secrets(stack):
    named = re.compile(r"_(PASSWORD|SECRET|KEY|SECRET_KEY|FERNET_KEY)$")
    return {name: value for name, value in stack.settings().items() if named.search(name) and value}


@contextlib.contextmanager
def edited(file, text):
    """A file with another text meanwhile; one that was not there is removed again."""
    before = file.read_text() if file.exists() else None
    file.write_text(text)
    try:
        yield
    finally:
        file.unlink() if before is None else file.write_text(before)


@pytest.fixture(autouse=True)
def well(stack):
    """The doctor is silent before each test and after it."""
    until(lambda: stack.health()["status"] == "healthy", 60)
    assert findings(stack) == {}
    yield
    until(lambda: stack.health()["status"] == "healthy", 60)
    assert findings(stack) == {}


def test_a_healthy_stack_is_one_good_line(stack):
    assert stack.well("inv", "doctor") == "No known problems. All services are healthy.\n"


def test_a_clone_that_is_not_installed_is_told_so_and_stays_so(stack, tmp_path):
    clone = fresh_copy(tmp_path / "clone", stack.engine)
    STANDING.remove(clone)
    found = findings(clone)
    assert found["not-installed"]["fix"] == "inv install"
    assert not (clone.folder / ".env").exists()


def test_a_setting_that_was_edited_and_not_applied_is_named(stack):
    text = (stack.folder / ".env").read_text()
    other = re.sub(r"(?m)^WORKER_CONCURRENCY=.*$", "WORKER_CONCURRENCY=3", text)
    if other == text:
        other = text.replace("WORKER_CONCURRENCY=3", "WORKER_CONCURRENCY=2")
    with edited(stack.folder / ".env", other):
        found = findings(stack)
    assert found.keys() == {"settings-not-applied"}
    assert found["settings-not-applied"]["cause"].endswith(": WORKER_CONCURRENCY.")


@pytest.mark.parametrize("setting", ["AIRFLOW_FERNET_KEY", "AIRFLOW_DB_PASSWORD"])
def test_a_key_that_the_data_was_not_made_with_is_not_to_be_applied(stack, setting):
    text = (stack.folder / ".env").read_text()
    # Made as an install makes it: nothing else is wrong with it.
    other = SECRETS[setting]()
    with edited(stack.folder / ".env", re.sub(rf"(?m)^{setting}=.*$", f"{setting}={other}", text)):
        found = findings(stack)
    assert found.keys() == {"data-key-edited"}
    assert setting in found["data-key-edited"]["cause"]


def test_an_env_that_others_may_read_is_told(stack):
    env = stack.folder / ".env"
    env.chmod(0o644)
    found = findings(stack)
    stack.well("sh", "-c", found["env-readable"]["fix"])
    assert found.keys() == {"env-readable"}
    assert env.stat().st_mode & 0o777 == 0o600


def test_a_stopped_service_is_named_and_not_those_that_need_it(stack):
    stop(stack, "mlflow")
    until(lambda: stack.health()["status"] == "degraded", 40)
    found = findings(stack)
    stack.well("inv", "up", "--no-proof")
    assert {name: one["where"] for name, one in found.items()} == {"service-stopped": "mlflow"}
    assert found["service-stopped"]["fix"] == "inv up"


def test_a_service_that_one_key_was_changed_for_is_named(stack):
    if stack.engine != "docker":
        pytest.skip("all processes share one environment")
    override = stack.folder / "orchestration" / "docker-compose.override.yaml"
    with edited(override, OVERRIDE):
        subprocess.run(
            ["docker", "compose", "up", "-d", "--no-build", "--no-deps", "airflow-triggerer"],
            cwd=override.parent, env=stack.environment(), check=True, capture_output=True,
        )  # fmt: skip
        until(lambda: stack.health()["status"] == "healthy", 60)
        apart = findings(stack)
        assert MADE_UP not in str(apart)
    left = findings(stack)
    stack.well("inv", "up", "--no-proof")
    for found in (apart, left):
        assert found.keys() == {"jwt-secret-differs"}
        assert found["jwt-secret-differs"]["where"] == "airflow-triggerer"
    assert "docker-compose.override.yaml" in apart["jwt-secret-differs"]["fix"]
    assert left["jwt-secret-differs"]["fix"] == "inv up"


def test_a_folder_that_airflow_may_not_write_to_is_told_with_the_command(stack):
    if stack.engine != "docker":
        pytest.skip("its processes are the person's own")
    logs = stack.folder / "logs"
    mode = logs.stat().st_mode
    logs.chmod(0o555)
    try:
        found = findings(stack)
    finally:
        logs.chmod(mode & 0o7777)
    assert found.keys() == {"folder-rights"}
    assert str(logs) in found["folder-rights"]["fix"]


def test_who_mlflow_refuses_is_told(stack):
    headers = {"Host": "stranger.example:5000"}
    answer = requests.get(stack.url("MLFLOW_PORT"), headers=headers, timeout=10)
    assert answer.status_code == 403
    found = findings(stack)
    # What was refused before its last start is over.
    stack.well("inv", "restart", "-s", "mlflow")
    assert found.keys() == {"host-header-refused"}
    assert "stranger.example:5000" in found["host-header-refused"]["cause"]
    assert found["host-header-refused"]["fix"].endswith(stack.url("MLFLOW_PORT"))
