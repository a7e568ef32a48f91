"""Test that orphans are found and stopped, with real processes that only sleep."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from orchestration.engines.standalone import orphans

IGNORES_TERM = ("bash", "-c", 'trap "" TERM; echo ready; exec sleep 60')
CLEANS_UP = ("bash", "-c", 'trap "echo cleaned up; exit" TERM; echo ready; read -r _')
PARENT = ("bash", "-c", "sleep 60 & echo $!; wait")


@pytest.fixture
def address(tmp_path):
    """Return the address of a supervisord that no other test uses."""
    return f"unix://{tmp_path}/{uuid.uuid4()}/supervisor.sock"


@pytest.fixture
def start():
    """Start processes as a supervisord at that address would, and kill them after the test."""
    started = []

    def start_process(address, name="mlflow", argv=("sleep", "60")):
        environment = {"PATH": os.environ["PATH"]}
        if address:
            environment |= {"SUPERVISOR_SERVER_URL": address, "SUPERVISOR_PROCESS_NAME": name}
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        # The kernel shows the environment of a new program with a short delay.
        while process.poll() is None and not Path(f"/proc/{process.pid}/environ").read_bytes():
            time.sleep(0.001)
        return process

    yield start_process
    for process in started:
        for child in (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ()
        ):
            child.kill()
        process.kill()
        process.communicate()


def has_exited(process):
    return process.poll() is not None


def orphan_names(address):
    return {process.pid: name for process, name in orphans.find(address).items()}


def test_find_returns_processes_with_the_address_and_their_service(address, start):
    mlflow, status = start(address, "mlflow"), start(address, "status")
    assert orphan_names(address) == {mlflow.pid: "mlflow", status.pid: "status"}


def test_find_ignores_other_clones_and_unrelated_processes(address, start):
    start(f"{address}2")
    start("")
    assert orphan_names(address) == {}


def test_find_assigns_a_child_process_to_its_service(address, start):
    parent = start(address, "airflow-scheduler", PARENT)
    child = int(parent.stdout.readline())
    assert orphan_names(address) == {parent.pid: "airflow-scheduler", child: "airflow-scheduler"}


def test_find_skips_a_process_whose_environment_is_unreadable(address, start, monkeypatch):
    start(address)

    def deny(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", deny)
    assert orphan_names(address) == {}


def test_stop_lets_processes_clean_up(address, start):
    first, second = start(address, "postgres", CLEANS_UP), start(address, "mlflow", CLEANS_UP)
    for process in (first, second):
        assert process.stdout.readline() == "ready\n"
    orphans.stop(address, grace_seconds=10)
    assert has_exited(first)
    assert has_exited(second)
    assert [process.stdout.read() for process in (first, second)] == ["cleaned up\n"] * 2


def test_stop_kills_a_process_that_ignores_term(address, start):
    stubborn = start(address, "mlflow", IGNORES_TERM)
    assert stubborn.stdout.readline() == "ready\n"
    orphans.stop(address, grace_seconds=0.2)
    assert has_exited(stubborn)


def test_stop_kills_only_after_the_grace_period(address, start):
    stubborn = start(address, "mlflow", IGNORES_TERM)
    assert stubborn.stdout.readline() == "ready\n"
    start_time = time.monotonic()
    orphans.stop(address, grace_seconds=0.3)
    assert time.monotonic() - start_time >= 0.3


def test_stop_leaves_other_processes_alone(address, start):
    mine, other, unrelated = start(address), start(f"{address}2"), start("")
    orphans.stop(address, grace_seconds=5)
    assert has_exited(mine)
    assert other.poll() is None
    assert unrelated.poll() is None


def test_stop_without_orphans_does_not_wait(address):
    start_time = time.monotonic()
    orphans.stop(address, grace_seconds=30)
    assert time.monotonic() - start_time < 10


def test_stop_ignores_a_process_that_exited_meanwhile(address, start, monkeypatch):
    process = start(address)
    listed = psutil.Process(process.pid)
    process.kill()
    process.wait()
    monkeypatch.setattr(orphans, "find", lambda supervisor: {listed: "mlflow"})
    orphans.stop(address, grace_seconds=0.1)
    assert has_exited(process)


def test_process_tree_is_a_process_and_its_children(start):
    parent = start("", argv=PARENT)
    child = int(parent.stdout.readline())
    assert [process.pid for process in orphans.process_tree(parent.pid)] == [parent.pid, child]


def test_process_tree_includes_grandchildren(start):
    middle = "sleep 60 & echo $$ $!; wait"
    parent = start("", argv=("bash", "-c", 'bash -c "$1" & wait', "parent", middle))
    descendants = [int(pid) for pid in parent.stdout.readline().split()]
    pids = [process.pid for process in orphans.process_tree(parent.pid)]
    assert pids == [parent.pid, *descendants]


def test_a_process_that_has_exited_has_no_tree_and_no_memory(start):
    process = start("")
    process.kill()
    process.wait()
    assert list(orphans.process_tree(process.pid)) == []
    assert orphans.memory(process.pid) == 0


def test_environment_of_a_process_is_empty_after_it_exits(start):
    process = start("unix:///x", "mlflow")
    assert orphans.environment(process.pid)["SUPERVISOR_PROCESS_NAME"] == "mlflow"
    process.kill()
    process.wait()
    assert orphans.environment(process.pid) == {}


def test_memory_includes_child_processes(start):
    parent = start("", argv=PARENT)
    child = int(parent.stdout.readline())
    child_bytes = orphans.memory(child)
    assert 0 < child_bytes < orphans.memory(parent.pid) < 100 * 2**20


def test_memory_counts_shared_pages_once(start):
    # The child shares all pages with its parent, as neither writes to them after the fork.
    program = """
import os
ballast = bytearray(b"x") * 30_000_000
if os.fork():
    print("ready", flush=True)
input()
"""
    parent = start("", argv=(sys.executable, "-c", program))
    assert parent.stdout.readline() == "ready\n"
    resident = [process.memory_info().rss for process in orphans.process_tree(parent.pid)]
    assert len(resident) == 2
    assert 30_000_000 < orphans.memory(parent.pid) < 0.75 * sum(resident)


def test_memory_that_is_unreadable_counts_as_zero(start, monkeypatch):
    process = start("")

    def deny(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", deny)
    assert orphans.memory(process.pid) == 0


def test_process_tree_leaves_out_zombies():
    zombie = subprocess.Popen(["true"])
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert list(orphans.process_tree(zombie.pid)) == []
    zombie.wait()
