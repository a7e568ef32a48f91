"""Age the data of a stack, and check that `inv clean` removes old data but none that is in use."""

import json
import os
import re
import time
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import trigger

DAYS = 60
OLD_RUN, NEWEST_RUN = "manual__a_kept_run_id", "manual__the_newest"
# The service that reads each database, and the variable with its address.
ADDRESSES = {
    "airflow": ("airflow-apiserver", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"),
    "mlflow": ("mlflow", "MLFLOW_BACKEND_STORE_URI"),
}
RUN_SQL = """
import json, os, psycopg2
connection = psycopg2.connect(os.environ["{variable}"].replace("+psycopg2", ""))
connection.autocommit = True
cursor = connection.cursor()
cursor.execute({statement!r})
print(json.dumps(cursor.fetchall() if cursor.description else []))
"""
# Two runs of a removed DAG. The newest run of a DAG is never removed.
ADD_REMOVED_DAG = f"""
INSERT INTO dag_run (dag_id, run_id, state, run_type, queued_at, start_date, end_date, run_after,
  span_status, clear_number)
SELECT 'removed', run_id, 'success', 'manual', ago, ago, ago, ago, 'ended', 0
FROM unnest(array['{OLD_RUN}', '{NEWEST_RUN}']) AS run_id, (SELECT now() - interval '{DAYS} days'
  AS ago) AS moment
"""
AGE_RUNS = f"""
UPDATE dag_run SET queued_at = queued_at - interval '{DAYS} days',
  start_date = start_date - interval '{DAYS} days', end_date = end_date - interval '{DAYS} days'
WHERE dag_id = 'journal'
"""
AGE_DELETED_RUNS = f"""
UPDATE runs SET deleted_time = deleted_time - 86400000::bigint * {DAYS}
WHERE lifecycle_stage = 'deleted'
"""
# Register a model, and delete the run that created it.
REGISTER = """
from mlflow import MlflowClient
client = MlflowClient()
run = client.create_run(client.get_experiment_by_name("stack-canary").experiment_id)
client.log_text(run.info.run_id, "weights", "model/weights.txt")
client.create_registered_model("clean-smoke")
version = client.create_model_version(
    "clean-smoke", f"{run.info.artifact_uri}/model", run.info.run_id
)
client.set_registered_model_alias("clean-smoke", "champion", version.version)
client.delete_run(run.info.run_id)
print(run.info.run_id)
"""
READ_BACK = """
import tempfile
from mlflow import MlflowClient
client = MlflowClient()
version = client.get_model_version_by_alias("clean-smoke", "champion")
client.restore_run(version.run_id)
path = client.download_artifacts(version.run_id, "model/weights.txt", tempfile.mkdtemp())
print(open(path).read())
client.delete_registered_model("clean-smoke")
client.delete_run(version.run_id)
"""
# Create old folders in the data folder, as a run and a user do.
ADD_DATA = """
import os, pathlib, time
base = pathlib.Path(os.environ.get("DATA_DIR") or "/opt/airflow/data")
for name in {names!r}:
    (base / name).mkdir(parents=True)
    (base / name / "table.parquet").write_bytes(b"x" * 100_000)
    for path in (base / name / "table.parquet", base / name):
        os.utime(path, (time.time() - {days} * 86400,) * 2)
"""
LIST_DATA = """
import json, os, pathlib
base = pathlib.Path(os.environ.get("DATA_DIR") or "/opt/airflow/data")
print(json.dumps(sorted(str(path.relative_to(base)) for path in base.glob("*/*"))))
"""


def run_python(stack, image, code):
    """Run Python in a service of an image, with its database's address. Return the output."""
    service, variable = ADDRESSES[image]
    if stack.engine == "docker":
        return stack.exec_in(service, "python", "-c", code)
    state = stack.state_folder()
    password, sockets = stack.setting(f"{image.upper()}_DB_PASSWORD"), quote(f"{state}/sockets")
    address = f"postgresql://{image}:{password}@/{image}?host={sockets}"
    environment = {variable: address, "DATA_DIR": str(state / "data")}
    return stack.run_ok(str(state / f"envs/{image}/bin/python"), "-c", code, **environment)


def run_sql(stack, image, statement):
    code = RUN_SQL.format(variable=ADDRESSES[image][1], statement=statement)
    return json.loads(run_python(stack, image, code).splitlines()[-1])


def present(stack):
    """Return everything that `inv clean` checks, by kind."""
    logs = stack.folder / "logs"
    return {
        "runs": sorted(
            run_id
            for dag_id, run_id in run_sql(stack, "airflow", "SELECT dag_id, run_id FROM dag_run")
            if dag_id in ("journal", "removed")
        ),
        "versions": run_sql(stack, "airflow", "SELECT count(*) FROM dag_version"),
        "logs": sorted(str(path.relative_to(logs)) for path in logs.glob("dag_id=*/*/**/*.log")),
        "data": json.loads(run_python(stack, "airflow", LIST_DATA).splitlines()[-1]),
        "mlflow": sorted(run for (run,) in run_sql(stack, "mlflow", "SELECT run_uuid FROM runs")),
    }


def logs_of(stack, dag_id, run_id):
    return stack.folder / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"


def age_folder(folder):
    """Set the times of a folder and of everything in it back by DAYS."""
    then = time.time() - DAYS * 86400
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


@pytest.fixture(scope="module")
def old_data(stack, journal):
    """Age a finished run, a running one, deleted MLflow runs and data folders by DAYS."""
    finished = trigger(stack, "journal", "--wait", conf='{"seconds": 0}')
    running = trigger(stack, conf='{"seconds": 40}')
    until(lambda: list(logs_of(stack, "journal", running).rglob("*.log")), 60)
    deleted = run_sql(
        stack, "mlflow", "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'deleted'"
    )
    registered = stack.run_client(REGISTER).split()[-1]
    run_sql(stack, "airflow", ADD_REMOVED_DAG)
    run_sql(stack, "airflow", AGE_RUNS)
    run_sql(stack, "mlflow", AGE_DELETED_RUNS)
    for run_id in (finished, running):
        age_folder(logs_of(stack, "journal", run_id))
    names = [f"removed/{OLD_RUN}", f"removed/{NEWEST_RUN}", "mine/manual__table"]
    run_python(stack, "airflow", ADD_DATA.format(names=names, days=DAYS))
    assert deleted, "no deleted runs, although the canary deletes its own"
    return SimpleNamespace(
        finished=finished, running=running, names=names, registered=registered,
        deleted={run for (run,) in deleted}, before=present(stack),
    )  # fmt: skip


def test_clean_too_short_age_is_refused(stack):
    done = stack.run("inv", "clean", "--older-than", "5m")
    assert (done.returncode, "is too short" in done.stderr) == (2, True)


def test_dry_run_prints_sizes_and_removes_nothing(stack, old_data):
    output = stack.run_ok("inv", "clean", "--dry-run")
    assert re.search(r"Airflow's history +\S+ [KMG]iB +\S+ \w+ +2 runs, [\d,]+ rows", output)
    assert re.search(r"task logs +\S+ [KMG]iB +\S+ \w+ +[1-9]\d* files?", output)
    assert re.search(r"data of runs +\S+ [KMG]iB +\d+ KiB +[1-9]\d* folders?", output)
    counts = f"{len(old_data.deleted)} runs?, 0 models"
    assert re.search(rf"MLflow's deleted runs +\S+ [KMG]iB +\S+ \w+ +{counts}", output)
    # The size is 0 if another clone's images share all layers.
    assert re.search(r"builds +\S+ \w+", output)
    # Other runs may add data meanwhile.
    now = present(stack)
    assert now["versions"] == old_data.before["versions"]
    for kind in ("runs", "logs", "data", "mlflow"):
        assert set(old_data.before[kind]) <= set(now[kind]), kind


def test_clean_removes_old_data_and_keeps_data_in_use(stack, old_data):
    began = time.monotonic()
    output = stack.run_ok("inv", "clean")
    print(f"\ncleaned in {time.monotonic() - began:.0f} s\n{output}")
    now = present(stack)
    assert now["runs"] == sorted([old_data.running, NEWEST_RUN])
    assert now["versions"] == old_data.before["versions"]
    assert set(old_data.before["mlflow"]) - set(now["mlflow"]) == old_data.deleted
    assert not logs_of(stack, "journal", old_data.finished).exists()
    assert list(logs_of(stack, "journal", old_data.running).rglob("*.log"))
    assert set(old_data.before["data"]) - set(now["data"]) == {old_data.names[0]}
    assert "freed" in output


def test_run_during_clean_succeeds(stack, old_data):
    path = f"/api/v2/dags/journal/dagRuns/{old_data.running}"
    until(lambda: stack.airflow(path)["state"] == "success", 90)


def test_clean_keeps_deleted_run_of_registered_model(stack, old_data):
    assert old_data.registered in present(stack)["mlflow"]
    assert "weights" in stack.run_client(READ_BACK)


def test_second_clean_finds_little_and_stack_is_healthy(stack, old_data):
    output = stack.run_ok("inv", "clean")
    assert "0 runs, 0 models" in output
    assert stack.health()["status"] == "healthy"
    run_sql(stack, "airflow", "DELETE FROM dag_run WHERE dag_id = 'removed'")
