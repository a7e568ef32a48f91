"""Too much of something: a full disk, a greedy task, DAG files that hang or come by hundreds."""

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
    restarts,
    seconds_until_work_flows,
    start,
    stop,
    survives,
    triggered,
)

pytestmark = pytest.mark.usefixtures("journal")
MANY = 200
DISK = "1g"
A_DAG = """
from datetime import datetime
from airflow.sdk import dag, task

@dag(dag_id="{name}", schedule=None, start_date=datetime(2025, 1, 1), catchup=False)
def one():
    @task
    def work(): ...
    work()

one()
"""


@contextlib.contextmanager
def small_disk(stack):
    """The volume of PostgreSQL on a disk of its own, which can be filled without harm to others."""
    project = stack.setting("COMPOSE_PROJECT_NAME")
    shown = ("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", f"{project}_postgres")
    volume = Path(stack.well(*shown).strip())
    beside = volume.with_name("beside")
    stop(stack, "postgres")
    subprocess.run(["cp", "-a", volume, beside], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", volume], check=True)
    try:
        subprocess.run(["cp", "-a", f"{beside}/.", volume], check=True)
        start(stack, "postgres")
        seconds_until_work_flows(stack)
        yield volume
    finally:
        stop(stack, "postgres")
        shutil.rmtree(beside)
        subprocess.run(["cp", "-a", volume, beside], check=True)
        subprocess.run(["umount", volume], check=True)
        shutil.rmtree(volume)
        beside.rename(volume)
        start(stack, "postgres")
        seconds_until_work_flows(stack)


def use_up_the_log(stack):
    """Make PostgreSQL need new files for what it must write down first, or go down."""
    ask = 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U postgres -c "$0"'
    message = "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()"
    for _ in range(12):
        stack.run("docker", "exec", stack.container("postgres"), "sh", "-c", ask, message)


def test_the_disk_of_the_database_is_full_and_freed_again(stack, told):
    """PostgreSQL goes down for it, and nobody does anything but free it."""
    with small_disk(stack) as disk:
        run_id, filler = begin(stack, 90), disk / "filler"
        subprocess.run(["fallocate", "-l", str(shutil.disk_usage(disk).free), filler], check=False)
        assert shutil.disk_usage(disk).free < 2**20
        use_up_the_log(stack)
        postgres = stack.container("postgres")
        until(lambda: "PANIC:  could not" in stack.run("docker", "logs", postgres).stderr, 180)
        time.sleep(30)
        filler.unlink()
        survives(stack, told, run_id, {1, 2, 3})


def test_a_task_past_its_memory_limit_ends_alone(stack, told):
    stack.add_dags("greedy")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/greedy"), 120)
    before, beside = restarts(stack, "airflow-worker"), begin(stack, 30)
    started = time.monotonic()
    run_id = triggered(stack, "greedy")
    assert outcome(stack, run_id, "greedy") == ("failed", 1)
    told["ended after"] = time.monotonic() - started
    survives(stack, told, beside, {1})
    assert restarts(stack, "airflow-worker") == before
    [log] = (stack.folder / "logs").rglob(f"dag_id=greedy/run_id={run_id}/**/*.log")
    assert "SIGKILL" in log.read_text()


@pytest.fixture
def dags(stack):
    """A folder among the DAGs, gone at the end with all that Airflow knows of it."""
    folder = stack.folder / "dags/flood"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("body", ["while True: pass", "import nothing_that_is_there"])
def test_a_file_that_is_no_dag_holds_no_other_up(stack, told, dags, body):
    (dags / "bad.py").write_text(f"from airflow.sdk import dag\n{body}\n")
    name = f"beside_{abs(hash(body))}"
    (dags / "beside.py").write_text(A_DAG.format(name=name))
    started = time.monotonic()
    told["work flows after"] = seconds_until_work_flows(stack)
    until(lambda: "dag_id" in stack.airflow(f"/api/v2/dags/{name}"), 180)
    told["file beside it known after"] = time.monotonic() - started
    until(lambda: "flood/bad.py" in stack.said()["dag-files"]["detail"], 180)
    told["named on the status page after"] = time.monotonic() - started


def test_two_hundred_dags_at_once(stack, told, dags):
    run_id = begin(stack)
    for number in range(MANY):
        (dags / f"{number}.py").write_text(A_DAG.format(name=f"flood_{number}"))
    started = time.monotonic()
    survives(stack, told, run_id, {1})

    def known():
        return stack.airflow("/api/v2/dags?dag_id_pattern=flood_&limit=1")["total_entries"]

    until(lambda: known() == MANY, 600)
    told["all known after"] = time.monotonic() - started
    told["work flows beside them after"] = seconds_until_work_flows(stack)
    assert told["work flows beside them after"] < FLOWS_SECONDS


def test_the_engine_is_started_anew_and_nobody_is_there(stack, told):
    """As at a reboot: it stops all containers of this machine, and starts them again by itself."""
    run_id = begin(stack)
    subprocess.run(["pkill", "-TERM", "-x", "dockerd"], check=True)
    until(lambda: subprocess.run(["pgrep", "-x", "dockerd"], check=False).returncode, 180)
    started = time.monotonic()
    stack.well("install/docker_engine.sh")
    told["work flows after"] = seconds_until_work_flows(stack)
    # A task that ended while the API server was gone already is done again: nobody was told.
    assert outcome(stack, run_id)[0] == "success"
    told["run ended after"] = time.monotonic() - started
