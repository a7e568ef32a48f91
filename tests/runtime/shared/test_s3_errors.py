"""Test the translation of AWS errors to problems of a bucket."""

import pytest

DESTINATION = "s3://models/of/this"


@pytest.fixture
def errors(script):
    return script("shared.s3_errors")


class ClientError(Exception):
    """Fake of the AWS library's exception for an error response."""

    def __init__(self, code, operation="PutObject", **headers):
        super().__init__(f"{code} with a-secret-key")
        self.operation_name = operation
        metadata = {"HTTPHeaders": headers}
        self.response = {"Error": {"Code": code}, "ResponseMetadata": metadata}


def kind(name, *parents, module=__name__):
    return type(name, parents or (Exception,), {"__module__": module})


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (ClientError("AccessDenied"), "bucket-denied", "s3:PutObject for s3://models/of/this"),
        (ClientError("403", "HeadObject"), "bucket-denied", "lacks the right s3:GetObject"),
        (ClientError("AccessDenied", "ListObjectsV2"), "bucket-denied", "s3:ListBucket"),
        (ClientError("AccessDenied", "UploadPart"), "bucket-denied", "s3:PutObject"),
        (ClientError("NoSuchBucket"), "bucket-missing", "no such bucket"),
        (ClientError("SignatureDoesNotMatch"), "bucket-key", "AWS_SECRET_ACCESS_KEY"),
        (ClientError("ExpiredToken"), "bucket-key", "does not accept"),
        (ClientError("PermanentRedirect", **{"x-amz-bucket-region": "eu-west-1"}),
         "bucket-region", "Set AWS_DEFAULT_REGION=eu-west-1 in .env"),
        (ClientError("AuthorizationHeaderMalformed"), "bucket-region", "Set AWS_DEFAULT_REGION in"),
        (ClientError("RequestTimeTooSkewed"), "bucket-clock", "timedatectl"),
        (ClientError("QuotaExceeded"), "bucket-full", "no room"),
        (ClientError("SlowDown"), "bucket-busy", "overloaded"),
        (ClientError("Teapot"), "bucket-unusable", "returned Teapot"),
        (kind("NoCredentialsError")(), "bucket-key", "no key"),
        (kind("ProfileNotFound")(), "bucket-key", "AWS_PROFILE"),
        (kind("EndpointConnectionError", kind("ConnectionError"))(), "bucket-unreachable", "AWS"),
        (kind("ReadTimeoutError", kind("HTTPClientError"))(), "bucket-unreachable", "answer"),
        (kind("ProtocolError", kind("HTTPError"))(), "bucket-unreachable", "does not answer"),
        (kind("SSLError", kind("ConnectionError"))(), "bucket-certificate", "AWS_CA_BUNDLE"),
        (kind("ParamValidationError")(), "bucket-settings", "AWS_*"),
    ],
    ids=lambda value: getattr(value, "args", value) and str(value)[:30],
)  # fmt: skip
def test_explain_returns_problem_without_secrets(errors, monkeypatch, error, name, text):
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    trouble = errors.explain(error, DESTINATION)
    assert trouble.name == name
    assert text in f"{trouble.cause}; {trouble.fix}"
    assert "a-secret-key" not in str(trouble)
    assert "{" not in str(trouble.cause + trouble.fix)


def test_is_missing_object_excludes_missing_bucket(errors):
    assert errors.is_missing_object(ClientError("NoSuchKey", "GetObject"))
    assert errors.is_missing_object(ClientError("404", "HeadObject"))
    assert not errors.is_missing_object(ClientError("NoSuchBucket", "GetObject"))
    assert not errors.is_missing_object(ClientError("404", "HeadBucket"))


def test_explain_upload_error_uses_its_context(errors):
    error = kind("S3UploadFailedError", module="boto3.exceptions")("Failed to upload")
    error.__context__ = ClientError("AccessDenied", "CreateMultipartUpload")
    assert errors.explain(error, DESTINATION).name == "bucket-denied"
