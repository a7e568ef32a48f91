"""Artifacts in a bucket of a real server: a training, large files, and all that can be wrong."""

import hashlib
import json
import threading
import time

import pytest
import requests

from tests.e2e.bucket import BUCKET, KEY, PREFIX, SECRET, Instance, answering
from tests.e2e.clone import Clone, reachable_copy, until
from tests.e2e.test_pipelines import ASK

MIB = 2**20
# At the client, from the question until it is told what is wrong.
TOLD_SECONDS = 30
LOG = """
import json, mlflow, pathlib, time
mlflow.set_experiment("by hand")
with mlflow.start_run() as run:
    mlflow.log_param("p", 1)
    mlflow.log_metric("m", 2)
    pathlib.Path("/tmp/artifact.txt").write_text("x" * 1000)
    began = time.monotonic()
    try:
        mlflow.log_artifact("/tmp/artifact.txt")
        told = ""
    except Exception as error:
        told = str(error)
found = mlflow.get_run(run.info.run_id)
print(json.dumps({"told": told, "took": time.monotonic() - began, "run": run.info.run_id,
                  "metrics": found.data.metrics, "params": found.data.params}))
"""


@pytest.fixture(scope="module")
def stack(engine, tmp_path_factory, server):
    """A stack that keeps its artifacts there from its first start on."""
    clone = reachable_copy(tmp_path_factory.mktemp("s3"), engine)
    clone.exported |= server.settings()
    clone.well("inv", "up")
    yield clone
    clone.remove()


def logged(stack: Clone) -> dict:
    """What a client without keys met that logged a run with an artifact."""
    return json.loads(stack.client(LOG).splitlines()[-1])


def findings(stack: Clone) -> dict[str, str]:
    """What the doctor says, by name."""
    told = json.loads(stack.run("inv", "doctor", "--json").stdout)
    return {one["name"]: f"{one['cause']}; {one['fix']}" for one in told["findings"]}


def store_is_told(stack: Clone, words: str) -> None:
    """The status page says it within two of its rounds a minute apart."""
    until(lambda: words in stack.said()["mlflow"]["detail"], 150)


def test_nothing_of_the_trial_stays_in_the_bucket(stack, server):
    assert not [name for name in server.files() if ".tried" in name]


def test_a_training_s_model_and_plots_are_in_the_bucket(stack, server):
    stack.well("inv", "trigger", "training_pipeline", "--wait")
    names = server.files()
    assert all(name.startswith(f"{PREFIX}/") for name in names)
    assert any(name.endswith("/MLmodel") for name in names)
    assert any(name.endswith(".png") for name in names)


def test_a_client_without_keys_loads_the_model_back(stack):
    chances = json.loads(stack.client(ASK).splitlines()[-1])
    assert all(0 < chance < 1 for chance in chances)


def test_clients_are_told_of_no_way_to_the_bucket_and_given_none(stack):
    address, account = stack.url("MLFLOW_PORT"), stack.login("admin")
    told = requests.get(f"{address}/api/3.0/mlflow/server-info", auth=account, timeout=10).json()
    ways = {name: value for name, value in told.items() if "multipart" in name}
    assert len(ways) == 2
    assert not any(ways.values())
    asked = f"{address}/api/2.0/mlflow-artifacts/presigned/1/a/artifacts/b"
    assert requests.get(asked, auth=account, timeout=30).status_code == 501


def test_who_runs_tasks_holds_no_keys(stack, engine):
    if engine == "standalone":
        pytest.skip("without containers all services share their environment")
    held = stack.inside("airflow-worker", "env")
    assert not [line for line in held.splitlines() if line.startswith("AWS_")]


def test_a_gigabyte_goes_up_and_down_and_is_not_held_in_memory(stack, server):
    address, path = place_for(stack, "large")
    account, sent = stack.login("worker"), hashlib.sha256()

    def chunks():
        for number in range(1024):
            chunk = number.to_bytes(4, "big") * (MIB // 4)
            sent.update(chunk)
            yield chunk

    requests.put(address, data=chunks(), auth=account, timeout=600).raise_for_status()
    received, size = hashlib.sha256(), 0
    with requests.get(address, auth=account, stream=True, timeout=600) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_content(MIB):
            received.update(chunk)
            size += len(chunk)
    assert (size, received.digest()) == (1024 * MIB, sent.digest())
    assert (server.folder / BUCKET / PREFIX / path).stat().st_size == 1024 * MIB
    rows = {row["name"]: row for row in stack.health()["services"]}
    assert rows["mlflow"]["memory_bytes"] < 700 * MIB
    assert rows["mlflow"]["restarts"] == 0


def test_an_artifact_that_is_not_there_is_told_apart_from_a_bucket_that_fails(stack):
    address = f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow-artifacts/artifacts/1/no-run/artifacts/no"
    assert requests.get(address, auth=stack.login("admin"), timeout=60).status_code == 404


def place_for(stack: Clone, name: str) -> tuple[str, str]:
    """The address for an artifact of a new run, and its path in the store."""
    run = logged(stack)["run"]
    found = stack.mlflow("GET", "runs/get", params={"run_id": run}).json()
    path = f"{found['run']['info']['experiment_id']}/{run}/artifacts/{name}"
    return f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow-artifacts/artifacts/{path}", path


def holds_without_artifacts(stack: Clone, words: str, name: str) -> None:
    """Runs, metrics and parameters work, and the artifact's error is told in time, everywhere."""
    met = logged(stack)
    assert words in met["told"]
    assert met["took"] < TOLD_SECONDS
    assert (met["metrics"], met["params"]) == ({"m": 2.0}, {"p": "1"})
    store_is_told(stack, words)
    assert words in findings(stack)[name]


def works_again(stack: Clone) -> None:
    met = logged(stack)
    assert met["told"] == "", met
    store_is_told(stack, "and its artifact store")


def test_a_server_that_is_away_is_told_and_works_again_when_it_is_back(stack, server):
    server.end()
    before = stack.since()
    holds_without_artifacts(stack, "its server does not answer", "bucket-unreachable")
    time.sleep(30)
    server.start()
    works_again(stack)
    assert stack.since() == before


def test_a_server_that_hangs_is_told_in_time(stack, server):
    server.freeze()
    try:
        met = logged(stack)
        assert "its server does not answer" in met["told"]
        assert met["took"] < TOLD_SECONDS
    finally:
        server.thaw()
    works_again(stack)


def test_a_connection_that_is_cut_in_mid_upload_leaves_no_half_file(stack, server):
    address, _ = place_for(stack, "cut")

    def chunks():
        # MLflow has all of it before it goes on to the bucket, which takes seconds.
        yield from (bytes(MIB) for _ in range(600))
        threading.Timer(0.5, server.end).start()

    answer = requests.put(address, data=chunks(), auth=stack.login("worker"), timeout=120)
    assert answer.status_code == 424
    assert "its server does not answer" in answer.json()["message"]
    server.start()
    assert not [name for name in server.files() if name.endswith("/cut")]
    works_again(stack)


def test_a_connection_that_is_cut_in_mid_download_is_told_in_time(stack, server):
    address, _ = place_for(stack, "whole")
    account, chunks = stack.login("worker"), (bytes(MIB) for _ in range(600))
    requests.put(address, data=chunks, auth=account, timeout=120).raise_for_status()
    threading.Timer(0.3, server.end).start()
    began = time.monotonic()
    answer = requests.get(address, auth=account, timeout=120)
    assert (answer.status_code, time.monotonic() - began < TOLD_SECONDS) == (424, True)
    assert "its server does not answer" in answer.json()["message"]
    server.start()
    works_again(stack)


def test_a_slow_server_slows_artifacts_alone(stack, server):
    with server.slow():
        met = logged(stack)
        assert met["told"] == ""
        began = time.monotonic()
        assert stack.mlflow("GET", "runs/get", params={"run_id": met["run"]}).status_code == 200
        assert time.monotonic() - began < 2
        assert not findings(stack)


def test_a_server_without_room_is_told_in_time_and_works_again_with_room(stack, server):
    with server.full():
        met = logged(stack)
        assert "artifact store s3://" in met["told"]
        assert met["took"] < TOLD_SECONDS
        assert (met["metrics"], met["params"]) == ({"m": 2.0}, {"p": "1"})
    works_again(stack)


@pytest.mark.parametrize(
    ("setting", "words", "name"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "another-secret"},  # pragma: allowlist secret
         "does not accept the key", "bucket-key"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://nowhere/p"}, "no such bucket", "bucket-missing"),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_refused_by_name_at_the_install(stack, setting, words, name):
    done = stack.run("inv", "install", **setting)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Set AWS_" in done.stderr or "Create it" in done.stderr


@pytest.mark.parametrize(
    ("answer", "headers", "cause", "fix"),
    [
        ((403, "RequestTimeTooSkewed"), {}, "refuses this machine's clock", "timedatectl"),
        ((400, "AuthorizationHeaderMalformed"), {"x_amz_bucket_region": "eu-west-1"},
         "in another region, eu-west-1", "Set AWS_DEFAULT_REGION=eu-west-1 in .env"),
        ((503, "SlowDown"), {}, "its server is overloaded", "Try again later."),
    ],
)  # fmt: skip
def test_what_aws_says_of_clock_region_and_load_is_told_with_its_fix(
    stack, server, answer, headers, cause, fix
):
    with server.refusing(*answer, **headers):
        done = stack.run("inv", "install")
    assert done.returncode == 1
    assert cause in done.stderr
    assert fix in done.stderr


def test_a_profile_of_aws_s_own_files_serves_in_the_place_of_keys(stack, tmp_path):
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(f"[default]\n[ours]\n{keys}")
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_FOLDER": str(tmp_path)}
    assert stack.run("inv", "install", **none, AWS_PROFILE="ours").returncode == 0
    done = stack.run("inv", "install", **none, AWS_PROFILE="another")
    assert done.returncode == 1
    assert "there is no key for it.\nSet AWS_ACCESS_KEY_ID" in done.stderr


def test_a_server_of_one_s_own_authority_is_trusted_where_that_is_named(stack, server, tmp_path):
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    address = server.settings()["MLFLOW_S3_ENDPOINT_URL"].replace("http://", "https://")
    with server.with_tls(tmp_path) as certificate:
        done = stack.run("inv", "install", MLFLOW_S3_ENDPOINT_URL=address)
        assert done.returncode == 1
        assert "of no authority that is trusted.\nSet AWS_CA_BUNDLE" in done.stderr
        named = {"MLFLOW_S3_ENDPOINT_URL": address, "AWS_CA_BUNDLE": str(certificate)}
        assert stack.run("inv", "install", **named).returncode == 0
        stack.well("inv", "up", **named)
        assert logged(stack)["told"] == ""
    stack.well("inv", "up")
    works_again(stack)


def test_the_role_of_an_instance_serves_in_the_place_of_keys(stack, server, engine):
    if engine == "standalone":
        pytest.skip("no setting names another place to ask for it than an instance's own")
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    override = stack.folder / "orchestration/docker-compose.override.yaml"
    with answering(server.host, 0, Instance) as address:
        asked = f"AWS_EC2_METADATA_SERVICE_ENDPOINT: {address}"
        override.write_text(f"services: {{mlflow: {{environment: {{{asked}}}}}}}\n")
        try:
            assert stack.run("inv", "install", **none).returncode == 0
        finally:
            override.unlink()
    done = stack.run("inv", "install", **none)
    assert done.returncode == 1
    assert "there is no key for it" in done.stderr


def test_a_key_that_may_only_read_is_named_with_the_right_that_it_lacks(stack, server):
    with server.refusing(403, "AccessDenied"):
        met = logged(stack)
        assert "the key lacks the right s3:PutObject" in met["told"]
        assert met["took"] < TOLD_SECONDS
        assert "Grant it s3:PutObject for s3://models" in findings(stack)["bucket-denied"]
    works_again(stack)


def test_a_drill_sees_an_artifact_that_is_gone_from_the_bucket(stack, server):
    stack.well("inv", "backup")
    told = stack.well("inv", "drill")
    assert "drill passed" in told
    model = next(name for name in server.files() if name.endswith("/artifact.txt"))
    file = server.folder / BUCKET / model
    content = file.read_bytes()
    file.unlink()
    done = stack.run("inv", "drill")
    assert done.returncode == 1
    assert "1 of" in done.stderr
    assert "artifact.txt." in done.stderr
    file.write_bytes(content)


def test_a_start_without_the_bucket_says_so_soon_and_all_else_runs(stack, server):
    stack.well("inv", "down")
    server.end()
    began = time.monotonic()
    done = stack.run("inv", "up")
    assert done.returncode == 1
    assert "The artifacts in s3://" in done.stderr
    assert time.monotonic() - began < 120
    assert {row["name"] for row in stack.health()["services"] if not row["healthy"]} == {"mlflow"}
    server.start()
    stack.well("inv", "up")


@pytest.fixture(scope="module")
def moving(engine, tmp_path_factory, server):
    """A stack that keeps its artifacts in its volume, beside a bucket that it may use."""
    clone = reachable_copy(tmp_path_factory.mktemp("move"), engine)
    given = server.settings()
    del given["MLFLOW_ARTIFACTS_DESTINATION"]
    clone.exported |= given
    clone.well("inv", "up")
    yield clone
    clone.remove()


TO = f"s3://{BUCKET}/moved"
MANY = """
import mlflow, pathlib, tempfile
mlflow.set_experiment("before the move")
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
    for number in range(60):
        pathlib.Path(folder, f"{number}.bin").write_bytes(bytes([number]) * 300_000)
    mlflow.log_artifacts(folder, "many")
print(run.info.run_id)
"""
BACK = """
import hashlib, mlflow, pathlib, tempfile
with tempfile.TemporaryDirectory() as place:
    mlflow.artifacts.download_artifacts(run_id="{run}", artifact_path="many", dst_path=place)
    paths = sorted(path for path in pathlib.Path(place).rglob("*") if path.is_file())
    files = [path.name.encode() + path.read_bytes() for path in paths]
print(hashlib.sha256(b"".join(files)).hexdigest())
"""


def test_a_move_is_told_beforehand_goes_on_where_it_was_ended_and_loses_nothing(moving, server):
    run = moving.client(MANY).split()[-1]
    before = moving.client(BACK.format(run=run)).split()[-1]
    told = moving.well("inv", "move-artifacts", "--to", TO, "--dry-run")
    assert "would move" in told
    assert not [name for name in server.files() if name.startswith("moved/")]
    first = moving.start("inv", "move-artifacts", "--to", TO)
    until(lambda: any(f"/{run}/" in name for name in server.files()), 60, pause=0.01)
    server.end()
    _, wrong = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "its server does not answer" in wrong
    assert "MLflow still uses the old place" in wrong
    assert moving.client(BACK.format(run=run)).split()[-1] == before
    server.start()
    assert f"in {TO} now" in moving.well("inv", "move-artifacts", "--to", TO)
    assert moving.client(BACK.format(run=run)).split()[-1] == before
    held = {name for name in server.files() if name.startswith("moved/") and run in name}
    assert len(held) == 60
    new = moving.client(MANY).split()[-1]
    assert any(new in name for name in server.files())


def test_artifacts_that_are_in_a_bucket_are_not_moved_and_no_other_place_is_one(moving):
    assert "already" in moving.run("inv", "move-artifacts", "--to", TO).stderr
    assert "is no bucket" in moving.run("inv", "move-artifacts", "--to", "/elsewhere").stderr
    exported = {"MLFLOW_ARTIFACTS_DESTINATION": "/mlflow_data/other"}
    done = moving.run("inv", "move-artifacts", "--to", TO, **exported)
    assert "is exported and stands above .env" in done.stderr
