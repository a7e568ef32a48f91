"""A bucket's errors: what each means."""

import pytest

WHERE = "s3://models/of/this"


@pytest.fixture
def errors(script):
    return script("shared.s3_errors")


class ClientError(Exception):
    """As AWS's library raises it for an answer that is an error."""

    def __init__(self, code, operation="PutObject", **headers):
        super().__init__(f"{code} with a-secret-key")
        self.operation_name = operation
        metadata = {"HTTPHeaders": headers}
        self.response = {"Error": {"Code": code}, "ResponseMetadata": metadata}


def kind(name, *parents, module=__name__):
    return type(name, parents or (Exception,), {"__module__": module})


@pytest.mark.parametrize(
    ("error", "name", "words"),
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
        (ClientError("Teapot"), "bucket-unusable", "says Teapot"),
        (kind("NoCredentialsError")(), "bucket-key", "no key"),
        (kind("ProfileNotFound")(), "bucket-key", "AWS_PROFILE"),
        (kind("EndpointConnectionError", kind("ConnectionError"))(), "bucket-unreachable", "AWS"),
        (kind("ReadTimeoutError", kind("HTTPClientError"))(), "bucket-unreachable", "answer"),
        (kind("ProtocolError", kind("HTTPError"))(), "bucket-unreachable", "does not answer"),
        (kind("SSLError", kind("ConnectionError"))(), "bucket-certificate", "AWS_CA_BUNDLE"),
        (kind("ParamValidationError")(), "bucket-settings", "AWS_*"),
    ],
    ids=lambda given: getattr(given, "args", given) and str(given)[:30],
)  # fmt: skip
def test_an_error_is_told_by_name_with_its_fix_and_without_what_it_quotes(
    errors, monkeypatch, error, name, words
):
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    trouble = errors.understood(error, WHERE)
    assert trouble.name == name
    assert words in f"{trouble.cause}; {trouble.fix}"
    assert "a-secret-key" not in str(trouble)
    assert "{" not in str(trouble.cause + trouble.fix)


def test_an_artifact_that_is_not_there_is_no_trouble_of_the_bucket(errors):
    assert errors.is_of_an_object(ClientError("NoSuchKey", "GetObject"))
    assert errors.is_of_an_object(ClientError("404", "HeadObject"))
    assert not errors.is_of_an_object(ClientError("NoSuchBucket", "GetObject"))
    assert not errors.is_of_an_object(ClientError("404", "HeadBucket"))


def test_an_upload_s_error_is_the_one_that_it_tells_in_words(errors):
    failed = kind("S3UploadFailedError", module="boto3.exceptions")("Failed to upload")
    failed.__context__ = ClientError("AccessDenied", "CreateMultipartUpload")
    assert errors.understood(failed, WHERE).name == "bucket-denied"
