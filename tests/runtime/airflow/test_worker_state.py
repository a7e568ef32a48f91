"""Test what the worker shows its health check, with Celery's real signals."""

import importlib
import os

import pytest
from celery.signals import task_postrun, task_prerun, worker_shutting_down

from tests.runtime.airflow.supervised import runtime


@pytest.fixture
def check(tmp_path, monkeypatch):
    """The worker's check after the start of a worker whose container was stopped before."""
    check = runtime("healthchecks.worker_check")
    monkeypatch.setattr(check, "STOPPING", tmp_path / "worker-stopping")
    # Other processes of this machine may be those of a worker.
    monkeypatch.setattr(check, "PROCESSES", tmp_path)
    check.STOPPING.touch()
    importlib.reload(runtime("airflow.worker_state"))
    return check


def in_child(action):
    """Return whether an action, in a process of its own, returns true."""
    if not (child := os.fork()):
        os._exit(0 if action() else 1)
    return os.waitpid(child, 0)[1] == 0


def test_slot_is_busy_while_it_has_a_task(check, tmp_path):
    def run_task():
        (tmp_path / f"{os.getpid()}").symlink_to(f"/proc/{os.getpid()}")
        numbers = [check.busy_slots()]
        task_prerun.send(sender=None, task_id="a", task=None, args=(), kwargs={})
        numbers.append(check.busy_slots())
        task_postrun.send(sender=None, task_id="a", task=None, args=(), kwargs={})
        return [*numbers, check.busy_slots()] == [0, 1, 0]

    assert in_child(run_task)


def test_file_exists_while_the_worker_is_stopping(check):
    assert not check.STOPPING.exists()
    worker_shutting_down.send(sender="worker", sig="SIGTERM", how="Warm", exitcode=0)
    assert check.STOPPING.exists()
