"""A bucket's errors: what each means, and who is told."""

import json
from concurrent.futures import Future

import pytest

from orchestration.clients import object_store
from orchestration.errors import Problem, StackError
from orchestration.health import readiness
from orchestration.process import runner
from orchestration.settings.model import Settings

WHERE = "s3://models/of/this"


@pytest.fixture
def store(script):
    return script("artifact_store")


@pytest.fixture
def errors(script):
    return script("bucket_errors")


class ClientError(Exception):
    """As AWS's library raises it for an answer that is an error."""

    def __init__(self, code, operation="PutObject", **headers):
        super().__init__(f"{code} with a-secret-key")
        self.operation_name = operation
        metadata = {"HTTPHeaders": headers}
        self.response = {"Error": {"Code": code}, "ResponseMetadata": metadata}


def kind(name, *parents, module=__name__):
    return type(name, parents or (Exception,), {"__module__": module})


@pytest.mark.parametrize(
    ("error", "name", "words"),
    [
        (ClientError("AccessDenied"), "bucket-denied", "s3:PutObject for s3://models/of/this"),
        (ClientError("403", "HeadObject"), "bucket-denied", "lacks the right s3:GetObject"),
        (ClientError("AccessDenied", "ListObjectsV2"), "bucket-denied", "s3:ListBucket"),
        (ClientError("AccessDenied", "UploadPart"), "bucket-denied", "s3:PutObject"),
        (ClientError("NoSuchBucket"), "bucket-missing", "no such bucket"),
        (ClientError("SignatureDoesNotMatch"), "bucket-key", "AWS_SECRET_ACCESS_KEY"),
        (ClientError("ExpiredToken"), "bucket-key", "does not accept"),
        (ClientError("PermanentRedirect", **{"x-amz-bucket-region": "eu-west-1"}),
         "bucket-region", "Set AWS_DEFAULT_REGION=eu-west-1 in .env"),
        (ClientError("AuthorizationHeaderMalformed"), "bucket-region", "Set AWS_DEFAULT_REGION in"),
        (ClientError("RequestTimeTooSkewed"), "bucket-clock", "timedatectl"),
        (ClientError("QuotaExceeded"), "bucket-full", "no room"),
        (ClientError("SlowDown"), "bucket-busy", "overloaded"),
        (ClientError("Teapot"), "bucket-unusable", "says Teapot"),
        (kind("NoCredentialsError")(), "bucket-key", "no key"),
        (kind("ProfileNotFound")(), "bucket-key", "AWS_PROFILE"),
        (kind("EndpointConnectionError", kind("ConnectionError"))(), "bucket-unreachable", "AWS"),
        (kind("ReadTimeoutError", kind("HTTPClientError"))(), "bucket-unreachable", "answer"),
        (kind("ProtocolError", kind("HTTPError"))(), "bucket-unreachable", "does not answer"),
        (kind("SSLError", kind("ConnectionError"))(), "bucket-certificate", "AWS_CA_BUNDLE"),
        (kind("ParamValidationError")(), "bucket-settings", "AWS_*"),
    ],
    ids=lambda given: getattr(given, "args", given) and str(given)[:30],
)  # fmt: skip
def test_an_error_is_told_by_name_with_its_fix_and_without_what_it_quotes(
    errors, monkeypatch, error, name, words
):
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    trouble = errors.understood(error, WHERE)
    assert trouble.name == name
    assert words in f"{trouble.cause}; {trouble.fix}"
    assert "a-secret-key" not in str(trouble)
    assert "{" not in str(trouble.cause + trouble.fix)


def test_an_artifact_that_is_not_there_is_no_trouble_of_the_bucket(errors):
    assert errors.is_of_an_object(ClientError("NoSuchKey", "GetObject"))
    assert errors.is_of_an_object(ClientError("404", "HeadObject"))
    assert not errors.is_of_an_object(ClientError("NoSuchBucket", "GetObject"))
    assert not errors.is_of_an_object(ClientError("404", "HeadBucket"))


def test_an_upload_s_error_is_the_one_that_it_tells_in_words(errors):
    failed = kind("S3UploadFailedError", module="boto3.exceptions")("Failed to upload")
    failed.__context__ = ClientError("AccessDenied", "CreateMultipartUpload")
    assert errors.understood(failed, WHERE).name == "bucket-denied"


@pytest.mark.parametrize("name", ["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_server_other_than_aws_gets_no_checksums_that_it_may_not_know(store, name):
    environment = {name: "https://minio.example"}
    store.settle(environment)
    assert environment == {name: "https://minio.example",
                           **dict.fromkeys(store.CHECKSUMS, "when_required")}  # fmt: skip
    chosen = {**dict.fromkeys(store.CHECKSUMS, "when_supported"), name: "https://minio.example"}
    store.settle(chosen)
    assert set(chosen.values()) == {"when_supported", "https://minio.example"}
    blank = {name: ""}
    store.settle(blank)
    assert blank == {}


def test_blank_settings_are_left_out_and_others_stay(store):
    environment = {"AWS_DEFAULT_REGION": "", "AWS_PROFILE": "p", "OTHER": ""}
    store.settle(environment)
    assert environment == {"AWS_PROFILE": "p", "OTHER": ""}


class Engine:
    """Runs a program that prints what the trial printed."""

    def __init__(self, said, **held):
        self.said, self.asked, self.held = said, [], held

    def environment(self, service):
        return self.held

    def script(self, name):
        return f"/there/{name}"

    def command(self, service, argv, *, anew=False):
        self.asked.append((service, *argv, anew))
        return runner.Command(("printf", "%s", f"a warning\n{self.said}"))


def settings(root, destination, logs=""):
    values = {"MLFLOW_ARTIFACTS_DESTINATION": destination, "AIRFLOW_LOGS_DESTINATION": logs}
    return Settings(root, values, {})


def test_a_bucket_that_can_be_used_is_no_finding(tmp_path):
    engine = Engine("{}")
    assert not list(object_store.findings(settings(tmp_path, WHERE), engine))
    asked = ("python", "/there/artifact_store.py", "try")
    assert engine.asked == [("mlflow", *asked, WHERE, False)]


def test_the_bucket_of_task_logs_is_tried_where_they_are_written(tmp_path):
    told = {"name": "bucket-key", "cause": "there is no key for it", "fix": "set it"}
    engine = Engine(json.dumps(told))
    [found] = object_store.findings(settings(tmp_path, "/mlflow_data", "s3://logs/p"), engine)
    assert engine.asked[0][0] == "airflow-worker"
    assert found.cause == "The task logs in s3://logs/p cannot be used: there is no key for it."


def test_a_folder_is_not_tried_and_what_runs_with_the_place_that_it_was_started_with(tmp_path):
    chosen, engine = settings(tmp_path, WHERE), Engine("no JSON")
    object_store.refuse_unusable(settings(tmp_path, "/mlflow_data"), engine)
    assert not engine.asked
    engine = Engine("no JSON", MLFLOW_ARTIFACTS_DESTINATION="/mlflow_data")
    engine.held["AIRFLOW_LOGS_DESTINATION"] = ""
    assert not list(object_store.findings(chosen, engine))
    assert not engine.asked


def test_one_that_cannot_be_used_is_refused_with_its_fix_by_the_settings_of_now(tmp_path):
    told = {"name": "bucket-missing", "cause": "there is no such bucket", "fix": "make it"}
    engine = Engine(json.dumps(told))
    with pytest.raises(StackError, match=r": there is no such bucket\.\nRun: make it"):
        object_store.refuse_unusable(settings(tmp_path, WHERE), engine)
    assert engine.asked[0][-1]


def test_a_trial_that_fails_is_no_verdict(tmp_path):
    engine = Engine("")
    engine.command = lambda *_, **__: runner.Command(("sh", "-c", "echo broken; exit 1"))
    with pytest.raises(StackError, match="broken"):
        list(object_store.findings(settings(tmp_path, WHERE), engine))


def test_a_start_ends_where_nothing_but_the_bucket_is_in_the_way():
    trial = Future()
    readiness._refuse_bucket(trial)
    trial.set_result([Problem("bucket-full", "its server has no room", "make room", WHERE)])
    with pytest.raises(StackError, match=r"running, but .*\nits server has no room\nRun: make"):
        readiness._refuse_bucket(trial)
    failed = Future()
    failed.set_exception(StackError("no engine"))
    readiness._refuse_bucket(failed)


LISTS = {
    "as it was": ("1/a 3 x", "1/b 4 y"),
    "more": ("1/a 3 x", "1/b 4 y", "2/c 5 z"),
    "changed": ("1/a 3 x", "1/b 4 other"),
    "lost": ("1/a 3 x",),
}


@pytest.fixture
def lists(tmp_path):
    for what, lines in LISTS.items():
        parts = [dict(zip(("name", "size", "etag"), line.split(), strict=True)) for line in lines]
        (tmp_path / what).write_text("".join(f"{json.dumps(part)}\n" for part in parts))
    return tmp_path


def test_a_bucket_that_holds_what_a_backup_names_is_well(lists):
    for now in ("as it was", "more"):
        assert object_store.refuse_lost(lists / "as it was", lists / now, WHERE) == 2


@pytest.mark.parametrize("now", ["changed", "lost"])
def test_artifacts_that_are_gone_or_others_are_told_with_one_of_them(lists, now):
    with pytest.raises(StackError, match=f"1 of 2 artifacts in {WHERE} .*among them 1/b"):
        object_store.refuse_lost(lists / "as it was", lists / now, WHERE)
