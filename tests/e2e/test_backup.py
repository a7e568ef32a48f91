"""A backup made under load brings everything back: counts, hashes, keys, a model that predicts."""

import json
import re
import shutil
import time
from signal import SIGKILL

import pytest

from orchestration.backup import archive
from tests.e2e.clone import until

DRILL_SECONDS = 240


@pytest.fixture(scope="module")
def lived_in(stack):
    """A stack with a champion, a connection, and a DAG of a hundred tasks."""
    stack.add_dags("hundred", "journal")
    if not stack.registered():
        stack.well("inv", "trigger", "training_pipeline", "--wait")
    add = ("connections", "add", "bank", "--conn-type", "http", "--conn-password", "s3cret")
    stack.well("inv", "airflow", "--", *add)
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/hundred"), 120)


@pytest.fixture(scope="module")
def made(stack, lived_in, phrase):
    """A backup, written while a hundred tasks run."""
    stack.well("inv", "trigger", "hundred")
    said = stack.well("inv", "backup", "--passphrase-file", phrase)
    stack.await_runs("hundred", 180)
    return stack.folder / re.search(r"backups/\d{8}T\d{6}Z", said)[0]


def secrets(stack):
    """Every connection's password, opened by the stack itself."""
    said = stack.well("inv", "airflow", "--", "connections", "list", "--output", "json")
    return {one["conn_id"]: one["password"] for one in json.loads(said)}


def everything(stack):
    """What must come back: models, runs and users, by what the services say."""
    runs = stack.airflow("/api/v2/dags/training_pipeline/dagRuns")["dag_runs"]
    return {
        "champion": stack.alias("champion")["run_id"],
        "runs": sorted((run["dag_run_id"], run["state"]) for run in runs),
        "secrets": secrets(stack),
        "versions": [(one["name"], one["version"]) for one in stack.registered()],
    }


def test_a_backup_under_load_is_whole_and_tells_what_it_holds(made, stack):
    manifest = archive.checked(made)
    assert manifest.tables["airflow"]["task_instance"]["rows"] > 100
    assert manifest.tables["airflow"]["connection"]["rows"] >= 1
    assert manifest.tables["mlflow"]["registered_models"]["rows"] >= 1
    assert manifest.artifacts["rows"] > 5
    assert oct(made.stat().st_mode & 0o777) == "0o700"
    until(lambda: stack.said()["backup"]["state"] == "up", 30)


def test_no_secret_is_in_it(made, stack):
    held = b"".join(path.read_bytes() for path in made.iterdir())
    held += made.with_name(f"{made.name}.keys.age").read_bytes()
    for name, value in stack.settings().items():
        if "PASSWORD" in name or "KEY" in name or "SECRET" in name:
            assert not value or value.encode() not in held, name


def test_one_that_is_cut_is_refused_and_nothing_is_touched(made, stack):
    before, spoilt = stack.since(), made.with_name("20200101T000000Z")
    shutil.copytree(made, spoilt)
    (spoilt / "mlflow.dump").write_bytes((made / "mlflow.dump").read_bytes()[:-100])
    done = stack.run("inv", "restore", str(spoilt), "--yes")
    shutil.rmtree(spoilt)
    assert (done.returncode, "it was cut" in done.stderr) == (1, True)
    assert stack.since() == before


def test_with_other_keys_it_is_refused_and_nothing_is_touched(made, stack):
    before, other = stack.since(), "x" * 43 + "="
    env = stack.folder / ".env"
    text = env.read_text()
    key = re.search(r"^AIRFLOW_FERNET_KEY=(.*)$", text, re.MULTILINE)[1]
    env.write_text(text.replace(key, other))
    done = stack.run("inv", "restore", str(made), "--yes")
    env.write_text(text)
    assert (done.returncode, "AIRFLOW_FERNET_KEY" in done.stderr) == (1, True)
    assert key not in done.stderr
    assert stack.since() == before


def test_a_drill_of_it_passes_beside_the_running_stack(made, stack):
    before, started = stack.since(), time.monotonic()
    said = stack.well("inv", "drill")
    assert re.search(r"drill passed in \d+ s: .* secrets opened, flight-delay@champion", said)
    assert time.monotonic() - started < DRILL_SECONDS
    assert stack.since() == before
    until(lambda: "drill passed" in stack.said()["backup"]["detail"], 30)
    assert not (stack.folder / ".drill").exists()


def test_a_restore_that_is_interrupted_is_taken_back(made, stack):
    stack.well("inv", "trigger", "journal", "--conf", '{"seconds": 1}', "--wait")
    before = everything(stack)
    restoring = stack.start("inv", "restore", str(made), "--yes")
    until((stack.folder / ".restoring").exists, 120)
    time.sleep(15)
    restoring.send_signal(SIGKILL)
    restoring.communicate()
    assert "is rolled back" in stack.well("inv", "up")
    assert everything(stack) == before
    runs = stack.airflow("/api/v2/dags/journal/dagRuns")["dag_runs"]
    assert [run["state"] for run in runs] == ["success"]


def test_it_comes_back_onto_an_empty_stack_that_lost_everything(made, stack, phrase):
    before = everything(stack)
    stack.well("inv", "down", "--volumes", "--yes")
    (stack.folder / ".env").unlink()
    keys = made.with_name(f"{made.name}.keys.age")
    options = ("--keys", str(keys), "--passphrase-file", phrase, "--yes")
    said = stack.well("inv", "restore", str(made), *options)
    assert re.search(r"restored and proven in \d+ s", said)
    assert everything(stack) == before
    # What came after the backup is gone with what it was put in the place of.
    assert stack.airflow("/api/v2/dags/journal/dagRuns")["dag_runs"] == []


def test_an_account_whose_password_is_another_by_now_can_log_in(made, stack):
    env = stack.folder / ".env"
    password = stack.setting("_AIRFLOW_WWW_USER_PASSWORD")
    env.write_text(env.read_text().replace(password, f"{password}-of-now"))
    said = stack.well("inv", "restore", str(made), "--yes")
    assert "the account airflow has the password of .env" in said
    assert stack.alias("champion")


def test_a_drill_of_one_with_a_damaged_artifact_fails(made, stack):
    spoilt = made.with_name("29990101T000000Z")
    shutil.copytree(made, spoilt)
    data = bytearray((spoilt / "artifacts.tar").read_bytes())
    data[len(data) // 2] ^= 1
    (spoilt / "artifacts.tar").write_bytes(bytes(data))
    done = stack.run("inv", "drill")
    shutil.rmtree(spoilt)
    assert (done.returncode, "artifacts.tar was altered" in done.stderr) == (1, True)
    until(lambda: stack.said()["backup"]["state"] == "down", 30)
