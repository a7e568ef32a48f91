"""`inv clean` on a stack whose past was made older: what is old goes, what is in use does not."""

import json
import os
import re
import time
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.e2e.clone import until
from tests.e2e.faults import triggered

DAYS = 60
OLD_RUN, NEWEST_RUN = "manual__a_kept_run_id", "manual__the_newest"
# Which service reads which database, and by which variable.
ADDRESSES = {
    "airflow": ("airflow-apiserver", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"),
    "mlflow": ("mlflow", "MLFLOW_BACKEND_STORE_URI"),
}
ASK = """
import json, os, psycopg2
opened = psycopg2.connect(os.environ["{variable}"].replace("+psycopg2", ""))
opened.autocommit = True
cursor = opened.cursor()
cursor.execute({statement!r})
print(json.dumps(cursor.fetchall() if cursor.description else []))
"""
# A DAG that is no more, with two runs: the newer one stays as the newest there is.
FORMER = f"""
INSERT INTO dag_run (dag_id, run_id, state, run_type, queued_at, start_date, end_date, run_after,
  span_status, clear_number)
SELECT 'former', run_id, 'success', 'manual', ago, ago, ago, ago, 'ended', 0
FROM unnest(array['{OLD_RUN}', '{NEWEST_RUN}']) AS run_id, (SELECT now() - interval '{DAYS} days'
  AS ago) AS moment
"""
MADE_OLDER = f"""
UPDATE dag_run SET queued_at = queued_at - interval '{DAYS} days',
  start_date = start_date - interval '{DAYS} days', end_date = end_date - interval '{DAYS} days'
WHERE dag_id = 'journal'
"""
DELETED_LONG_AGO = f"""
UPDATE runs SET deleted_time = deleted_time - 86400000::bigint * {DAYS}
WHERE lifecycle_stage = 'deleted'
"""
# A model in the registry, made by a run that somebody deleted.
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
# What a run left in the data folder, and what a person put there.
LEAVE = """
import os, pathlib, time
base = pathlib.Path(os.environ.get("DATA_DIR") or "/opt/airflow/data")
for name in {names!r}:
    (base / name).mkdir(parents=True)
    (base / name / "table.parquet").write_bytes(b"x" * 100_000)
    for path in (base / name / "table.parquet", base / name):
        os.utime(path, (time.time() - {days} * 86400,) * 2)
"""
LIST = """
import json, os, pathlib
base = pathlib.Path(os.environ.get("DATA_DIR") or "/opt/airflow/data")
print(json.dumps(sorted(str(path.relative_to(base)) for path in base.glob("*/*"))))
"""


def within(stack, image, code):
    """What Python prints where a service of that image runs, with its database's address."""
    service, variable = ADDRESSES[image]
    if stack.engine == "docker":
        return stack.inside(service, "python", "-c", code)
    state = stack.state_folder()
    password, sockets = stack.setting(f"{image.upper()}_DB_PASSWORD"), quote(f"{state}/sockets")
    address = f"postgresql://{image}:{password}@/{image}?host={sockets}"
    given = {variable: address, "DATA_DIR": str(state / "data")}
    return stack.well(str(state / f"envs/{image}/bin/python"), "-c", code, **given)


def ask(stack, image, statement):
    code = ASK.format(variable=ADDRESSES[image][1], statement=statement)
    return json.loads(within(stack, image, code).splitlines()[-1])


def present(stack):
    """All that `inv clean` looks at, by name."""
    logs = stack.folder / "logs"
    return {
        "runs": sorted(
            run_id
            for dag_id, run_id in ask(stack, "airflow", "SELECT dag_id, run_id FROM dag_run")
            if dag_id in ("journal", "former")
        ),
        "versions": ask(stack, "airflow", "SELECT count(*) FROM dag_version"),
        "logs": sorted(str(path.relative_to(logs)) for path in logs.glob("dag_id=*/*/**/*.log")),
        "data": json.loads(within(stack, "airflow", LIST).splitlines()[-1]),
        "mlflow": sorted(one for (one,) in ask(stack, "mlflow", "SELECT run_uuid FROM runs")),
    }


def logs_of(stack, dag_id, run_id):
    return stack.folder / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"


def make_older(folder):
    """Put back the times of all that stands in a folder."""
    then = time.time() - DAYS * 86400
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


@pytest.fixture(scope="module")
def past(stack, journal):
    """A run that ended, one that goes on, deleted MLflow runs: all of them made older."""
    ended = triggered(stack, "journal", "--wait", conf='{"seconds": 0}')
    running = triggered(stack, conf='{"seconds": 40}')
    until(lambda: list(logs_of(stack, "journal", running).rglob("*.log")), 60)
    deleted = ask(stack, "mlflow", "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'deleted'")
    registered = stack.client(REGISTER).split()[-1]
    ask(stack, "airflow", FORMER)
    ask(stack, "airflow", MADE_OLDER)
    ask(stack, "mlflow", DELETED_LONG_AGO)
    for run_id in (ended, running):
        make_older(logs_of(stack, "journal", run_id))
    names = [f"former/{OLD_RUN}", f"former/{NEWEST_RUN}", "mine/manual__table"]
    within(stack, "airflow", LEAVE.format(names=names, days=DAYS))
    assert deleted, "the canary deletes its runs"
    return SimpleNamespace(
        ended=ended, running=running, names=names, registered=registered,
        deleted={one for (one,) in deleted}, before=present(stack),
    )  # fmt: skip


def test_a_span_that_is_too_short_is_refused(stack):
    done = stack.run("inv", "clean", "--older-than", "5m")
    assert (done.returncode, "1h is the shortest" in done.stderr) == (1, True)


def test_a_dry_run_tells_sizes_and_changes_nothing(stack, past):
    said = stack.well("inv", "clean", "--dry-run")
    assert re.search(r"Airflow's history +\S+ [KMG]iB +\S+ \w+ +2 runs, [\d,]+ rows", said)
    assert re.search(r"task logs +\S+ [KMG]iB +\S+ \w+ +[1-9]\d* files?", said)
    assert re.search(r"data of runs +\S+ [KMG]iB +\d+ KiB +[1-9]\d* folders?", said)
    told = rf"MLflow's deleted runs +\S+ [KMG]iB +\S+ \w+ +{len(past.deleted)} runs?, 0 models"
    assert re.search(told, said)
    # Bytes that no other image shares: none where another clone was built of the same.
    assert re.search(r"former builds +\S+ \w+", said)
    # Other runs may write meanwhile.
    now = present(stack)
    assert now["versions"] == past.before["versions"]
    for kind in ("runs", "logs", "data", "mlflow"):
        assert set(past.before[kind]) <= set(now[kind]), kind


def test_what_is_old_goes_and_what_is_in_use_stays(stack, past):
    begun = time.monotonic()
    said = stack.well("inv", "clean")
    print(f"\ncleaned in {time.monotonic() - begun:.0f} s\n{said}")
    now = present(stack)
    assert now["runs"] == sorted([past.running, NEWEST_RUN])
    assert now["versions"] == past.before["versions"]
    assert set(past.before["mlflow"]) - set(now["mlflow"]) == past.deleted
    assert not logs_of(stack, "journal", past.ended).exists()
    assert list(logs_of(stack, "journal", past.running).rglob("*.log"))
    assert set(past.before["data"]) - set(now["data"]) == {past.names[0]}
    assert "gave back" in said


def test_the_run_that_went_on_meanwhile_succeeds(stack, past):
    path = f"/api/v2/dags/journal/dagRuns/{past.running}"
    until(lambda: stack.airflow(path)["state"] == "success", 90)


def test_a_registered_model_has_its_run_and_artifacts_though_somebody_deleted_it(stack, past):
    assert past.registered in present(stack)["mlflow"]
    assert "weights" in stack.client(READ_BACK)


def test_the_stack_is_well_and_a_second_time_there_is_little_to_give_back(stack, past):
    said = stack.well("inv", "clean")
    assert "0 runs, 0 models" in said
    assert stack.health()["status"] == "healthy"
    ask(stack, "airflow", "DELETE FROM dag_run WHERE dag_id = 'former'")
