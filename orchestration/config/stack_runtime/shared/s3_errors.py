"""Translate errors of the AWS library to a named problem of the bucket, with cause and fix."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

IN_ENV = "in .env, then run: inv up"


@dataclass(frozen=True)
class Trouble:
    """A problem with a bucket: a name for machines, a cause for people, and a fix."""

    name: str
    cause: str
    fix: str


KEYS = Trouble(
    "bucket-key",
    "its server does not accept the key",
    f"Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, {IN_ENV}",
)
NO_KEYS = Trouble("bucket-key", "there is no key for it", KEYS.fix)
DENIED = Trouble(
    "bucket-denied", "the key lacks the right {right}", "Grant it {right} for {where}."
)
MISSING = Trouble(
    "bucket-missing", "there is no such bucket", f"Create it, or set another one {IN_ENV}"
)
REGION = Trouble(
    "bucket-region", "it is in another region{region}", f"Set AWS_DEFAULT_REGION{{to}} {IN_ENV}"
)
CLOCK = Trouble(
    "bucket-clock", "its server refuses this machine's clock", "sudo timedatectl set-ntp true"
)
FULL = Trouble("bucket-full", "its server has no room for it", "Free space there.")
BUSY = Trouble("bucket-busy", "its server is overloaded", "Try again later.")
AWAY = Trouble(
    "bucket-unreachable",
    "its server does not answer",
    f"Check that {{server}} is up, or set MLFLOW_S3_ENDPOINT_URL {IN_ENV}",
)
UNTRUSTED = Trouble(
    "bucket-certificate",
    "the certificate of its server was issued by an untrusted authority",
    f"Set AWS_CA_BUNDLE to a file with that authority {IN_ENV}",
)
SETTINGS = Trouble("bucket-settings", "these settings are invalid", f"Correct AWS_* {IN_ENV}")
UNKNOWN = Trouble("bucket-unusable", "its server returned {code}", "inv logs")
CHANGED = Trouble("bucket-unusable", "it returned different content than was written",
                  "Check what is between it and this machine.")  # fmt: skip
# Endpoint of a server other than AWS: for MLflow, and for other programs.
ADDRESSES = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
# Error codes, from https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. The answer
# to a request without a body (HEAD) has a status number only.
BY_CODE = {
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "403"), DENIED),
    **dict.fromkeys(("NoSuchBucket", "404"), MISSING),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
         "TokenRefreshRequired"), KEYS,
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "301", "AuthorizationHeaderMalformed",
         "IllegalLocationConstraintException"), REGION,
    ),
    "RequestTimeTooSkewed": CLOCK,
    **dict.fromkeys(
        ("QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull",
         "507"), FULL,
    ),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "503"), BUSY),
}  # fmt: skip
# Errors of the AWS library, by the names of its exceptions.
BY_KIND = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
                     "ProfileNotFound", "TokenRetrievalError"), NO_KEYS),
    "SSLError": UNTRUSTED,
    **dict.fromkeys(("InvalidRegionError", "ParamValidationError", "InvalidConfigError"), SETTINGS),
    **dict.fromkeys(("HTTPClientError", "ConnectionError", "EndpointConnectionError", "HTTPError"),
                    AWAY),
}  # fmt: skip
# Operations whose names differ from the permission that they need.
RIGHTS = {
    "ListObjectsV2": "ListBucket", "ListObjects": "ListBucket", "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject", "HeadBucket": "ListBucket",
}  # fmt: skip


def explain(error: BaseException, destination: str) -> Trouble:
    """Return the problem that an error of the AWS library means for a destination."""
    error = _server_error(error)
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    trouble = BY_CODE.get(code) or next(_by_kind(error), UNKNOWN)
    operation = str(getattr(error, "operation_name", ""))
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region", "")
    words = {
        "right": f"s3:{RIGHTS.get(operation, operation)}",
        "where": destination,
        "server": next(filter(None, map(os.environ.get, ADDRESSES)), "AWS"),
        "region": f", {region}" if region else "",
        "to": f"={region}" if region else "",
        # Not the text of the error, which may quote the request with its keys.
        "code": code or type(error).__name__,
    }
    return Trouble(trouble.name, trouble.cause.format(**words), trouble.fix.format(**words))


def rejects_object(error: BaseException) -> bool:
    """Return whether an error concerns only the object sent, not the bucket or its server."""
    error = _server_error(error)
    if not isinstance(error, aws_errors()):
        return True
    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return 400 <= status < 500 and str(response.get("Error", {}).get("Code", "")) not in BY_CODE


def _server_error(error: BaseException) -> BaseException:
    # For uploads, boto3 raises an error with a text only; the server's error is its context.
    return error.__cause__ or error.__context__ or error if _of_boto3(error) else error


def _of_boto3(error: BaseException) -> bool:
    return type(error).__module__.startswith("boto3.")


def _by_kind(error: BaseException) -> Iterator[Trouble]:
    for kind in type(error).__mro__:
        if kind.__name__ in BY_KIND:
            yield BY_KIND[kind.__name__]


def aws_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that the AWS library raises."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    # HTTPError comes from an interrupted answer; the AWS library does not convert it.
    return Boto3Error, BotoCoreError, ClientError, HTTPError


def is_missing_object(error: BaseException) -> bool:
    """Return whether the bucket exists, but not the object that was requested."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    operation = getattr(error, "operation_name", "")
    return code in ("NoSuchKey", "404") and operation in ("HeadObject", "GetObject")
