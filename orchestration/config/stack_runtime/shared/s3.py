"""Buckets: settings, time limits, a trial and a list.

`python -m stack_runtime.shared.s3 try s3://bucket/prefix` writes, reads and deletes a small object
and prints the problem as JSON, with its fix; an empty object if there is none. `list` prints what
is there, a line of JSON each: name, size in bytes, and the server's own hash of it.
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
    errors_of_aws,
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


def is_bucket(destination: str) -> bool:
    """Whether artifacts are kept in one, and not in a folder."""
    return destination.startswith("s3://")


def bucket_and_prefix(destination: str) -> tuple[str, str]:
    """The name of the bucket, and what names in it begin with; blank for nothing."""
    parts = urlsplit(destination)
    return parts.netloc, parts.path.strip("/")


def drop_blank_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove blank settings; request no checksums from a server other than AWS."""
    for name in BLANK_MEANS_NONE:
        if not environment.get(name):
            environment.pop(name, None)
    if any(name in environment for name in ADDRESSES):
        for name in CHECKSUMS:
            environment.setdefault(name, "when_required")


def shorten_timeouts(botocore_config: Any) -> None:
    """Give every client of AWS's library in this process these time limits."""
    botocore_config.Config.OPTION_DEFAULTS.update(BRIEF)


SHORT_TIMEOUTS = Patch(
    name="short-bucket-timeouts",
    module="botocore.config",
    needs=tuple(f"Config.OPTION_DEFAULTS.{name}" for name in BRIEF),
    distribution="botocore",
    versions=">=1.34,<2",
    kind=Kind.CORRECTNESS,
    reason="Each request to a bucket that does not answer takes minutes, five times over.",
    upstream="none",
    delete_when="botocore reads time limits from the environment",
    apply=shorten_timeouts,
)


@contextmanager
def brief() -> Iterator[None]:
    """Shorten time limits meanwhile (SHORT_TIMEOUTS), in a process that also runs other code."""
    from botocore import config

    defaults = config.Config.OPTION_DEFAULTS
    before = {name: defaults[name] for name in BRIEF}
    shorten_timeouts(config)
    try:
        yield
    finally:
        defaults.update(before)


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
    drop_blank_settings()
    # Whoever gives out the key of a role is asked too.
    load(SHORT_TIMEOUTS)
    do, destination = sys.argv[1:]
    if do == "list":
        print_list(destination)
    else:
        trouble = tried(destination)
        json.dump(asdict(trouble) if trouble else {}, sys.stdout)


if __name__ == "__main__":
    main()
