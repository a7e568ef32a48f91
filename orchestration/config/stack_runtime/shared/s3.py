"""Settings and time limits for S3 buckets; test or list a bucket.

`python -m stack_runtime.shared.s3 try s3://bucket/prefix` writes, reads and deletes a small object.
It prints the problem and its fix as JSON, or an empty object. `list` prints one line of JSON per
object: name, size in bytes and the hash that the server reports.
"""

import json
import os
import secrets
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from stack_runtime.shared.patch_registry import Kind, Patch, load
from stack_runtime.shared.s3_errors import (
    ADDRESSES,
    CHANGED,
    SETTINGS,
    Trouble,
    aws_errors,
    explain,
)

# Compose always sets these. The AWS library treats a blank value differently from an unset one.
BLANK_MEANS_UNSET = (
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
# Over TLS the AWS library appends a checksum by default, which many other servers reject.
CHECKSUMS = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")
# Less than half a minute in total without an answer; the defaults take minutes, five times over.
TIME_LIMITS: dict[str, Any] = {
    # This applies to each address of a host; AWS's hosts have eight.
    "connect_timeout": 2,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}


def is_bucket(destination: str) -> bool:
    """Return whether a destination is a bucket, not a folder."""
    return destination.startswith("s3://")


def bucket_and_prefix(destination: str) -> tuple[str, str]:
    """Return the bucket's name and the prefix of its objects; blank if there is none."""
    parts = urlsplit(destination)
    return parts.netloc, parts.path.strip("/")


def drop_blank_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove blank settings, and disable optional checksums for servers other than AWS."""
    for name in BLANK_MEANS_UNSET:
        if not environment.get(name):
            environment.pop(name, None)
    if any(name in environment for name in ADDRESSES):
        for name in CHECKSUMS:
            environment.setdefault(name, "when_required")


def shorten_timeouts(botocore_config: Any) -> None:
    """Set TIME_LIMITS for all new AWS clients of this process."""
    botocore_config.Config.OPTION_DEFAULTS.update(TIME_LIMITS)


SHORT_TIMEOUTS = Patch(
    name="short-bucket-timeouts",
    module="botocore.config",
    needs=tuple(f"Config.OPTION_DEFAULTS.{name}" for name in TIME_LIMITS),
    distribution="botocore",
    versions=">=1.34,<2",
    kind=Kind.CORRECTNESS,
    reason="Each request to a bucket that does not answer takes minutes, five times over.",
    upstream="none",
    delete_when="botocore reads time limits from the environment",
    apply=shorten_timeouts,
)


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Apply SHORT_TIMEOUTS temporarily, in a process that also runs other code."""
    from botocore import config

    defaults = config.Config.OPTION_DEFAULTS
    before = {name: defaults[name] for name in TIME_LIMITS}
    shorten_timeouts(config)
    try:
        yield
    finally:
        defaults.update(before)


def config() -> Any:
    """Return a client configuration like MLflow's own, with TIME_LIMITS."""
    from botocore.config import Config

    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
    return Config(signature_version="s3v4", s3={"addressing_style": style}, **TIME_LIMITS)


def client() -> Any:
    """Return an S3 client. Raises ValueError, BotoCoreError."""
    import boto3

    # If it is unset, boto3 reads AWS_ENDPOINT_URL_S3 by itself.
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL")
    return boto3.client("s3", endpoint_url=endpoint, config=config())


def find_trouble(destination: str) -> Trouble | None:
    """Write, list, read and delete a small object; return the problem, if there is one."""
    bucket, prefix = bucket_and_prefix(destination)
    name = "/".join(filter(None, (prefix, f".tried-{secrets.token_hex(8)}")))
    body, location = secrets.token_bytes(64), {"Bucket": bucket, "Key": name}
    try:
        server = client()
        server.put_object(**location, Body=body)
        try:
            server.list_objects_v2(Bucket=bucket, Prefix=name)
            unchanged = server.get_object(**location)["Body"].read() == body
        except BaseException:
            with suppress(Exception):
                server.delete_object(**location)
            raise
        server.delete_object(**location)
    except aws_errors() as error:
        return explain(error, destination)
    except ValueError:
        # The endpoint URL is invalid.
        return SETTINGS
    return None if unchanged else CHANGED


def list_objects(destination: str) -> Iterator[dict[str, Any]]:
    """Yield all objects below a destination. Raises `aws_errors`."""
    bucket, prefix = bucket_and_prefix(destination)
    below = prefix and f"{prefix}/"
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below)
    for page in pages:
        for entry in page.get("Contents", ()):
            name = entry["Key"].removeprefix(below)
            yield {"name": name, "size": entry["Size"], "etag": entry["ETag"].strip('"')}


def print_list(destination: str) -> None:
    """Print all objects as JSON; raises SystemExit with the problem if that fails."""
    try:
        for entry in list_objects(destination):
            print(json.dumps(entry))
    except aws_errors() as error:
        trouble = explain(error, destination)
        sys.exit(f"{destination}: {trouble.cause}; {trouble.fix}")


def main() -> None:
    """Test a bucket, or list its objects."""
    drop_blank_settings()
    # For the whole process, because requests for the credentials of a role also need limits.
    load(SHORT_TIMEOUTS)
    command, destination = sys.argv[1:]
    if command == "list":
        print_list(destination)
    else:
        trouble = find_trouble(destination)
        json.dump(asdict(trouble) if trouble else {}, sys.stdout)


if __name__ == "__main__":
    main()
