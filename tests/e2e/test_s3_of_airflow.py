"""Test Airflow with buckets: task logs are uploaded and shown, and flights are read from one."""

import json
import shutil
import time
from contextlib import suppress

import pytest

from tests.e2e.bucket import DATA, LOGS, PREFIX, Server
from tests.e2e.clone import Clone, reachable_copy, until
from tests.e2e.faults import outcome, trigger

# A log must be in the bucket within this time after its task.
UPLOAD_SECONDS = 30
# After a failure, uploads pause for this time.
PAUSE_SECONDS = 30
# A run of a short task, and the page of a log, must take less time than this.
RUN_SECONDS, PAGE_SECONDS = 60, 30
JANUARY = """
import sys
sys.path.insert(0, "{dags}")
from problems.flights.table import sample
flights = sample()
flights[flights.month == 1].to_csv(sys.stdout, index=False)
"""


@pytest.fixture(scope="module")
def stack(engine, tmp_path_factory, server):
    """Start a stack with task logs in a bucket and artifacts in its volume."""
    clone = reachable_copy(tmp_path_factory.mktemp("logs"), engine)
    clone.add_dags("put_off", "deferred")
    clone.exported |= {
        **server.settings(),
        "MLFLOW_ARTIFACTS_DESTINATION": "/mlflow_data",
        "AIRFLOW_LOGS_DESTINATION": f"s3://{LOGS}/{PREFIX}",
    }
    clone.run_ok("inv", "up")
    yield clone
    clone.remove()


def run_dag(stack: Clone, dag_id: str, limit: float = 120) -> str:
    """Run a DAG of one task, which must succeed, and return the run's ID."""
    run_id = trigger(stack, dag_id)
    assert outcome(stack, run_id, dag_id, limit)[0] == "success"
    return run_id


def log_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt=1.log"


def shown(stack: Clone, dag_id: str, run_id: str, task_id: str) -> tuple[list[str], str]:
    """Return the sources and the text of a log on Airflow's page."""
    task = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    first, *lines = stack.airflow(f"{task}/logs/1", timeout=PAGE_SECONDS)["content"]
    return first["sources"], "\n".join(line["event"] for line in lines)


def await_log(server: Server, path: str, seconds: float = UPLOAD_SECONDS) -> str:
    """Wait for a log in the bucket, and return its text."""
    until(lambda: f"{PREFIX}/{path}" in server.files(LOGS), seconds)
    return (server.folder / LOGS / PREFIX / path).read_text()


def test_log_without_worker_and_local_file_is_shown_from_bucket(stack, server, engine):
    run_id = run_dag(stack, "canary")
    path = log_path("canary", run_id, "round_trip")
    await_log(server, path)
    shutil.rmtree(stack.folder / "logs" / "dag_id=canary")
    if engine == "docker":
        stack.run_ok("docker", "rm", "--force", stack.container("airflow-worker"))
    sources, text = shown(stack, "canary", run_id, "round_trip")
    assert sources == [f"s3://{LOGS}/{PREFIX}/{path}"]
    assert "Done. Returned value was" in text
    stack.run_ok("inv", "up")


def test_only_worker_and_api_server_have_the_keys(stack, engine):
    if engine == "standalone":
        pytest.skip("Without containers all services share their environment.")
    services = ("airflow-apiserver", "airflow-triggerer", "airflow-worker",
                "airflow-scheduler", "airflow-dag-processor", "status")  # fmt: skip
    owners = {name for name in services if "AWS_SECRET_ACCESS_KEY" in stack.exec_in(name, "env")}
    assert owners == {"airflow-apiserver", "airflow-worker"}


def test_log_of_rescheduled_task_has_each_line_once(stack, server):
    run_id = run_dag(stack, "put_off")
    text = await_log(server, log_path("put_off", run_id, "work"))
    assert [text.count(f"check number {number}") for number in (1, 2, 3)] == [1, 1, 1]


def test_log_of_trigger_is_uploaded_with_log_of_task(stack, server):
    run_id = run_dag(stack, "deferred")
    path = log_path("deferred", run_id, "work")
    text = await_log(server, path)
    assert [text.count(f"{when} the deferral") for when in ("before", "after")] == [1, 1]
    trigger_logs = [
        name for name in server.files(LOGS) if f"{run_id}/" in name and ".trigger." in name
    ]
    assert len(trigger_logs) == 1
    sources, shown_text = shown(stack, "deferred", run_id, "work")
    assert len(sources) == 2
    assert "after the deferral" in shown_text
    until(lambda: not pending_logs(stack), UPLOAD_SECONDS)


def test_server_down_tasks_succeed_and_logs_are_uploaded_later(stack, server):
    before = stack.start_times()
    server.kill()
    started = time.monotonic()
    run_id = run_dag(stack, "canary")
    assert time.monotonic() - started < RUN_SECONDS
    until(lambda: any(log["why"] for log in pending_logs(stack)), PAGE_SECONDS)
    sources, text = shown(stack, "canary", run_id, "round_trip")
    assert sources[0].startswith(f"not in s3://{LOGS}/{PREFIX} yet: task logs in s3://")
    assert "its server does not answer" in sources[0]
    assert "Done. Returned value was" in text
    findings = json.loads(stack.run("inv", "doctor", "--json").stdout)["findings"]
    [finding] = [each for each in findings if each["name"] == "bucket-unreachable"]
    why = "cannot be used: its server does not answer."
    assert finding["cause"] == f"The task logs in s3://{LOGS}/{PREFIX} {why}"
    server.start()
    time.sleep(PAUSE_SECONDS + 1)
    run_dag(stack, "canary")
    await_log(server, log_path("canary", run_id, "round_trip"))
    until(lambda: not pending_logs(stack), UPLOAD_SECONDS)
    assert stack.start_times() == before


def pending_logs(stack: Clone) -> list[dict]:
    """Return the records of logs that are not in the bucket yet."""
    records = []
    for path in stack.folder.glob("logs/.not-in-the-bucket/*.json"):
        # The file is deleted when its log has been uploaded.
        with suppress(FileNotFoundError):
            records.append(json.loads(path.read_text() or '{"why": ""}'))
    return records


def test_server_frozen_delays_task_and_page_only_shortly(stack, server):
    server.freeze()
    try:
        started = time.monotonic()
        run_id = run_dag(stack, "canary")
        # The worker has given up the upload and can run another task.
        until(lambda: any(log["why"] for log in pending_logs(stack)), RUN_SECONDS)
        assert time.monotonic() - started < RUN_SECONDS
        _, text = shown(stack, "canary", run_id, "round_trip")
        assert "Done. Returned value was" in text
    finally:
        server.thaw()


def test_install_missing_log_bucket_is_refused(stack):
    done = stack.run("inv", "install", AIRFLOW_LOGS_DESTINATION="s3://nowhere/logs")
    assert done.returncode == 1
    assert (
        "task logs in s3://nowhere/logs cannot be used: there is no such bucket.\nCreate it"
        in done.stderr
    )


def test_pipelines_read_flights_from_bucket(stack, server, engine):
    dags = "/opt/airflow/dags" if engine == "docker" else stack.folder / "dags"
    # The key is not a URL, so %20 must not be decoded.
    file = server.folder / DATA / "of%20january.csv"
    file.write_text(stack.run_client(JANUARY.format(dags=dags)))
    stack.exported["DATASET_URI"] = f"s3://{DATA}/{file.name}"
    stack.run_ok("inv", "up")
    assert "2013-01-31" in stack.run_ok("inv", "trigger", "training_pipeline", "--wait")
    file.unlink()
    # rclone caches the listing of its folder, so restart it.
    server.kill()
    server.start()
    done = stack.run("inv", "trigger", "training_pipeline", "--wait")
    assert done.returncode == 1
    assert f"cannot read flights from {stack.exported['DATASET_URI']}" in done.stderr
    assert "Not Found" in done.stderr


def test_table_in_a_bucket_is_adopted_and_trained(stack, server):
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 7) for day in range(1, 29)]
    rows = [f"{day},{number % 7},{number % 7 * 3 + number % 5}" for number, day in enumerate(days)]
    file = server.folder / DATA / "rides.csv"
    file.write_text("\n".join(["day,weather,count", *rows]))
    # rclone caches the listing of its folder, so restart it.
    server.kill()
    server.start()
    uri = f"s3://{DATA}/{file.name}"
    options = ("--file", uri, "--name", "rides", "--target", "count", "--time", "day")
    assert f"DATASET_URI_RIDES={uri}" in stack.run("inv", "adopt", *options).stderr
    with (stack.folder / ".env").open("a") as settings:
        settings.write(f"\nDATASET_URI_RIDES={uri}\n")
    assert "Run: inv up" in stack.run_ok("inv", "adopt", *options)
    stack.run_ok("inv", "up")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/rides_training"), 120)
    assert "champion" in stack.run_ok("inv", "trigger", "rides_training", "--wait")
