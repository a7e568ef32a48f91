"""A file in S3: fetched for as long as it is read."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# By itself it would ask five times, for a minute each; a task is tried again anyway.
PATIENCE = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}


def holds(uri: str) -> bool:
    """Whether it is the address of a file there, `s3://bucket/name`."""
    return uri.startswith("s3://")


@contextmanager
def fetched(uri: str) -> Iterator[str]:
    """The path of a copy with the same ending, which goes afterwards.

    Keys, region and server are those of the environment, as AWS's library has them. Raises OSError
    with what it says where the file cannot be had.
    """
    # Only who keeps data there waits for it.
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
    # Not by a parser of URLs: a name may hold what has a meaning to it.
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(name).name or "file")
        try:
            client = boto3.client("s3", config=Config(s3={"addressing_style": style}, **PATIENCE))
            client.download_file(bucket, name, str(path))
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error
        yield str(path)
