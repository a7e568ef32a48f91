"""Test artifacts in a bucket: training, large files, server faults, wrong settings, a move."""

import hashlib
import json
import threading
import time

import pytest
import requests

from tests.e2e.bucket import BUCKET, KEY, PREFIX, SECRET, InstanceMetadata, http_server
from tests.e2e.clone import Clone, reachable_copy, until
from tests.e2e.test_pipelines import PREDICT

MIB = 2**20
# A client must get the error within this time.
ERROR_SECONDS = 30
LOG = """
import json, mlflow, pathlib, time
mlflow.set_experiment("by hand")
with mlflow.start_run() as run:
    mlflow.log_param("p", 1)
    mlflow.log_metric("m", 2)
    pathlib.Path("/tmp/artifact.txt").write_text("x" * 1000)
    started = time.monotonic()
    try:
        mlflow.log_artifact("/tmp/artifact.txt")
        message = ""
    except Exception as error:
        message = str(error)
data = mlflow.get_run(run.info.run_id).data
print(json.dumps({"error": message, "seconds": time.monotonic() - started,
                  "run": run.info.run_id, "metrics": data.metrics, "params": data.params}))
"""


@pytest.fixture(scope="module")
def stack(engine, tmp_path_factory, server):
    """Start a stack that stores its artifacts in the bucket from the first start."""
    clone = reachable_copy(tmp_path_factory.mktemp("s3"), engine)
    clone.exported |= server.settings()
    clone.run_ok("inv", "up")
    yield clone
    clone.remove()


def log_run(stack: Clone) -> dict:
    """Log a run with an artifact as a client without keys. Return the error, or "", and the run."""
    return json.loads(stack.run_client(LOG).splitlines()[-1])


def findings(stack: Clone) -> dict[str, str]:
    """Return cause and fix of each finding of `inv doctor`, by name."""
    document = json.loads(stack.run("inv", "doctor", "--json").stdout)
    return {each["name"]: f"{each['cause']}; {each['fix']}" for each in document["findings"]}


def await_status(stack: Clone, words: str) -> None:
    """Wait for words on the status page, which checks the artifact store once a minute."""
    until(lambda: words in stack.status_page()["mlflow"]["detail"], 150)


def test_bucket_has_no_file_of_the_install_check(stack, server):
    assert not [name for name in server.files() if ".tried" in name]


def test_training_stores_model_and_plots_in_bucket(stack, server):
    stack.run_ok("inv", "trigger", "training_pipeline", "--wait")
    names = server.files()
    assert all(name.startswith(f"{PREFIX}/") for name in names)
    assert any(name.endswith("/MLmodel") for name in names)
    assert any(name.endswith(".png") for name in names)


def test_client_without_keys_loads_the_model(stack):
    probabilities = json.loads(stack.run_client(PREDICT).splitlines()[-1])
    assert all(0 < probability < 1 for probability in probabilities)


def test_mlflow_offers_no_direct_access_to_bucket(stack):
    address, account = stack.url("MLFLOW_PORT"), stack.credentials("admin")
    info = requests.get(f"{address}/api/3.0/mlflow/server-info", auth=account, timeout=10).json()
    multipart = {name: value for name, value in info.items() if "multipart" in name}
    assert len(multipart) == 2
    assert not any(multipart.values())
    presigned = f"{address}/api/2.0/mlflow-artifacts/presigned/1/a/artifacts/b"
    assert requests.get(presigned, auth=account, timeout=30).status_code == 501


def test_worker_has_no_keys(stack, engine):
    if engine == "standalone":
        pytest.skip("Without containers all services share their environment.")
    environment = stack.exec_in("airflow-worker", "env")
    assert not [line for line in environment.splitlines() if line.startswith("AWS_")]


def test_gigabyte_artifact_is_streamed_both_ways(stack, server):
    address, path = artifact_place(stack, "large")
    account, sent = stack.credentials("worker"), hashlib.sha256()

    def chunks():
        for number in range(1024):
            chunk = number.to_bytes(4, "big") * (MIB // 4)
            sent.update(chunk)
            yield chunk

    requests.put(address, data=chunks(), auth=account, timeout=600).raise_for_status()
    received, size = hashlib.sha256(), 0
    with requests.get(address, auth=account, stream=True, timeout=600) as response:
        response.raise_for_status()
        for chunk in response.iter_content(MIB):
            received.update(chunk)
            size += len(chunk)
    assert (size, received.digest()) == (1024 * MIB, sent.digest())
    assert (server.folder / BUCKET / PREFIX / path).stat().st_size == 1024 * MIB
    rows = {row["name"]: row for row in stack.health()["services"]}
    assert rows["mlflow"]["memory_bytes"] < 700 * MIB
    assert rows["mlflow"]["restarts"] == 0


def test_missing_artifact_returns_404(stack):
    address = f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow-artifacts/artifacts/1/no-run/artifacts/no"
    assert requests.get(address, auth=stack.credentials("admin"), timeout=60).status_code == 404


def artifact_place(stack: Clone, name: str) -> tuple[str, str]:
    """Create a run. Return the address of an artifact in it, and its path in the store."""
    run = log_run(stack)["run"]
    document = stack.mlflow("GET", "runs/get", params={"run_id": run}).json()
    path = f"{document['run']['info']['experiment_id']}/{run}/artifacts/{name}"
    return f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow-artifacts/artifacts/{path}", path


def fails_only_for_artifacts(stack: Clone, words: str, name: str) -> None:
    """Check that metrics and parameters are logged, and that all places report the error."""
    result = log_run(stack)
    assert words in result["error"]
    assert result["seconds"] < ERROR_SECONDS
    assert (result["metrics"], result["params"]) == ({"m": 2.0}, {"p": "1"})
    await_status(stack, words)
    assert words in findings(stack)[name]


def recovers(stack: Clone) -> None:
    """Check that an artifact can be logged, and wait until the status page reports it."""
    result = log_run(stack)
    assert result["error"] == "", result
    await_status(stack, "and its artifact store")


def test_server_down_is_reported_and_recovers(stack, server):
    server.kill()
    before = stack.start_times()
    fails_only_for_artifacts(stack, "its server does not answer", "bucket-unreachable")
    time.sleep(30)
    server.start()
    recovers(stack)
    assert stack.start_times() == before


def test_server_frozen_is_reported_in_time(stack, server):
    server.freeze()
    try:
        result = log_run(stack)
        assert "its server does not answer" in result["error"]
        assert result["seconds"] < ERROR_SECONDS
    finally:
        server.thaw()
    recovers(stack)


def test_upload_interrupted_leaves_no_partial_file(stack, server):
    address, _ = artifact_place(stack, "cut")

    def chunks():
        # MLflow receives the whole file before it uploads it to the bucket, which takes seconds.
        yield from (bytes(MIB) for _ in range(600))
        threading.Timer(0.5, server.kill).start()

    response = requests.put(address, data=chunks(), auth=stack.credentials("worker"), timeout=120)
    assert response.status_code == 424
    assert "its server does not answer" in response.json()["message"]
    server.start()
    assert not [name for name in server.files() if name.endswith("/cut")]
    recovers(stack)


def test_download_interrupted_is_reported_in_time(stack, server):
    address, _ = artifact_place(stack, "whole")
    account, chunks = stack.credentials("worker"), (bytes(MIB) for _ in range(600))
    requests.put(address, data=chunks, auth=account, timeout=120).raise_for_status()
    threading.Timer(0.3, server.kill).start()
    started = time.monotonic()
    response = requests.get(address, auth=account, timeout=120)
    assert (response.status_code, time.monotonic() - started < ERROR_SECONDS) == (424, True)
    assert "its server does not answer" in response.json()["message"]
    server.start()
    recovers(stack)


def test_server_slow_delays_only_artifacts(stack, server):
    with server.slow():
        result = log_run(stack)
        assert result["error"] == ""
        started = time.monotonic()
        assert stack.mlflow("GET", "runs/get", params={"run_id": result["run"]}).status_code == 200
        assert time.monotonic() - started < 2
        assert not findings(stack)


def test_server_disk_full_is_reported_and_recovers(stack, server):
    with server.full():
        result = log_run(stack)
        assert "artifact store s3://" in result["error"]
        assert result["seconds"] < ERROR_SECONDS
        assert (result["metrics"], result["params"]) == ({"m": 2.0}, {"p": "1"})
    recovers(stack)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "another-secret"},  # pragma: allowlist secret
         "does not accept the key"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://nowhere/p"}, "no such bucket"),
    ],
)  # fmt: skip
def test_install_wrong_bucket_setting_is_refused(stack, setting, words):
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
def test_install_error_of_aws_is_reported_with_its_fix(stack, server, answer, headers, cause, fix):
    with server.refusing(*answer, **headers):
        done = stack.run("inv", "install")
    assert done.returncode == 1
    assert cause in done.stderr
    assert fix in done.stderr


def test_install_accepts_aws_profile_instead_of_keys(stack, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(f"[default]\n[ours]\n{keys}")
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_FOLDER": str(tmp_path)}
    assert stack.run("inv", "install", **none, AWS_PROFILE="ours").returncode == 0
    done = stack.run("inv", "install", **none, AWS_PROFILE="another")
    assert done.returncode == 1
    assert "there is no key for it.\nSet AWS_ACCESS_KEY_ID" in done.stderr


def test_server_with_own_ca_requires_aws_ca_bundle(stack, server, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    address = server.settings()["MLFLOW_S3_ENDPOINT_URL"].replace("http://", "https://")
    with server.with_tls(tmp_path) as certificate:
        done = stack.run("inv", "install", MLFLOW_S3_ENDPOINT_URL=address)
        assert done.returncode == 1
        assert "was issued by an untrusted authority.\nSet AWS_CA_BUNDLE" in done.stderr
        settings = {"MLFLOW_S3_ENDPOINT_URL": address, "AWS_CA_BUNDLE": str(certificate)}
        assert stack.run("inv", "install", **settings).returncode == 0
        stack.run_ok("inv", "up", **settings)
        assert log_run(stack)["error"] == ""
    stack.run_ok("inv", "up")
    recovers(stack)


def test_install_accepts_instance_role_instead_of_keys(stack, server, engine):
    if engine == "standalone":
        pytest.skip("Without Docker no setting changes the address of the metadata service.")
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    override = stack.folder / "orchestration/docker-compose.override.yaml"
    with http_server(server.host, 0, InstanceMetadata) as address:
        variable = f"AWS_EC2_METADATA_SERVICE_ENDPOINT: {address}"
        override.write_text(f"services: {{mlflow: {{environment: {{{variable}}}}}}}\n")
        try:
            assert stack.run("inv", "install", **none).returncode == 0
        finally:
            override.unlink()
    done = stack.run("inv", "install", **none)
    assert done.returncode == 1
    assert "there is no key for it" in done.stderr


def test_read_only_key_is_reported_with_missing_right(stack, server):
    with server.refusing(403, "AccessDenied"):
        result = log_run(stack)
        assert "the key lacks the right s3:PutObject" in result["error"]
        assert result["seconds"] < ERROR_SECONDS
        assert "Grant it s3:PutObject for s3://models" in findings(stack)["bucket-denied"]
    recovers(stack)


def test_drill_missing_artifact_in_bucket_fails(stack, server):
    stack.run_ok("inv", "backup")
    assert "drill passed" in stack.run_ok("inv", "drill")
    name = next(name for name in server.files() if name.endswith("/artifact.txt"))
    file = server.folder / BUCKET / name
    content = file.read_bytes()
    file.unlink()
    done = stack.run("inv", "drill")
    assert done.returncode == 1
    assert "1 of" in done.stderr
    assert "artifact.txt." in done.stderr
    file.write_bytes(content)


def test_up_without_bucket_server_fails_soon_and_starts_the_rest(stack, server):
    stack.run_ok("inv", "down")
    server.kill()
    started = time.monotonic()
    done = stack.run("inv", "up")
    assert done.returncode == 1
    assert "The artifacts in s3://" in done.stderr
    assert time.monotonic() - started < 120
    assert {row["name"] for row in stack.health()["services"] if not row["healthy"]} == {"mlflow"}
    server.start()
    stack.run_ok("inv", "up")


@pytest.fixture(scope="module")
def local_stack(engine, tmp_path_factory, server):
    """Start a stack with artifacts in its volume and with the settings of a bucket."""
    clone = reachable_copy(tmp_path_factory.mktemp("move"), engine)
    settings = server.settings()
    del settings["MLFLOW_ARTIFACTS_DESTINATION"]
    clone.exported |= settings
    clone.run_ok("inv", "up")
    yield clone
    clone.remove()


DESTINATION = f"s3://{BUCKET}/moved"
LOG_60_FILES = """
import mlflow, pathlib, tempfile
mlflow.set_experiment("before the move")
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
    for number in range(60):
        pathlib.Path(folder, f"{number}.bin").write_bytes(bytes([number]) * 300_000)
    mlflow.log_artifacts(folder, "many")
print(run.info.run_id)
"""
HASH_FILES = """
import hashlib, mlflow, pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    mlflow.artifacts.download_artifacts(run_id="{run}", artifact_path="many", dst_path=folder)
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    files = [path.name.encode() + path.read_bytes() for path in paths]
print(hashlib.sha256(b"".join(files)).hexdigest())
"""


def test_move_artifacts_resumes_after_interruption_and_loses_nothing(local_stack, server):
    move = ("inv", "move-artifacts", "--to", DESTINATION)
    run = local_stack.run_client(LOG_60_FILES).split()[-1]
    before = local_stack.run_client(HASH_FILES.format(run=run)).split()[-1]
    assert "Would copy" in local_stack.run_ok(*move, "--dry-run")
    assert not [name for name in server.files() if name.startswith("moved/")]
    first = local_stack.start(*move)
    until(lambda: any(f"/{run}/" in name for name in server.files()), 60, pause=0.01)
    server.kill()
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "its server does not answer" in errors
    assert "MLflow still uses the old location" in errors
    assert local_stack.run_client(HASH_FILES.format(run=run)).split()[-1] == before
    server.start()
    assert f"now stores artifacts in {DESTINATION}" in local_stack.run_ok(*move)
    assert local_stack.run_client(HASH_FILES.format(run=run)).split()[-1] == before
    copied = {name for name in server.files() if name.startswith("moved/") and run in name}
    assert len(copied) == 60
    new = local_stack.run_client(LOG_60_FILES).split()[-1]
    assert any(new in name for name in server.files())


def test_move_artifacts_invalid_request_is_refused(local_stack):
    move = ("inv", "move-artifacts", "--to")
    assert "already" in local_stack.run(*move, DESTINATION).stderr
    assert "is not a bucket" in local_stack.run(*move, "/elsewhere").stderr
    exported = {"MLFLOW_ARTIFACTS_DESTINATION": "/mlflow_data/other"}
    done = local_stack.run(*move, DESTINATION, **exported)
    assert "is set in this shell, which overrides .env" in done.stderr
