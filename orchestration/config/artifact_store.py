"""MLflow's artifacts in a bucket: how long it is waited for, what its errors mean, and a trial.

`python artifact_store.py`, where MLflow's server runs, writes a small object, reads and deletes it
and prints what is in the way as JSON, with its fix; an empty object where nothing is. With `list`
it prints what is there, a line of JSON each: name, size in bytes, and the server's own hash of it.
"""

import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

# Set in compose for whoever uses them; a blank one is not the same as none to AWS's library.
BLANK_MEANS_NONE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
)
# Together under half a minute, where nothing answers: by default minutes, five times over.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 4, 10, 2
# One that MLflow's client does not repeat: it would for minutes, and say nothing.
FAILED_DEPENDENCY = 424
IN_ENV = "in .env, then: inv up"
# What MLflow's server asks of a bucket.
ASKED = (
    "log_artifact", "log_artifacts", "list_artifacts", "download_artifacts", "_download_file",
    "delete_artifacts",
)  # fmt: skip
LOG = logging.getLogger("mlflow.store.artifact")


@dataclass(frozen=True)
class Trouble:
    """What is in the way: a name for machines, one line for people, and what to do."""

    name: str
    cause: str
    fix: str


KEYS = Trouble(
    "bucket-key",
    "its server does not accept the key",
    f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, {IN_ENV}",
)
NO_KEYS = Trouble("bucket-key", "there is no key for it", KEYS.fix)
DENIED = Trouble("bucket-denied", "the key lacks the right {right}", "give it {right} for {where}")
MISSING = Trouble(
    "bucket-missing",
    "there is no such bucket",
    f"make it, or set MLFLOW_ARTIFACTS_DESTINATION {IN_ENV}",
)
REGION = Trouble(
    "bucket-region", "it is in another region{region}", f"set AWS_DEFAULT_REGION{{to}} {IN_ENV}"
)
CLOCK = Trouble(
    "bucket-clock",
    "its server refuses this machine's clock",
    "sudo timedatectl set-ntp true",
)
FULL = Trouble("bucket-full", "its server has no room for it", "make room there")
BUSY = Trouble("bucket-busy", "its server is overloaded", "try again later")
AWAY = Trouble(
    "bucket-unreachable",
    "its server does not answer",
    f"look whether {{server}} is up, or set MLFLOW_S3_ENDPOINT_URL {IN_ENV}",
)
UNTRUSTED = Trouble(
    "bucket-certificate",
    "the certificate of its server is of no authority that is trusted",
    f"set AWS_CA_BUNDLE to a file with that authority {IN_ENV}",
)
SETTINGS = Trouble("bucket-settings", "these settings are not understood", f"mend AWS_* {IN_ENV}")
UNKNOWN = Trouble("bucket-unusable", "its server says {code}", "inv logs -s mlflow")
CHANGED = Trouble("bucket-unusable", "it gives back another content than was written",
                  "look what stands between it and this machine")  # fmt: skip
# What servers say, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; a question
# without a body is answered by a number alone.
BY_CODE = {
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "403"), DENIED),
    **dict.fromkeys(("NoSuchBucket", "404"), MISSING),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
         "TokenRefreshRequired"), KEYS,
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "301", "AuthorizationHeaderMalformed",
         "IllegalLocationConstraintException"), REGION,
    ),
    "RequestTimeTooSkewed": CLOCK,
    **dict.fromkeys(("QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "507"), FULL),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "503"), BUSY),
}  # fmt: skip
# Of AWS's library, by the name of its exception.
BY_KIND = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
                     "ProfileNotFound", "TokenRetrievalError"), NO_KEYS),
    "SSLError": UNTRUSTED,
    **dict.fromkeys(("InvalidRegionError", "ParamValidationError", "InvalidConfigError"), SETTINGS),
    **dict.fromkeys(("HTTPClientError", "ConnectionError", "EndpointConnectionError"), AWAY),
}  # fmt: skip
# What a question is called, where it is not the right that it needs.
RIGHTS = {
    "ListObjectsV2": "ListBucket", "ListObjects": "ListBucket", "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject", "HeadBucket": "ListBucket",
}  # fmt: skip


def is_bucket(destination: str) -> bool:
    """Whether artifacts are kept in one, and not in a folder."""
    return destination.startswith("s3://")


def bucket_and_prefix(destination: str) -> tuple[str, str]:
    """The name of the bucket, and what names in it begin with; blank for nothing."""
    parts = urlsplit(destination)
    return parts.netloc, parts.path.strip("/")


def forget_blanks(environment: MutableMapping[str, str] = os.environ) -> None:
    """Leave out settings that are blank."""
    for name in BLANK_MEANS_NONE:
        if not environment.get(name):
            environment.pop(name, None)


def be_brief() -> None:
    """Have AWS's library wait this long, whoever uses it in this process."""
    from botocore.config import Config

    defaults = Config.OPTION_DEFAULTS
    assert {"connect_timeout", "read_timeout", "retries"} <= set(defaults)
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    defaults.update(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)


def understood(error: BaseException, destination: str) -> Trouble:
    """What an error of AWS's library means for artifacts that are kept at a destination."""
    # What a large file is sent by tells it in words, and holds what it was told itself.
    error = error.__cause__ or error.__context__ or error if _of_boto3(error) else error
    told = getattr(error, "response", None) or {}
    code = str(told.get("Error", {}).get("Code", ""))
    known = BY_CODE.get(code) or next(_by_kind(error), UNKNOWN)
    asked = str(getattr(error, "operation_name", ""))
    headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region", "")
    words = {
        "right": f"s3:{RIGHTS.get(asked, asked)}",
        "where": destination,
        "server": os.environ.get("MLFLOW_S3_ENDPOINT_URL") or "AWS",
        "region": f", {region}" if region else "",
        "to": f"={region}" if region else "",
        # Its text may quote what was asked, keys included.
        "code": code or type(error).__name__,
    }
    return Trouble(known.name, known.cause.format(**words), known.fix.format(**words))


def _of_boto3(error: BaseException) -> bool:
    return type(error).__module__.startswith("boto3.")


def _by_kind(error: BaseException) -> Iterator[Trouble]:
    for kind in type(error).__mro__:
        if kind.__name__ in BY_KIND:
            yield BY_KIND[kind.__name__]


def tell_errors(destination: str) -> None:
    """Have MLflow's server say in its answers what a bucket's error means, and log the error."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact import artifact_repository_registry as registry
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    def telling(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def tell(*given: Any, **named: Any) -> Any:
            try:
                return method(*given, **named)
            except (MlflowException, *errors_of_aws()) as error:
                raise answered(error, destination) from error

        return tell

    methods = {name: telling(getattr(S3ArtifactRepository, name)) for name in ASKED}
    telling_one = type("TellingArtifactRepository", (S3ArtifactRepository,), methods)
    registry._artifact_repository_registry.register("s3", telling_one)


def answered(error: Exception, destination: str) -> Any:
    """The exception that MLflow's server is to answer with where it met an error."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    begins = f"artifact store {destination}: "
    # Of several files that were asked for at once MLflow tells in lines.
    told = next((line for line in str(error).splitlines() if line.startswith(begins)), "")
    met = error if isinstance(error, errors_of_aws()) else error.__context__
    if not told:
        if not isinstance(met, errors_of_aws()):
            return error
        if is_of_an_object(met):
            return MlflowException("there is no such artifact", RESOURCE_DOES_NOT_EXIST)
        trouble = understood(met, destination)
        LOG.error("%s%s (%s)", begins, trouble.cause, met)
        told = f"{begins}{trouble.cause}; {trouble.fix}"
    failed = MlflowException(told)
    failed.get_http_status_code = lambda: FAILED_DEPENDENCY
    return failed


def errors_of_aws() -> tuple[type[Exception], ...]:
    """What AWS's library raises."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return Boto3Error, BotoCoreError, ClientError


def is_of_an_object(error: BaseException) -> bool:
    """Whether what was asked for is not there, in a bucket that is."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    asked = getattr(error, "operation_name", "")
    return code in ("NoSuchKey", "404") and asked in ("HeadObject", "GetObject")


def client() -> Any:
    """What asks the server, set as MLflow sets its own. Raises ValueError, BotoCoreError."""
    import boto3
    from botocore.config import Config

    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto")
    config = Config(signature_version="s3v4", s3={"addressing_style": style})
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL")
    return boto3.client("s3", endpoint_url=endpoint, config=config)


def tried(destination: str) -> Trouble | None:
    """What is in the way of an object that is written, listed, read and deleted again."""
    bucket, prefix = bucket_and_prefix(destination)
    name = "/".join(filter(None, (prefix, f".tried-{secrets.token_hex(8)}")))
    body, there = secrets.token_bytes(64), {"Bucket": bucket, "Key": name}
    try:
        asked = client()
        asked.put_object(**there, Body=body)
        try:
            asked.list_objects_v2(Bucket=bucket, Prefix=name)
            kept = asked.get_object(**there)["Body"].read() == body
        except BaseException:
            with suppress(Exception):
                asked.delete_object(**there)
            raise
        asked.delete_object(**there)
    except errors_of_aws() as error:
        return understood(error, destination)
    except ValueError:
        # An address that is none.
        return SETTINGS
    return None if kept else CHANGED


def listed(destination: str) -> Iterator[dict[str, Any]]:
    """Everything below a destination. Raises what AWS's library raises."""
    bucket, prefix = bucket_and_prefix(destination)
    below = prefix and f"{prefix}/"
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below)
    for page in pages:
        for one in page.get("Contents", ()):
            name = one["Key"].removeprefix(below)
            yield {"name": name, "size": one["Size"], "etag": one["ETag"].strip('"')}


def print_list(destination: str) -> None:
    """Print it; raises SystemExit with what is in the way."""
    try:
        for one in listed(destination):
            print(json.dumps(one))
    except errors_of_aws() as error:
        trouble = understood(error, destination)
        sys.exit(f"artifacts in {destination}: {trouble.cause}; {trouble.fix}")


def main() -> None:
    """Try the destination of the environment, or list what is there."""
    forget_blanks()
    destination = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    if not is_bucket(destination):
        sys.exit(f"{destination} is no bucket")
    be_brief()
    if sys.argv[1:] == ["list"]:
        print_list(destination)
        return
    trouble = tried(destination)
    json.dump(asdict(trouble) if trouble else {}, sys.stdout)


if __name__ == "__main__":
    main()
