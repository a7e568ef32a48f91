"""Test which services the watchdog restarts."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest


@pytest.fixture
def watchdog(script):
    """The event listener without supervisord."""
    return script("healthchecks.watchdog", supervisor={"childutils": None})


def kills(watch, times, failed=("redis",), since=0.0):
    """Return the services that are killed at each of these times."""
    return [list(watch.judge(set(failed), {"redis": since, "mlflow": since}, t)) for t in times]


def test_watch_misses_in_a_row_kill_service(watchdog):
    watch = watchdog.Watch()
    assert kills(watch, [100, 120]) == [[], []]
    assert kills(watch, [140], failed=()) == [[]]
    assert kills(watch, [160, 180, 200]) == [[], [], ["redis"]]


def test_watch_starting_service_is_not_killed(watchdog):
    watch = watchdog.Watch()
    assert kills(watch, [100, 120, 140, 160], since=100) == [[], [], [], []]
    assert kills(watch, [161, 181, 201], since=100) == [[], [], ["redis"]]


def test_watch_repeated_failures_stop_restarts(watchdog):
    watch = watchdog.Watch()
    within_the_hour = [name for names in kills(watch, range(100, 3000, 20)) for name in names]
    assert within_the_hour == ["redis"] * watchdog.KILLS_PER_HOUR
    assert ["redis"] in kills(watch, range(7000, 7200, 20))


# A process that works or sleeps, with a task that runs, one that has exited, or none.
SCHEDULER = """
import os, subprocess, sys, time
if "task" in sys.argv:
    child = subprocess.Popen(["sleep", "60" if "running" in sys.argv else "0"])
if "exited" in sys.argv:
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
print(flush=True)
while "works" in sys.argv:
    pass
time.sleep(60)
"""


@pytest.fixture
def scheduler():
    """Return a function that starts a process like a scheduler with these properties."""
    processes = []

    def start(*properties):
        command = [sys.executable, "-c", SCHEDULER, *properties]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0)
        processes.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def cpu_seconds(process):
    return sum(psutil.Process(process.pid).cpu_times()[:2])


@pytest.mark.parametrize(
    ("properties", "checks_until_kill"),
    [
        ("", 3), ("works", 15), ("running task", 15), ("works running task", None),
        ("exited task", 3),
    ],
)  # fmt: skip
def test_scheduler_with_late_heartbeat_gets_time(
    watchdog, scheduler, properties, checks_until_kill
):
    watch, process = watchdog.Watch(), scheduler(*properties.split())
    # Until it sleeps, unless it works.
    time.sleep(0.1)
    watch.excuse(set(), process.pid)
    kills = []
    for check in range(1, 21):
        while "works" in properties and cpu_seconds(process) == watch.cpu_seconds:
            time.sleep(0.005)
        failed = {"airflow-scheduler"}
        patient = watch.excuse(failed, process.pid)
        if list(watch.judge(failed, {"airflow-scheduler": 0.0}, 1000 + check, patient)):
            kills.append(check)
    assert kills[:1] == [checks_until_kill] * bool(checks_until_kill)


def test_other_service_that_works_is_killed(watchdog, scheduler):
    watch, process = watchdog.Watch(), scheduler("works", "running", "task")
    failed = {"mlflow"}
    patient = watch.excuse(failed, process.pid)
    assert [list(watch.judge(failed, {"mlflow": 0.0}, t, patient)) for t in (100, 120, 140)] == [
        [], [], ["mlflow"],
    ]  # fmt: skip


@pytest.fixture
def failed_services(watchdog, web, monkeypatch):
    """Return the services that the watchdog finds failed, with an exit code of `pg_isready`."""

    def find(postgres=0, url=web.url):
        monkeypatch.setenv("STATUS_URL", url)
        monkeypatch.setenv("STACK_ID", "0f9e")
        monkeypatch.setattr(watchdog, "postgres_code", lambda: postgres)
        return watchdog.failed_services()

    return find


@pytest.mark.parametrize("code", [200, 503])
def test_service_reported_down_counts_as_failed(watchdog, failed_services, web, code):
    states = {"mlflow": "down", "redis": "unknown", "postgres": "down", "airflow-worker": "up"}
    services = [{"name": name, "state": state} for name, state in states.items()]
    web.answers["GET /status.json"] = (code, {"stack": "0f9e", "services": services})
    assert failed_services() == {"mlflow"}
    # Without PostgreSQL, the others may be down because of that.
    assert failed_services(postgres=2) == {"postgres"}
    assert failed_services(postgres=watchdog.REJECTING) == set()


@pytest.mark.parametrize("owner", [{"stack": "another"}, {}])
def test_page_of_another_stack_counts_only_as_a_failed_page(failed_services, web, owner):
    services = [{"name": "mlflow", "state": "down"}]
    web.answers["GET /status.json"] = (200, {**owner, "services": services})
    assert failed_services() == {"status"}


@pytest.mark.parametrize("answer", [(200, b"<html>"), (500, b"Internal Server Error")])
def test_status_page_without_valid_answer_counts_as_failed(failed_services, web, dead_port, answer):
    assert failed_services(url=f"http://127.0.0.1:{dead_port}") == {"status"}
    web.answers["GET /status.json"] = answer
    assert failed_services() == {"status"}


def test_watchdog_uses_no_proxy(failed_services, web, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    # urllib reads the environment once per process, so make it read it again.
    monkeypatch.setattr(urllib.request, "_opener", None)
    web.answers["GET /status.json"] = (200, {"stack": "0f9e", "services": []})
    assert failed_services() == set()
