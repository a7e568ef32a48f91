"""Read files from a local folder or an S3 bucket, and write them to a bucket."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# By default boto3 tries five times, a minute each. Airflow retries the task anyway.
RETRIES = {"mode": "standard", "total_max_attempts": 2}
PATIENCE = {"connect_timeout": 10, "read_timeout": 30, "retries": RETRIES}
# Errors with these codes or numbers can succeed on a retry.
TRANSIENT = ("RequestTimeout", "TooManyRequests", "408", "429")


class Unreached(Exception):
    """The server did not answer, or the connection broke. A retry can succeed."""


@contextmanager
def local_copies(uri: str, suffixes: Sequence[str]) -> Iterator[list[str]]:
    """Provide the local paths of one file, or of all files with a suffix in a folder, sorted.

    Copies from a bucket are deleted afterwards. Keys, region and server come from AWS's usual
    variables. Raises OSError if the server rejects a request, or Unreached.
    """
    if uri.startswith("s3://"):
        with tempfile.TemporaryDirectory() as folder:
            yield _download(uri, tuple(suffixes), Path(folder))
    elif Path(uri).is_dir():
        paths = sorted(Path(uri).iterdir())
        yield [str(path) for path in paths if path.name.endswith(tuple(suffixes))]
    else:
        yield [uri]


def client() -> Any:
    """Return a client of S3 with short time limits."""
    import boto3
    from botocore.config import Config

    style = os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") or "auto"
    return boto3.client("s3", config=Config(s3={"addressing_style": style}, **PATIENCE))


def upload(path: Path, uri: str) -> None:
    """Copy a file to a bucket. Raises OSError if the server rejects it, or Unreached."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with _errors(uri):
        client().upload_file(str(path), bucket, key)


def _download(uri: str, suffixes: tuple[str, ...], folder: Path) -> list[str]:
    # A parser of URLs would change keys with special characters.
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with _errors(uri):
        s3 = client()
        keys = [key]
        if not key or key.endswith("/"):
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            names = (entry["Key"] for page in pages for entry in page.get("Contents", ()))
            keys = sorted(name for name in names if name.endswith(suffixes))
        paths = [folder / f"{number}" / Path(name).name for number, name in enumerate(keys)]
        for name, path in zip(keys, paths, strict=True):
            path.parent.mkdir()
            s3.download_file(bucket, name, str(path))
    return [str(path) for path in paths]


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        is_transient = status >= 500 or error.response["Error"]["Code"] in TRANSIENT
        raise (Unreached if is_transient else OSError)(str(error)) from error
    except (Boto3Error, BotoCoreError, HTTPError) as error:
        raise Unreached(f"cannot reach {uri}: {error}") from error
