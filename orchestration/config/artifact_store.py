"""What is kept in a bucket: how long it is waited for, who is told of its errors, a trial.

`python artifact_store.py try s3://bucket/prefix`, where that is used, writes a small object, reads
and deletes it and prints what is in the way as JSON, with its fix; an empty object where nothing
is. `list` prints what is there, a line of JSON each: name, size in bytes, and the server's own hash
of it.
"""

import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from bucket_errors import (
    ADDRESSES,
    CHANGED,
    SETTINGS,
    Trouble,
    errors_of_aws,
    is_of_an_object,
    understood,
)

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
    "AWS_ENDPOINT_URL_S3",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
)
# By itself AWS's library sends a checksum behind what it sends by TLS, which many servers refuse.
CHECKSUMS = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")
# Together under half a minute, where nothing answers: by default minutes, five times over.
BRIEF: dict[str, Any] = {
    # For each address that a name has: AWS's have eight.
    "connect_timeout": 2,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
# One that MLflow's client does not repeat: it would for minutes, and say nothing.
FAILED_DEPENDENCY = 424
# What MLflow's server asks of a bucket.
ASKED = (
    "log_artifact", "log_artifacts", "list_artifacts", "download_artifacts", "_download_file",
    "delete_artifacts",
)  # fmt: skip
LOG = logging.getLogger("mlflow.store.artifact")


def is_bucket(destination: str) -> bool:
    """Whether artifacts are kept in one, and not in a folder."""
    return destination.startswith("s3://")


def bucket_and_prefix(destination: str) -> tuple[str, str]:
    """The name of the bucket, and what names in it begin with; blank for nothing."""
    parts = urlsplit(destination)
    return parts.netloc, parts.path.strip("/")


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Leave out settings that are blank; ask a server other than AWS nothing that is new there."""
    for name in BLANK_MEANS_NONE:
        if not environment.get(name):
            environment.pop(name, None)
    if any(name in environment for name in ADDRESSES):
        for name in CHECKSUMS:
            environment.setdefault(name, "when_required")


def be_brief() -> None:
    """Have AWS's library wait this long, whoever uses it in this process."""
    from botocore.config import Config

    assert BRIEF.keys() <= set(Config.OPTION_DEFAULTS)
    Config.OPTION_DEFAULTS.update(BRIEF)


@contextmanager
def brief() -> Iterator[None]:
    """Have it do so meanwhile: in a process that runs anybody's code besides."""
    from botocore.config import Config

    before = {name: Config.OPTION_DEFAULTS[name] for name in BRIEF}
    be_brief()
    try:
        yield
    finally:
        Config.OPTION_DEFAULTS.update(before)


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


def pass_on() -> None:
    """Have MLflow's server hand on what is asked for, and send nobody to the bucket.

    By itself it gives its clients addresses that open parts of it, which they must be able to reach
    and to trust, and wait for by minutes where they are not.
    """
    from mlflow.server import handlers

    class Nobody:
        """What no repository is one of."""

    assert {"MultipartUploadMixin", "MultipartDownloadMixin"} <= vars(handlers).keys()
    handlers.MultipartUploadMixin = handlers.MultipartDownloadMixin = Nobody


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


def config() -> Any:
    """How the server is asked, set as MLflow sets its own."""
    from botocore.config import Config

    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
    return Config(signature_version="s3v4", s3={"addressing_style": style}, **BRIEF)


def client() -> Any:
    """What asks the server. Raises ValueError, BotoCoreError."""
    import boto3

    # Without this one, AWS's library knows a name of its own.
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL")
    return boto3.client("s3", endpoint_url=endpoint, config=config())


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
        sys.exit(f"{destination}: {trouble.cause}; {trouble.fix}")


def main() -> None:
    """Try a bucket, or list what is there."""
    settle()
    # Whoever gives out the key of a role is asked too.
    be_brief()
    do, destination = sys.argv[1:]
    if do == "list":
        print_list(destination)
    else:
        trouble = tried(destination)
        json.dump(asdict(trouble) if trouble else {}, sys.stdout)


if __name__ == "__main__":
    main()
