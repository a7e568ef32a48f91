"""Test the settings of S3 clients."""

import pytest


@pytest.fixture
def s3(script):
    return script("shared.s3")


@pytest.mark.parametrize("name", ["MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_drop_blank_settings_disables_checksums_for_other_server(s3, name):
    environment = {name: "https://minio.example"}
    s3.drop_blank_settings(environment)
    assert environment == {name: "https://minio.example",
                           **dict.fromkeys(s3.CHECKSUMS, "when_required")}  # fmt: skip
    explicit = {**dict.fromkeys(s3.CHECKSUMS, "when_supported"), name: "https://minio.example"}
    s3.drop_blank_settings(explicit)
    assert set(explicit.values()) == {"when_supported", "https://minio.example"}
    blank = {name: ""}
    s3.drop_blank_settings(blank)
    assert blank == {}


def test_drop_blank_settings_keeps_others(s3):
    environment = {"AWS_DEFAULT_REGION": "", "AWS_PROFILE": "p", "OTHER": ""}
    s3.drop_blank_settings(environment)
    assert environment == {"AWS_PROFILE": "p", "OTHER": ""}
