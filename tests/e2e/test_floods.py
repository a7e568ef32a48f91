"""Exhaust resources: a full disk, a task beyond its memory limit, broken or many DAG files."""

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import (
    FLOWS_SECONDS,
    begin,
    outcome,
    restart_count,
    seconds_until_work_flows,
    start,
    stop,
    survives,
    trigger,
)

pytestmark = pytest.mark.usefixtures("journal")
DAG_COUNT = 200
DISK_SIZE = "1g"
DAG_TEMPLATE = """
from datetime import datetime
from airflow.sdk import dag, task

@dag(dag_id="{name}", schedule=None, start_date=datetime(2025, 1, 1), catchup=False)
def empty():
    @task
    def work(): ...
    work()

empty()
"""


@contextlib.contextmanager
def small_disk(stack):
    """Move PostgreSQL's volume to a small disk of its own, which a test can fill safely."""
    project = stack.setting("COMPOSE_PROJECT_NAME")
    inspect = ("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", f"{project}_postgres")
    volume = Path(stack.run_ok(*inspect).strip())
    copy = volume.with_name("copy")
    stop(stack, "postgres")
    subprocess.run(["cp", "-a", volume, copy], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", volume], check=True)
    try:
        subprocess.run(["cp", "-a", f"{copy}/.", volume], check=True)
        start(stack, "postgres")
        seconds_until_work_flows(stack)
        yield volume
    finally:
        stop(stack, "postgres")
        shutil.rmtree(copy)
        subprocess.run(["cp", "-a", volume, copy], check=True)
        subprocess.run(["umount", volume], check=True)
        shutil.rmtree(volume)
        copy.rename(volume)
        start(stack, "postgres")
        seconds_until_work_flows(stack)


def switch_wal(stack):
    """Make PostgreSQL create new WAL files. It stops if it cannot."""
    psql = 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -c "$0"'
    message = "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()"
    for _ in range(12):
        stack.run("docker", "exec", stack.container("postgres"), "sh", "-c", psql, message)


def test_full_database_disk_recovers_when_freed(stack, figures):
    """PostgreSQL stops, and freeing space is the only thing that is done."""
    with small_disk(stack) as disk:
        run_id, filler = begin(stack, 90), disk / "filler"
        subprocess.run(["fallocate", "-l", str(shutil.disk_usage(disk).free), filler], check=False)
        assert shutil.disk_usage(disk).free < 2**20
        switch_wal(stack)
        postgres = stack.container("postgres")
        until(lambda: "PANIC:  could not" in stack.run("docker", "logs", postgres).stderr, 180)
        time.sleep(30)
        filler.unlink()
        survives(stack, figures, run_id, {1, 2, 3})


def test_task_beyond_memory_limit_is_killed_alone(stack, figures):
    stack.add_dags("greedy")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/greedy"), 120)
    before, other_run = restart_count(stack, "airflow-worker"), begin(stack, 30)
    started = time.monotonic()
    run_id = trigger(stack, "greedy")
    assert outcome(stack, run_id, "greedy") == ("failed", 1)
    figures["ended after"] = time.monotonic() - started
    survives(stack, figures, other_run, {1})
    assert restart_count(stack, "airflow-worker") == before
    [log] = (stack.folder / "logs").rglob(f"dag_id=greedy/run_id={run_id}/**/*.log")
    assert "SIGKILL" in log.read_text()


@pytest.fixture
def dags(stack):
    """Return a new folder in dags/, which is removed at the end."""
    folder = stack.folder / "dags/flood"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("body", ["while True: pass", "import nothing_that_is_there"])
def test_broken_dag_file_does_not_delay_others(stack, figures, dags, body):
    (dags / "bad.py").write_text(f"from airflow.sdk import dag\n{body}\n")
    name = f"valid_{abs(hash(body))}"
    (dags / "valid.py").write_text(DAG_TEMPLATE.format(name=name))
    started = time.monotonic()
    figures["work flows after"] = seconds_until_work_flows(stack)
    until(lambda: "dag_id" in stack.airflow(f"/api/v2/dags/{name}"), 180)
    figures["valid file parsed after"] = time.monotonic() - started
    until(lambda: "flood/bad.py" in stack.status_page()["dag-files"]["detail"], 180)
    figures["named on the status page after"] = time.monotonic() - started


def test_two_hundred_new_dags_are_parsed(stack, figures, dags):
    run_id = begin(stack)
    for number in range(DAG_COUNT):
        (dags / f"{number}.py").write_text(DAG_TEMPLATE.format(name=f"flood_{number}"))
    started = time.monotonic()
    survives(stack, figures, run_id, {1})

    def parsed():
        return stack.airflow("/api/v2/dags?dag_id_pattern=flood_&limit=1")["total_entries"]

    until(lambda: parsed() == DAG_COUNT, 600)
    figures["all parsed after"] = time.monotonic() - started
    figures["work flows with them after"] = seconds_until_work_flows(stack)
    assert figures["work flows with them after"] < FLOWS_SECONDS


def test_engine_restart_brings_the_stack_back(stack, figures):
    """As at a reboot, the engine stops all containers and starts them again by itself."""
    run_id = begin(stack)
    subprocess.run(["pkill", "-TERM", "-x", "dockerd"], check=True)
    until(lambda: subprocess.run(["pgrep", "-x", "dockerd"], check=False).returncode, 180)
    started = time.monotonic()
    stack.run_ok("install/docker_engine.sh")
    figures["work flows after"] = seconds_until_work_flows(stack)
    # A task that finishes after the API server has stopped cannot report it, and runs again.
    assert outcome(stack, run_id)[0] == "success"
    figures["run ended after"] = time.monotonic() - started
