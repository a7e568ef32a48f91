"""Test health checks that must not kill, starts that wait, and services that restart repeatedly.

Run `nox -s semantics -- -k health` (`standalone` first for that engine).
"""

import os
import time

import psutil
import pytest

from orchestration.engines.docker import daemon
from tests.e2e.clone import until
from tests.e2e.faults import crash, pid_of, psql, restart_count

# Failures of a health check do not count before this.
STARTING_SECONDS = 120
# PostgreSQL asks for five files during a recovery, and this is how long it waits for each.
RESTORE_SECONDS = 4
KILL_NOW = ("sh", "/opt/stack/stack_runtime/healthchecks/heal.sh", "kill", "1", "false")
KILLS = ("sh", "-c", "cat /run/heal/$(uname -n) | wc -l")


@pytest.fixture
def on_docker(engine):
    """Skip without Docker, where the watchdog kills services instead of health checks."""
    if engine != "docker":
        pytest.skip("the standalone engine has no health checks of containers")


def check_of(stack, service):
    """Return the health check of a container, without the script that kills the service."""
    container = daemon.client().containers.get(stack.container(service))
    return container.attrs["Config"]["Healthcheck"]["Test"][5:]


def check_code(stack, service):
    """Run the health check of a container, and return its exit code."""
    argv = ("docker", "exec", stack.container(service), *check_of(stack, service))
    return stack.run(*argv).returncode


def row(stack, service):
    """Return a service's row of `inv health --json`, or an empty dict."""
    return {row["name"]: row for row in stack.health()["services"]}.get(service, {})


def request_recovery(stack):
    """Make the next start of PostgreSQL a recovery from an archive that answers slowly."""
    if stack.engine == "docker":
        stack.exec_in("postgres", "sh", "-c", 'touch "$PGDATA/recovery.signal"')
        return
    file = stack.state_folder() / "postgres/recovery.signal"
    file.touch()
    owner = file.parent.stat()
    os.chown(file, owner.st_uid, owner.st_gid)


def test_record_of_kills_survives_the_restart_of_a_container(stack, on_docker):
    process = psutil.Process(pid_of(stack, "status"))
    age = time.time() - process.create_time()
    time.sleep(max(0, STARTING_SECONDS + 2 - age))
    restarts, kills = restart_count(stack, "status"), int(stack.exec_in("status", *KILLS))
    stack.run("docker", "exec", stack.container("status"), *KILL_NOW)
    until(lambda: restart_count(stack, "status") == restarts + 1, 30)
    until(lambda: row(stack, "status").get("state") == "running", 30)
    assert int(stack.exec_in("status", *KILLS)) == kills + 1
    until(lambda: stack.health()["status"] == "healthy", 90)


def test_scheduler_in_a_long_round_passes_its_check(stack, on_docker):
    [scheduler] = psutil.Process(pid_of(stack, "airflow-scheduler")).children()
    scheduler.suspend()
    try:
        # Airflow's default is 30 s.
        time.sleep(45)
        assert check_code(stack, "airflow-scheduler") == 0
    finally:
        scheduler.resume()
    until(lambda: stack.health()["status"] == "healthy", 60)


def test_service_that_restarts_repeatedly_is_unhealthy(stack, figures):
    service = "airflow-triggerer"
    for _ in range(3):
        crash_and_await_start(stack, service)
    # It sends heartbeats again, as between two restarts of a loop.
    until(lambda: is_up_again(stack, service), 40)
    done = stack.run("inv", "health")
    assert done.returncode == 1
    assert f"{service}: restarted" in done.stdout
    assert f"restarting-again ({service})" in stack.run("inv", "doctor").stdout
    began = time.monotonic()
    until(lambda: stack.health()["status"] == "healthy", 90)
    figures["healthy again after"] = time.monotonic() - began


def crash_and_await_start(stack, service):
    before = stack.start_times()[service]
    crash(stack, service)
    until(lambda: stack.start_times().get(service, before) != before, 60)


def is_up_again(stack, service):
    """Return whether the status page has seen the service since its last start."""
    entry, since = stack.status_page()[service], stack.start_times().get(service)
    return entry["state"] == "up" and bool(since) and entry["last_seen"] > since


def test_up_waits_for_a_recovering_database(stack, engine, figures):
    psql(stack, "ALTER SYSTEM SET hot_standby = off")
    psql(stack, f"ALTER SYSTEM SET restore_command = 'sleep {RESTORE_SECONDS}; false'")
    request_recovery(stack)
    stack.run_ok("inv", "down")
    began = time.monotonic()
    starting = stack.start("inv", "up", "--no-proof")
    # The row that `inv up` shows too.
    until(lambda: row(stack, "postgres").get("detail", "").startswith("the database system is"), 60)
    if engine == "docker":
        # Unhealthy, but not because a restart would help.
        assert check_code(stack, "postgres") == 3
    output, errors = starting.communicate(timeout=300)
    assert starting.returncode == 0, output[-4000:] + errors[-4000:]
    figures["up after"] = time.monotonic() - began
    assert figures["up after"] > 4 * RESTORE_SECONDS
    assert stack.health()["status"] == "healthy"
    psql(stack, "ALTER SYSTEM RESET ALL")
