"""The settings of buckets."""

import pytest


@pytest.fixture
def store(script):
    return script("shared.s3")


@pytest.mark.parametrize("name", ["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_server_other_than_aws_gets_no_checksums_that_it_may_not_know(store, name):
    environment = {name: "https://minio.example"}
    store.drop_blank_settings(environment)
    assert environment == {name: "https://minio.example",
                           **dict.fromkeys(store.CHECKSUMS, "when_required")}  # fmt: skip
    chosen = {**dict.fromkeys(store.CHECKSUMS, "when_supported"), name: "https://minio.example"}
    store.drop_blank_settings(chosen)
    assert set(chosen.values()) == {"when_supported", "https://minio.example"}
    blank = {name: ""}
    store.drop_blank_settings(blank)
    assert blank == {}


def test_blank_settings_are_left_out_and_others_stay(store):
    environment = {"AWS_DEFAULT_REGION": "", "AWS_PROFILE": "p", "OTHER": ""}
    store.drop_blank_settings(environment)
    assert environment == {"AWS_PROFILE": "p", "OTHER": ""}
