"""Airflow's own use of a bucket: logs of tasks go there and come from there, data is read there."""

import json
import shutil
import time
from contextlib import suppress

import pytest

from tests.e2e.bucket import DATA, LOGS, PREFIX, Server
from tests.e2e.clone import Clone, reachable_copy, until
from tests.e2e.faults import outcome, triggered

# A log follows its task's end; a bucket that failed is left alone for half a minute.
THERE_SECONDS, RESTS_SECONDS = 30, 30
# From a task that waits for nothing; and from the question until a log is shown.
ENDS_SECONDS, SHOWN_SECONDS = 60, 30
JANUARY = """
import sys
sys.path.insert(0, "{dags}")
from ml import sample
flights = sample.flights()
flights[flights.month == 1].to_csv(sys.stdout, index=False)
"""


@pytest.fixture(scope="module")
def stack(engine, tmp_path_factory, server):
    """Its artifacts stay in its volume."""
    clone = reachable_copy(tmp_path_factory.mktemp("logs"), engine)
    clone.add_dags("put_off", "deferred")
    clone.exported |= {
        **server.settings(),
        "MLFLOW_ARTIFACTS_DESTINATION": "/mlflow_data",
        "AIRFLOW_LOGS_DESTINATION": f"s3://{LOGS}/{PREFIX}",
    }
    clone.well("inv", "up")
    yield clone
    clone.remove()


def ended(stack: Clone, dag_id: str, limit: float = 120) -> str:
    """Run a DAG of one task, which succeeds; the run's id."""
    run_id = triggered(stack, dag_id)
    assert outcome(stack, run_id, dag_id, limit)[0] == "success"
    return run_id


def path_of(dag_id: str, run_id: str, task_id: str) -> str:
    return f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt=1.log"


def shown(stack: Clone, dag_id: str, run_id: str, task_id: str) -> tuple[list[str], str]:
    """What Airflow's page shows: where a log was found, and its lines."""
    task = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    first, *lines = stack.airflow(f"{task}/logs/1", timeout=SHOWN_SECONDS)["content"]
    return first["sources"], "\n".join(line["event"] for line in lines)


def is_there(server: Server, path: str, seconds: float = THERE_SECONDS) -> str:
    """Wait for a log in the bucket; its text."""
    until(lambda: f"{PREFIX}/{path}" in server.files(LOGS), seconds)
    return (server.folder / LOGS / PREFIX / path).read_text()


def test_a_log_is_shown_from_the_bucket_when_its_worker_and_its_file_are_gone(
    stack, server, engine
):
    run_id = ended(stack, "canary")
    path = path_of("canary", run_id, "round_trip")
    is_there(server, path)
    shutil.rmtree(stack.folder / "logs" / "dag_id=canary")
    if engine == "docker":
        stack.well("docker", "rm", "--force", stack.container("airflow-worker"))
    sources, text = shown(stack, "canary", run_id, "round_trip")
    assert sources == [f"s3://{LOGS}/{PREFIX}/{path}"]
    assert "Done. Returned value was" in text
    stack.well("inv", "up")


def test_only_who_writes_or_shows_logs_holds_the_keys(stack, engine):
    if engine == "standalone":
        pytest.skip("without containers all services share their environment")
    services = ("airflow-apiserver", "airflow-triggerer", "airflow-worker",
                "airflow-scheduler", "airflow-dag-processor", "status")  # fmt: skip
    held = {name for name in services if "AWS_SECRET_ACCESS_KEY" in stack.inside(name, "env")}
    assert held == {"airflow-apiserver", "airflow-worker"}


def test_a_log_of_a_task_that_was_put_off_is_there_once(stack, server):
    run_id = ended(stack, "put_off")
    text = is_there(server, path_of("put_off", run_id, "work"))
    assert [text.count(f"look number {number}") for number in (1, 2, 3)] == [1, 1, 1]


def test_a_log_of_a_trigger_goes_with_its_task_s(stack, server):
    run_id = ended(stack, "deferred")
    path = path_of("deferred", run_id, "work")
    text = is_there(server, path)
    assert [text.count(f"this was {when}") for when in ("before", "after")] == [1, 1]
    of_trigger = [
        name for name in server.files(LOGS) if f"{run_id}/" in name and ".trigger." in name
    ]
    assert len(of_trigger) == 1
    sources, shown_text = shown(stack, "deferred", run_id, "work")
    assert len(sources) == 2
    assert "this was after" in shown_text
    until(lambda: not waiting(stack), THERE_SECONDS)


def test_while_the_server_is_away_tasks_end_well_and_their_logs_are_shown_and_follow(stack, server):
    before = stack.since()
    server.end()
    began = time.monotonic()
    run_id = ended(stack, "canary")
    assert time.monotonic() - began < ENDS_SECONDS
    until(lambda: any(known["why"] for known in waiting(stack)), SHOWN_SECONDS)
    sources, text = shown(stack, "canary", run_id, "round_trip")
    assert sources[0].startswith(f"not in s3://{LOGS}/{PREFIX} yet: task logs in s3://")
    assert "its server does not answer" in sources[0]
    assert "Done. Returned value was" in text
    told = json.loads(stack.run("inv", "doctor", "--json").stdout)["findings"]
    [finding] = [one for one in told if one["name"] == "bucket-unreachable"]
    why = "cannot be used: its server does not answer."
    assert finding["cause"] == f"The task logs in s3://{LOGS}/{PREFIX} {why}"
    server.start()
    time.sleep(RESTS_SECONDS + 1)
    ended(stack, "canary")
    is_there(server, path_of("canary", run_id, "round_trip"))
    until(lambda: not waiting(stack), THERE_SECONDS)
    assert stack.since() == before


def waiting(stack: Clone) -> list[dict]:
    """Logs that are still to follow."""
    found = []
    for path in stack.folder.glob("logs/.not-in-the-bucket/*.json"):
        # One may be there now.
        with suppress(FileNotFoundError):
            found.append(json.loads(path.read_text() or '{"why": ""}'))
    return found


def test_a_server_that_hangs_holds_up_no_task_and_no_page_for_long(stack, server):
    server.freeze()
    try:
        began = time.monotonic()
        run_id = ended(stack, "canary")
        # By then the worker's place is free again.
        until(lambda: any(known["why"] for known in waiting(stack)), ENDS_SECONDS)
        assert time.monotonic() - began < ENDS_SECONDS
        _, text = shown(stack, "canary", run_id, "round_trip")
        assert "Done. Returned value was" in text
    finally:
        server.thaw()


def test_a_bucket_for_logs_that_is_not_there_is_refused_at_the_install(stack):
    done = stack.run("inv", "install", AIRFLOW_LOGS_DESTINATION="s3://nowhere/logs")
    assert done.returncode == 1
    assert (
        "task logs in s3://nowhere/logs cannot be used: there is no such bucket.\nCreate it"
        in done.stderr
    )


def test_the_pipelines_read_flights_out_of_a_bucket(stack, server, engine):
    dags = "/opt/airflow/dags" if engine == "docker" else stack.folder / "dags"
    # A name in a bucket is no URL.
    file = server.folder / DATA / "of%20january.csv"
    file.write_text(stack.client(JANUARY.format(dags=dags)))
    stack.exported["DATASET_URI"] = f"s3://{DATA}/{file.name}"
    stack.well("inv", "up")
    said = stack.well("inv", "trigger", "training_pipeline", "--wait")
    assert "2013-01-31" in said
    file.unlink()
    # It would go on telling for a while what was there.
    server.end()
    server.start()
    done = stack.run("inv", "trigger", "training_pipeline", "--wait")
    assert done.returncode == 1
    assert f"cannot read flights from {stack.exported['DATASET_URI']}" in done.stderr
    assert "Not Found" in done.stderr
