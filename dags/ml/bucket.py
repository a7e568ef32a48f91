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


# Of those that are no errors of the server's, by their numbers.
PASS = ("RequestTimeout", "TooManyRequests", "408", "429")


class Unreached(Exception):
    """The server did not answer, or not to the end: it may another time."""


def holds(uri: str) -> bool:
    """Whether it is the address of a file there, `s3://bucket/name`."""
    return uri.startswith("s3://")


@contextmanager
def fetched(uri: str) -> Iterator[str]:
    """The path of a copy with the same ending, which goes afterwards.

    Keys, region and server are those of the environment, as AWS's library has them. Raises OSError
    where the server refuses the file, Unreached, both with what the library says.
    """
    # Only who keeps data there waits for it.
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
    # Not by a parser of URLs: a name may hold what has a meaning to it.
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(name).name or "file")
        try:
            client = boto3.client("s3", config=Config(s3={"addressing_style": style}, **PATIENCE))
            client.download_file(bucket, name, str(path))
        except ClientError as error:
            passes = error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or (
                error.response["Error"]["Code"] in PASS
            )
            raise (Unreached if passes else OSError)(str(error)) from error
        except (Boto3Error, BotoCoreError, HTTPError) as error:
            raise Unreached(f"cannot fetch {uri}: {error}") from error
        yield str(path)
