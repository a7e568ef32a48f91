"""What a killed supervisord leaves behind, with real processes that only sleep."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from orchestration.engines.standalone import orphans

DEAF = ("bash", "-c", 'trap "" TERM; echo ready; exec sleep 60')
ORDERLY = ("bash", "-c", 'trap "echo left in good order; exit" TERM; echo ready; read -r _')
PARENT = ("bash", "-c", "sleep 60 & echo $!; wait")


@pytest.fixture
def address(tmp_path):
    """Where a supervisord of this test alone would answer."""
    return f"unix://{tmp_path}/{uuid.uuid4()}/supervisor.sock"


@pytest.fixture
def start():
    """Start a process as a supervisord at that address would have; ended after the test."""
    started = []

    def go(address, name="mlflow", argv=("sleep", "60")):
        environment = {"PATH": os.environ["PATH"]}
        if address:
            environment |= {"SUPERVISOR_SERVER_URL": address, "SUPERVISOR_PROCESS_NAME": name}
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        # The kernel tells that a program is loaded a moment before it shows what with.
        while process.poll() is None and not Path(f"/proc/{process.pid}/environ").read_bytes():
            time.sleep(0.001)
        return process

    yield go
    for process in started:
        for below in (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ()
        ):
            below.kill()
        process.kill()
        process.communicate()


def gone(process):
    """It ended, whoever took its exit code."""
    return process.poll() is not None


def found(address):
    return {process.pid: name for process, name in orphans.left_by(address).items()}


def test_they_are_found_by_their_address_with_the_name_of_their_service(address, start):
    mlflow, status = start(address, "mlflow"), start(address, "status")
    assert found(address) == {mlflow.pid: "mlflow", status.pid: "status"}


def test_those_of_another_clone_and_strangers_are_not(address, start):
    start(f"{address}2")
    start("")
    assert found(address) == {}


def test_what_a_service_started_itself_belongs_to_it(address, start):
    parent = start(address, "airflow-scheduler", PARENT)
    child = int(parent.stdout.readline())
    assert found(address) == {parent.pid: "airflow-scheduler", child: "airflow-scheduler"}


def test_one_that_may_not_be_looked_into_is_passed_over(address, start, monkeypatch):
    start(address)

    def refused(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", refused)
    assert found(address) == {}


def test_they_are_asked_to_end_and_do_so_in_good_order(address, start):
    first, second = start(address, "postgres", ORDERLY), start(address, "mlflow", ORDERLY)
    for process in (first, second):
        assert process.stdout.readline() == "ready\n"
    orphans.end(address, grace_seconds=10)
    assert gone(first)
    assert gone(second)
    assert [process.stdout.read() for process in (first, second)] == ["left in good order\n"] * 2


def test_one_that_does_not_listen_is_ended_by_force(address, start):
    deaf = start(address, "mlflow", DEAF)
    assert deaf.stdout.readline() == "ready\n"
    orphans.end(address, grace_seconds=0.2)
    assert gone(deaf)


def test_force_is_used_after_the_grace_not_before(address, start):
    deaf = start(address, "mlflow", DEAF)
    assert deaf.stdout.readline() == "ready\n"
    began = time.monotonic()
    orphans.end(address, grace_seconds=0.3)
    assert time.monotonic() - began >= 0.3


def test_others_live_on(address, start):
    mine, other, stranger = start(address), start(f"{address}2"), start("")
    orphans.end(address, grace_seconds=5)
    assert gone(mine)
    assert other.poll() is None
    assert stranger.poll() is None


def test_with_nothing_left_there_is_nothing_to_wait_for(address):
    began = time.monotonic()
    orphans.end(address, grace_seconds=30)
    assert time.monotonic() - began < 10


def test_one_that_ended_meanwhile_is_no_error(address, start, monkeypatch):
    process = start(address)
    known = psutil.Process(process.pid)
    process.kill()
    process.wait()
    monkeypatch.setattr(orphans, "left_by", lambda supervisor: {known: "mlflow"})
    orphans.end(address, grace_seconds=0.1)
    assert gone(process)


def test_a_family_is_the_process_and_all_below_it(start):
    parent = start("", argv=PARENT)
    child = int(parent.stdout.readline())
    assert [process.pid for process in orphans.family(parent.pid)] == [parent.pid, child]


def test_a_family_reaches_down_to_the_last(start):
    middle = "sleep 60 & echo $$ $!; wait"
    parent = start("", argv=("bash", "-c", 'bash -c "$1" & wait', "parent", middle))
    below = [int(pid) for pid in parent.stdout.readline().split()]
    assert [process.pid for process in orphans.family(parent.pid)] == [parent.pid, *below]


def test_of_one_that_is_gone_there_is_no_family_and_no_memory(start):
    process = start("")
    process.kill()
    process.wait()
    assert list(orphans.family(process.pid)) == []
    assert orphans.memory(process.pid) == 0


def test_what_a_process_was_started_with_is_told_as_long_as_it_lives(start):
    process = start("unix:///x", "mlflow")
    assert orphans.environment(process.pid)["SUPERVISOR_PROCESS_NAME"] == "mlflow"
    process.kill()
    process.wait()
    assert orphans.environment(process.pid) == {}


def test_memory_is_that_of_the_whole_family(start):
    parent = start("", argv=PARENT)
    child = int(parent.stdout.readline())
    below = orphans.memory(child)
    assert 0 < below < orphans.memory(parent.pid) < 100 * 2**20


def test_pages_that_a_family_shares_count_once(start):
    # Forked, and not a byte written since.
    program = """
import os
ballast = bytearray(b"x") * 30_000_000
if os.fork():
    print("ready", flush=True)
input()
"""
    parent = start("", argv=(sys.executable, "-c", program))
    assert parent.stdout.readline() == "ready\n"
    resident = [process.memory_info().rss for process in orphans.family(parent.pid)]
    assert len(resident) == 2
    assert 30_000_000 < orphans.memory(parent.pid) < 0.75 * sum(resident)


def test_one_whose_memory_may_not_be_read_counts_nothing(start, monkeypatch):
    process = start("")

    def refused(asked):
        raise psutil.AccessDenied(asked.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", refused)
    assert orphans.memory(process.pid) == 0


def test_one_that_ended_but_was_not_collected_is_not_alive():
    ended = subprocess.Popen(["true"])
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert list(orphans.family(ended.pid)) == []
    ended.wait()
