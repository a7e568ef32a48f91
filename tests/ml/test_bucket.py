"""Test reading rows from a bucket, with a fake client and with AWS's client but no server."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from ml import Refused, bucket, data
from urllib3.exceptions import ProtocolError

from tests.ml.conftest import CHURN
from tests.support.http_stub import unused_port

ROWS = CHURN.function("sample")()


@pytest.fixture
def fake_client_calls(monkeypatch):
    """Return the calls of a fake AWS client that writes files."""
    calls: list[Any] = []

    def download_file(*arguments):
        calls.append(arguments)
        rows = ROWS.head(20)
        rows.to_parquet(arguments[2]) if arguments[2].endswith(".parquet") else rows.to_csv(
            arguments[2]
        )

    def paginate(Bucket, Prefix):
        calls.append((Bucket, Prefix))
        return [{"Contents": [{"Key": f"{Prefix}{name}"} for name in ("b.csv", "x", "a.csv")]}]

    def client(kind, config):
        calls.append((kind, config.s3))
        paginator = SimpleNamespace(paginate=paginate)
        return SimpleNamespace(download_file=download_file, get_paginator=lambda _: paginator)

    monkeypatch.setattr(boto3, "client", client)
    return calls


@pytest.mark.parametrize("name", ["a/own.csv", "a/own.parquet", "with%20and?#.csv"])
def test_read_bucket_file_leaves_no_copy(fake_client_calls, monkeypatch, name):
    monkeypatch.setenv("DATASET_URI_CHURN", f"s3://data/{name}")
    monkeypatch.setenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "path")
    pd.testing.assert_frame_equal(
        data.check(CHURN, data.read(CHURN)), data.check(CHURN, ROWS.head(20))
    )
    assert fake_client_calls[0] == ("s3", {"addressing_style": "path"})
    assert fake_client_calls[1][:2] == ("data", name)
    assert not Path(fake_client_calls[1][2]).parent.exists()


def test_read_bucket_folder_sorts_files(fake_client_calls):
    rows = data.read(CHURN, "s3://data/folder/")
    assert [call[1] for call in fake_client_calls[2:]] == ["folder/a.csv", "folder/b.csv"]
    assert len(rows) == 40


def client_error(status, code):
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "HeadObject")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (client_error(404, "404"), Refused),
        (client_error(403, "AccessDenied"), Refused),
        (client_error(503, "SlowDown"), bucket.Unreached),
        (ProtocolError("cut off"), bucket.Unreached),
    ],
)
def test_read_bucket_error_is_refused_or_unreached(monkeypatch, error, expected):
    def download_file(*_):
        raise error

    client = SimpleNamespace(download_file=download_file)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    with pytest.raises(expected):
        data.read(CHURN, "s3://data/own.csv")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://data/own.csv", r"cannot reach s3://data/own\.csv: .*connect"),
        ("s3://data/folder/", r"cannot reach s3://data/folder/: .*connect"),
    ],
)
def test_read_unreachable_bucket_names_address(monkeypatch, address, reason):
    monkeypatch.setitem(bucket.PATIENCE, "retries", {"total_max_attempts": 1})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(bucket.Unreached, match=reason):
        data.read(CHURN, address)
