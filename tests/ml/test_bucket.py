"""Read rows from a bucket: with AWS's client and no server, and with a fake client."""

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
def paper(monkeypatch):
    """Replace the client by one that writes files, and return its calls."""
    asked: list[Any] = []

    def download_file(*given):
        asked.append(given)
        few = ROWS.head(20)
        few.to_parquet(given[2]) if given[2].endswith(".parquet") else few.to_csv(given[2])

    def paginate(Bucket, Prefix):
        asked.append((Bucket, Prefix))
        return [{"Contents": [{"Key": f"{Prefix}{name}"} for name in ("b.csv", "x", "a.csv")]}]

    def client(kind, config):
        asked.append((kind, config.s3))
        paginator = SimpleNamespace(paginate=paginate)
        return SimpleNamespace(download_file=download_file, get_paginator=lambda _: paginator)

    monkeypatch.setattr(boto3, "client", client)
    return asked


@pytest.mark.parametrize("name", ["a/own.csv", "a/own.parquet", "with%20and?#.csv"])
def test_file_in_a_bucket_is_read_and_no_copy_stays(paper, monkeypatch, name):
    monkeypatch.setenv("DATASET_URI_CHURN", f"s3://data/{name}")
    monkeypatch.setenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "path")
    pd.testing.assert_frame_equal(
        data.check(CHURN, data.read(CHURN)), data.check(CHURN, ROWS.head(20))
    )
    assert paper[0] == ("s3", {"addressing_style": "path"})
    assert paper[1][:2] == ("data", name)
    assert not Path(paper[1][2]).parent.exists()


def test_folder_in_a_bucket_is_read_in_the_order_of_its_files(paper):
    rows = data.read(CHURN, "s3://data/folder/")
    assert [call[1] for call in paper[2:]] == ["folder/a.csv", "folder/b.csv"]
    assert len(rows) == 40


def answer(status, code):
    told: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(told, "HeadObject")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (answer(404, "404"), Refused),
        (answer(403, "AccessDenied"), Refused),
        (answer(503, "SlowDown"), bucket.Unreached),
        (ProtocolError("cut off"), bucket.Unreached),
    ],
)
def test_what_a_server_refuses_is_refused_and_what_may_pass_is_tried_again(
    monkeypatch, error, raised
):
    def download_file(*_):
        raise error

    client = SimpleNamespace(download_file=download_file)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    with pytest.raises(raised):
        data.read(CHURN, "s3://data/own.csv")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://data/own.csv", r"cannot reach s3://data/own\.csv: .*connect"),
        ("s3://data/folder/", r"cannot reach s3://data/folder/: .*connect"),
    ],
)
def test_a_server_that_is_not_there_or_a_name_that_is_none_is_told(monkeypatch, address, reason):
    monkeypatch.setitem(bucket.PATIENCE, "retries", {"total_max_attempts": 1})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(bucket.Unreached, match=reason):
        data.read(CHURN, address)
