"""What errors of AWS's library mean for what is kept in a bucket: a cause by name, and its fix."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

IN_ENV = "in .env, then run: inv up"


@dataclass(frozen=True)
class Trouble:
    """What is in the way: a name for machines, one line for people, and what to do."""

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
    "the certificate of its server is of no authority that is trusted",
    f"Set AWS_CA_BUNDLE to a file with that authority {IN_ENV}",
)
SETTINGS = Trouble(
    "bucket-settings", "these settings are not understood", f"Correct AWS_* {IN_ENV}"
)
UNKNOWN = Trouble("bucket-unusable", "its server says {code}", "inv logs")
CHANGED = Trouble("bucket-unusable", "it gives back another content than was written",
                  "Check what is between it and this machine.")  # fmt: skip
# Of a server other than AWS, for MLflow and for all others.
ADDRESSES = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
# What servers say, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; a question
# without a body is answered by a number alone.
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
# Of AWS's library, by the name of its exception.
BY_KIND = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
                     "ProfileNotFound", "TokenRetrievalError"), NO_KEYS),
    "SSLError": UNTRUSTED,
    **dict.fromkeys(("InvalidRegionError", "ParamValidationError", "InvalidConfigError"), SETTINGS),
    **dict.fromkeys(("HTTPClientError", "ConnectionError", "EndpointConnectionError", "HTTPError"),
                    AWAY),
}  # fmt: skip
# What a question is called, where it is not the right that it needs.
RIGHTS = {
    "ListObjectsV2": "ListBucket", "ListObjects": "ListBucket", "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject", "HeadBucket": "ListBucket",
}  # fmt: skip


def understood(error: BaseException, destination: str) -> Trouble:
    """What an error of AWS's library means for what is kept at a destination."""
    error = _told_by_server(error)
    told = getattr(error, "response", None) or {}
    code = str(told.get("Error", {}).get("Code", ""))
    known = BY_CODE.get(code) or next(_by_kind(error), UNKNOWN)
    asked = str(getattr(error, "operation_name", ""))
    headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region", "")
    words = {
        "right": f"s3:{RIGHTS.get(asked, asked)}",
        "where": destination,
        "server": next(filter(None, map(os.environ.get, ADDRESSES)), "AWS"),
        "region": f", {region}" if region else "",
        "to": f"={region}" if region else "",
        # Its text may quote what was asked, keys included.
        "code": code or type(error).__name__,
    }
    return Trouble(known.name, known.cause.format(**words), known.fix.format(**words))


def is_of_one(error: BaseException) -> bool:
    """Whether it is about what was sent, and neither about the bucket nor about its server."""
    error = _told_by_server(error)
    if not isinstance(error, errors_of_aws()):
        return True
    told = getattr(error, "response", None) or {}
    status = told.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return 400 <= status < 500 and str(told.get("Error", {}).get("Code", "")) not in BY_CODE


def _told_by_server(error: BaseException) -> BaseException:
    # What a large file is sent by tells it in words, and holds what it was told itself.
    return error.__cause__ or error.__context__ or error if _of_boto3(error) else error


def _of_boto3(error: BaseException) -> bool:
    return type(error).__module__.startswith("boto3.")


def _by_kind(error: BaseException) -> Iterator[Trouble]:
    for kind in type(error).__mro__:
        if kind.__name__ in BY_KIND:
            yield BY_KIND[kind.__name__]


def errors_of_aws() -> tuple[type[Exception], ...]:
    """What AWS's library raises."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    # The last of an answer that was cut off, which it lets through.
    return Boto3Error, BotoCoreError, ClientError, HTTPError


def is_of_an_object(error: BaseException) -> bool:
    """Whether what was asked for is not there, in a bucket that is."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    asked = getattr(error, "operation_name", "")
    return code in ("NoSuchKey", "404") and asked in ("HeadObject", "GetObject")
