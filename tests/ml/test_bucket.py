"""Flights out of a bucket: by AWS's own client where nothing listens, and by one of paper."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from ml import Refused, bucket, data
from urllib3.exceptions import ProtocolError

from tests.support.http_stub import unused_port


@pytest.fixture
def paper(monkeypatch, flights):
    """A client that lays CSV where it is told to; what it was asked for."""
    asked: list[Any] = []

    def download_file(*given):
        asked.append(given)
        few = flights.head(20)
        few.to_parquet(given[2]) if given[2].endswith(".parquet") else few.to_csv(given[2])

    def client(kind, config):
        asked.append((kind, config.s3))
        return SimpleNamespace(download_file=download_file)

    monkeypatch.setattr(boto3, "client", client)
    return asked


@pytest.mark.parametrize("name", ["a/own.csv", "a/own.parquet", "with%20and?#.csv"])
def test_flights_in_a_bucket_are_read_and_no_copy_stays(flights, paper, monkeypatch, name):
    monkeypatch.setenv("DATASET_URI", f"s3://data/{name}")
    monkeypatch.setenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "path")
    pd.testing.assert_frame_equal(data.check(data.read()), flights.head(20))
    assert paper[0] == ("s3", {"addressing_style": "path"})
    assert paper[1][:2] == ("data", name)
    assert not Path(paper[1][2]).parent.exists()


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
        data.read("s3://data/own.csv")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://data/own.csv", r"cannot fetch s3://data/own\.csv: .*connect"),
        # A bucket without a name in it.
        ("s3://data", r"cannot fetch s3://data: (?s:.*) Key"),
    ],
)
def test_a_server_that_is_not_there_or_a_name_that_is_none_is_told(monkeypatch, address, reason):
    monkeypatch.setitem(bucket.PATIENCE, "retries", {"total_max_attempts": 1})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(bucket.Unreached, match=reason):
        data.read(address)
