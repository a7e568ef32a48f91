"""Cause real problems on either engine, check what `inv doctor` reports, and fix them again."""

import contextlib
import json
import re
import subprocess

import pytest
import requests

from orchestration.settings.model import SECRETS
from tests.e2e.clone import CLONES, fresh_copy, until
from tests.e2e.faults import stop

OTHER_VALUE = "value-of-one-container-alone"
OVERRIDE = f"""\
services:
  airflow-triggerer:
    environment:
      AIRFLOW__API_AUTH__JWT_SECRET: {OTHER_VALUE}
"""


def findings(stack):
    """Return the doctor's findings by name. Check its exit code, and that it prints no secret."""
    done = stack.run("inv", "doctor", "--json", timeout=60)
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"]) in ((0, "well"), (1, "findings")), done
    assert bool(report["findings"]) == bool(done.returncode)
    assert not [name for name, value in secrets(stack).items() if value in done.stdout]
    return {finding["name"]: finding for finding in report["findings"]}


def secrets(stack):
    secret = re.compile(r"_(PASSWORD|SECRET|KEY|SECRET_KEY|FERNET_KEY)$")
    return {
        name: value for name, value in stack.settings().items() if secret.search(name) and value
    }


@contextlib.contextmanager
def edited(file, text):
    """Write another text to a file, and restore or remove the file at the end."""
    before = file.read_text() if file.exists() else None
    file.write_text(text)
    try:
        yield
    finally:
        file.unlink() if before is None else file.write_text(before)


@pytest.fixture(autouse=True)
def no_findings_around_test(stack):
    """Require a healthy stack without findings before and after each test."""
    until(lambda: stack.health()["status"] == "healthy", 60)
    assert findings(stack) == {}
    yield
    until(lambda: stack.health()["status"] == "healthy", 60)
    assert findings(stack) == {}


def test_healthy_stack_has_no_findings(stack):
    assert stack.run_ok("inv", "doctor") == "No known problems. All services are healthy.\n"


def test_clone_that_is_not_installed_is_reported(stack, tmp_path):
    clone = fresh_copy(tmp_path / "clone", stack.engine)
    CLONES.remove(clone)
    problems = findings(clone)
    assert problems["not-installed"]["fix"] == "inv install"
    assert not (clone.folder / ".env").exists()


def test_edited_setting_that_is_not_applied_is_reported(stack):
    text = (stack.folder / ".env").read_text()
    other = re.sub(r"(?m)^WORKER_CONCURRENCY=.*$", "WORKER_CONCURRENCY=3", text)
    if other == text:
        other = text.replace("WORKER_CONCURRENCY=3", "WORKER_CONCURRENCY=2")
    with edited(stack.folder / ".env", other):
        problems = findings(stack)
    assert problems.keys() == {"settings-not-applied"}
    assert problems["settings-not-applied"]["cause"].endswith(": WORKER_CONCURRENCY.")


@pytest.mark.parametrize("setting", ["AIRFLOW_FERNET_KEY", "AIRFLOW_DB_PASSWORD"])
def test_edited_key_that_does_not_fit_the_data_is_reported(stack, setting):
    text = (stack.folder / ".env").read_text()
    # Generated as by `inv install`, so that nothing else is wrong with it.
    other = SECRETS[setting]()
    with edited(stack.folder / ".env", re.sub(rf"(?m)^{setting}=.*$", f"{setting}={other}", text)):
        problems = findings(stack)
    assert problems.keys() == {"data-key-edited"}
    assert setting in problems["data-key-edited"]["cause"]


def test_env_that_others_can_read_is_reported(stack):
    env = stack.folder / ".env"
    env.chmod(0o644)
    problems = findings(stack)
    stack.run_ok("sh", "-c", problems["env-readable"]["fix"])
    assert problems.keys() == {"env-readable"}
    assert env.stat().st_mode & 0o777 == 0o600


def test_stopped_service_is_reported_without_its_dependents(stack):
    stop(stack, "mlflow")
    until(lambda: stack.health()["status"] == "degraded", 40)
    problems = findings(stack)
    stack.run_ok("inv", "up", "--no-proof")
    services = {name: problem["where"] for name, problem in problems.items()}
    assert services == {"service-stopped": "mlflow"}
    assert problems["service-stopped"]["fix"] == "inv up"


def test_service_with_other_signing_key_is_reported(stack):
    if stack.engine != "docker":
        pytest.skip("all processes share one environment")
    override = stack.folder / "orchestration" / "docker-compose.override.yaml"
    with edited(override, OVERRIDE):
        subprocess.run(
            ["docker", "compose", "up", "-d", "--no-build", "--no-deps", "airflow-triggerer"],
            cwd=override.parent, env=stack.environment(), check=True, capture_output=True,
        )  # fmt: skip
        until(lambda: stack.health()["status"] == "healthy", 60)
        with_override = findings(stack)
        assert OTHER_VALUE not in str(with_override)
    without_override = findings(stack)
    stack.run_ok("inv", "up", "--no-proof")
    for problems in (with_override, without_override):
        assert problems.keys() == {"jwt-secret-differs"}
        assert problems["jwt-secret-differs"]["where"] == "airflow-triggerer"
    assert "docker-compose.override.yaml" in with_override["jwt-secret-differs"]["fix"]
    assert without_override["jwt-secret-differs"]["fix"] == "inv up"


def test_folder_without_write_permission_is_reported(stack):
    if stack.engine != "docker":
        pytest.skip("its processes run as the user")
    logs = stack.folder / "logs"
    mode = logs.stat().st_mode
    logs.chmod(0o555)
    try:
        problems = findings(stack)
    finally:
        logs.chmod(mode & 0o7777)
    assert problems.keys() == {"folder-rights"}
    assert str(logs) in problems["folder-rights"]["fix"]


def test_host_name_refused_by_mlflow_is_reported(stack):
    headers = {"Host": "stranger.example:5000"}
    answer = requests.get(stack.url("MLFLOW_PORT"), headers=headers, timeout=10)
    assert answer.status_code == 403
    problems = findings(stack)
    # The doctor only scans the log since the last start.
    stack.run_ok("inv", "restart", "-s", "mlflow")
    assert problems.keys() == {"host-header-refused"}
    assert "stranger.example:5000" in problems["host-header-refused"]["cause"]
    assert problems["host-header-refused"]["fix"].endswith(stack.url("MLFLOW_PORT"))


def test_stopped_database_is_the_first_finding(stack):
    stop(stack, "postgres")
    try:
        report = stack.run("inv", "doctor", "--json", timeout=60).stdout
        first = json.loads(report)["findings"][0]
        assert (first["name"], first["where"]) == ("service-stopped", "postgres")
        health = stack.run("inv", "health").stdout.strip()
        # Without containers a stopped service is one that was not started.
        command = "inv logs -s postgres" if stack.engine == "docker" else "inv up"
        assert health.endswith(f"Run: {command}")
    finally:
        stack.run_ok("inv", "up")
