"""Back up a stack under load, then drill and restore it and compare rows, hashes and secrets."""

import json
import re
import shutil
import time
from signal import SIGKILL

import pytest

from orchestration.backup import archive
from tests.e2e.clone import until
from tests.support.artifact_names import NAMES

DRILL_SECONDS = 240
# Some names cannot be sent in a URL, so files are written where MLflow stores artifacts.
PLANT = f"""
import os
for name in {NAMES!r}:
    for parent in (b"odd", b"odd/folders/" + name):
        os.makedirs(parent, exist_ok=True)
        with open(parent + b"/" + name, "wb") as file:
            file.write(name)
os.makedirs("odd/empty/folder", exist_ok=True)
for name, target in (("link", "folders"), ("loop", "."), ("nothing", "nowhere")):
    if not os.path.lexists("odd/" + name):
        os.symlink(target, "odd/" + name)
"""
LIST = """
import hashlib, json, os
entries = {}
for parent, folders, names in os.walk(b"odd"):
    for path in (parent + b"/" + name for name in folders + names):
        value = "folder"
        if os.path.islink(path):
            value = os.readlink(path).decode()
        elif os.path.isfile(path):
            value = hashlib.sha256(open(path, "rb").read()).hexdigest()
        entries[ascii(path)] = value
print(json.dumps(entries, sort_keys=True))
"""
LOG_BACKSLASH = """
import mlflow, pathlib, tempfile
mlflow.set_experiment("backslash")
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "a" + chr(92) + "b.txt")
    path.write_text("content")
    mlflow.log_artifact(str(path))
"""


FIND_STAGED = "import json; print(json.dumps([n for n in os.listdir() if n == '.restoring']))"


def run_in_artifacts(stack, code):
    """Run Python in the folder of MLflow's artifacts, as MLflow's account."""
    if stack.engine == "docker":
        code = f"import os; os.chdir('/mlflow_data')\n{code}"
        return stack.exec_in("mlflow", "python", "-c", code)
    folder = stack.state_folder()
    code = f"import os; os.chdir('{folder}/mlflow_data')\n{code}"
    return stack.run_ok(str(folder / "envs/mlflow/bin/python"), "-c", code)


def odd_artifacts(stack):
    """Return the hash, link target or `folder` of everything that PLANT created, by name."""
    return json.loads(run_in_artifacts(stack, LIST))


@pytest.fixture(scope="module")
def used_stack(stack):
    """Prepare a champion, a connection, odd names of artifacts and a DAG of a hundred tasks."""
    stack.add_dags("hundred", "journal")
    if not stack.latest_versions():
        stack.run_ok("inv", "trigger", "training_pipeline", "--wait")
        # The new champion starts monitoring, whose files are not in a backup.
        stack.await_runs("monitoring_pipeline", 600)
    add = ("connections", "add", "bank", "--conn-type", "http", "--conn-password", "s3cret")
    stack.run_ok("inv", "airflow", "--", *add)
    run_in_artifacts(stack, PLANT)
    stack.run_client(LOG_BACKSLASH)
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/hundred"), 120)


@pytest.fixture(scope="module")
def backup(stack, used_stack, passphrase_file):
    """Write a backup while a hundred tasks run, and return its folder."""
    stack.run_ok("inv", "trigger", "hundred")
    output = stack.run_ok("inv", "backup", "--passphrase-file", passphrase_file)
    stack.await_runs("hundred", 180)
    return stack.folder / re.search(r"backups/\d{8}T\d{6}Z", output)[0]


def secrets(stack):
    """Return every connection's password, decrypted by the stack itself."""
    output = stack.run_ok("inv", "airflow", "--", "connections", "list", "--output", "json")
    return {entry["conn_id"]: entry["password"] for entry in json.loads(output)}


def everything(stack):
    """Return what must survive a restore: models, runs and passwords, as the services report."""
    runs = stack.airflow("/api/v2/dags/training_pipeline/dagRuns")["dag_runs"]
    return {
        "artifacts": odd_artifacts(stack),
        "champion": stack.alias("champion")["run_id"],
        "runs": sorted((run["dag_run_id"], run["state"]) for run in runs),
        "secrets": secrets(stack),
        "versions": [(model["name"], model["version"]) for model in stack.latest_versions()],
    }


def test_backup_under_load_is_complete(backup, stack):
    manifest = archive.verify(backup)
    assert manifest.tables["airflow"]["task_instance"]["rows"] > 100
    assert manifest.tables["airflow"]["connection"]["rows"] >= 1
    assert manifest.tables["mlflow"]["registered_models"]["rows"] >= 1
    assert manifest.artifacts["rows"] > 5
    assert oct(backup.stat().st_mode & 0o777) == "0o700"
    until(lambda: stack.status_page()["backup"]["state"] == "up", 30)


def test_backup_contains_no_secret(backup, stack):
    content = b"".join(path.read_bytes() for path in backup.iterdir())
    content += backup.with_name(f"{backup.name}.keys.age").read_bytes()
    for name, value in stack.settings().items():
        if "PASSWORD" in name or "KEY" in name or "SECRET" in name:
            assert not value or value.encode() not in content, name


def test_backup_of_a_pipe_among_the_artifacts_fails(backup, stack):
    before = sorted(backup.parent.iterdir())
    run_in_artifacts(stack, "os.mkfifo('odd/pipe')")
    done = stack.run("inv", "backup")
    run_in_artifacts(stack, "os.unlink('odd/pipe')")
    assert done.returncode == 1
    assert "The artifact 'odd/pipe' is neither a file nor a folder." in done.stderr
    assert sorted(backup.parent.iterdir()) == before


def test_restore_truncated_backup_is_refused(backup, stack):
    before, damaged = stack.start_times(), backup.with_name("20200101T000000Z")
    shutil.copytree(backup, damaged)
    (damaged / "mlflow.dump").write_bytes((backup / "mlflow.dump").read_bytes()[:-100])
    done = stack.run("inv", "restore", str(damaged), "--yes")
    shutil.rmtree(damaged)
    assert (done.returncode, "bytes instead of" in done.stderr) == (1, True)
    assert stack.start_times() == before


def test_restore_with_other_fernet_key_is_refused(backup, stack):
    before, other = stack.start_times(), "x" * 43 + "="
    env = stack.folder / ".env"
    text = env.read_text()
    key = re.search(r"^AIRFLOW_FERNET_KEY=(.*)$", text, re.MULTILINE)[1]
    env.write_text(text.replace(key, other))
    done = stack.run("inv", "restore", str(backup), "--yes")
    env.write_text(text)
    assert (done.returncode, "AIRFLOW_FERNET_KEY" in done.stderr) == (1, True)
    assert key not in done.stderr
    assert stack.start_times() == before


def test_drill_passes_and_leaves_running_stack_alone(backup, stack):
    before, started = stack.start_times(), time.monotonic()
    output = stack.run_ok("inv", "drill")
    assert re.search(r"drill passed in \d+ s: .* secrets decrypted, flight-delay@champion", output)
    assert time.monotonic() - started < DRILL_SECONDS
    assert stack.start_times() == before
    until(lambda: "drill passed" in stack.status_page()["backup"]["detail"], 30)
    assert not (stack.folder / ".drill").exists()


def test_interrupted_restore_is_rolled_back(backup, stack):
    stack.run_ok("inv", "trigger", "journal", "--conf", '{"seconds": 1}', "--wait")
    before = everything(stack)
    restoring = stack.start("inv", "restore", str(backup), "--yes")
    until((stack.folder / ".restoring").exists, 120)
    time.sleep(15)
    restoring.send_signal(SIGKILL)
    restoring.communicate()
    assert "is rolled back" in stack.run_ok("inv", "up")
    assert everything(stack) == before
    assert not json.loads(run_in_artifacts(stack, FIND_STAGED))
    runs = stack.airflow("/api/v2/dags/journal/dagRuns")["dag_runs"]
    assert [run["state"] for run in runs] == ["success"]


def test_restore_onto_empty_stack_brings_everything_back(backup, stack, passphrase_file):
    before = everything(stack)
    stack.run_ok("inv", "down", "--volumes", "--yes")
    (stack.folder / ".env").unlink()
    keys = backup.with_name(f"{backup.name}.keys.age")
    options = ("--keys", str(keys), "--passphrase-file", passphrase_file, "--yes")
    output = stack.run_ok("inv", "restore", str(backup), *options)
    assert re.search(r"Restored and verified in \d+ s", output)
    assert everything(stack) == before
    assert len(before["artifacts"]) > 2 * len(NAMES)
    assert not json.loads(run_in_artifacts(stack, FIND_STAGED))
    # Runs that started after the backup are gone.
    assert stack.airflow("/api/v2/dags/journal/dagRuns")["dag_runs"] == []


def test_restore_keeps_password_changed_since_backup(backup, stack):
    env = stack.folder / ".env"
    password = stack.setting("_AIRFLOW_WWW_USER_PASSWORD")
    env.write_text(env.read_text().replace(password, f"{password}-changed"))
    output = stack.run_ok("inv", "restore", str(backup), "--yes")
    assert "account airflow now has the password from .env" in output
    assert stack.alias("champion")


def test_drill_of_altered_artifacts_fails(backup, stack):
    damaged = backup.with_name("29990101T000000Z")
    shutil.copytree(backup, damaged)
    data = bytearray((damaged / "artifacts.tar").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "artifacts.tar").write_bytes(bytes(data))
    done = stack.run("inv", "drill")
    shutil.rmtree(damaged)
    assert (done.returncode, "artifacts.tar was altered" in done.stderr) == (1, True)
    until(lambda: stack.status_page()["backup"]["state"] == "down", 30)
