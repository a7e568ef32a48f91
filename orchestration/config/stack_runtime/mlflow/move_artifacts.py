"""Copy artifacts from a folder into MLflow's bucket, and verify each copy by its hash.

`python -m stack_runtime.mlflow.move_artifacts FOLDER SINCE copy|count` handles the files that
changed since then (seconds since 1970) and prints its progress as lines of JSON. Files that the
bucket already contains unchanged are skipped, so an interrupted copy can resume. Nothing is
deleted.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from stack_runtime.mlflow.artifact_folder import FILE, Failure, printable, walk
from stack_runtime.shared import patch_registry, s3, s3_errors

# Requests mostly wait for answers, so several run at once. Large files are sent in parts anyway.
THREADS = 8
CHUNK_BYTES = 1 << 20
# S3 allows 1,024 bytes. The prefix of the destination needs some of them.
LONGEST_KEY_BYTES = 900
# Seconds before each check of a new object. Some servers do not return an upload immediately.
CHECK_DELAYS = (0, 1)


class ContentMismatch(Exception):
    """The bucket returned different content than was written."""


@dataclass
class Progress:
    """Files and bytes that were checked, their totals, and the bytes that were sent."""

    files: int = 0
    of_files: int = 0
    bytes: int = 0
    of_bytes: int = 0
    sent: int = 0


class Target:
    """The bucket for artifacts, and the prefix of their names."""

    def __init__(self, client: Any, destination: str, *, last: bool = False) -> None:
        self.client, self.last = client, last
        self.bucket, self.prefix = s3.bucket_and_prefix(destination)

    def copy(self, path: Path, name: str) -> int:
        """Copy a file unless the bucket contains it; return the bytes that were sent.

        Files that disappear or change meanwhile are left to the last round. Raises ContentMismatch,
        OSError and `aws_errors`.
        """
        key = "/".join(filter(None, (self.prefix, name)))
        with suppress(FileNotFoundError):
            before = path.stat()
            with path.open("rb") as file:
                expected = digest(file)
            if self.content_hash(key, before.st_size) == expected:
                return 0
            self.client.upload_file(str(path), self.bucket, key)
            for delay in CHECK_DELAYS:
                time.sleep(delay)
                if self.content_hash(key, before.st_size) == expected:
                    return before.st_size
            if self.last or path.stat().st_ctime_ns == before.st_ctime_ns:
                raise ContentMismatch(key)
        return 0

    def content_hash(self, key: str, size: int) -> str:
        """Return the hash of an object; blank if it is missing or has another size."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
        except s3_errors.aws_errors() as error:
            if s3_errors.is_missing_object(error):
                return ""
            raise
        with answer["Body"] as body:
            return digest(body) if answer["ContentLength"] == size else ""


def digest(stream: IO[bytes]) -> str:
    """Return the SHA-256 of a stream."""
    sha256 = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        sha256.update(chunk)
    return sha256.hexdigest()


def changed_since(folder: Path, moment: float) -> dict[Path, int]:
    """Return files and their sizes, selected by ctime because copies keep the original mtime.

    A bucket has no links: each counts as the file or folder that it points to. Raises Failure if a
    bucket cannot store a name.
    """
    sizes = {}
    for name, kind in walk(os.fsencode(folder), follow=lambda name, target: True):
        path = folder / os.fsdecode(name)
        with suppress(FileNotFoundError):
            if kind == FILE and (status := path.stat()).st_ctime >= moment:
                refuse_name(name)
                sizes[path] = status.st_size
    return dict(sorted(sizes.items()))


def refuse_name(name: bytes) -> None:
    """Raise Failure if the name of an artifact is not UTF-8, or too long for a bucket."""
    problem = ""
    if len(name) > LONGEST_KEY_BYTES:
        problem = f"has {len(name):,} bytes instead of at most {LONGEST_KEY_BYTES:,}"
    try:
        name.decode()
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    if problem:
        raise Failure(f"a bucket cannot store {printable(name)}: its name {problem}", "Rename it.")


def copy_files(target: Target, folder: Path, sizes: Mapping[Path, int]) -> Iterator[Progress]:
    """Copy all files and yield the progress after each. Raises the errors of `Target.copy`."""
    progress = Progress(of_files=len(sizes), of_bytes=sum(sizes.values()))
    with ThreadPoolExecutor(THREADS) as pool:
        names = [str(path.relative_to(folder)) for path in sizes]
        try:
            for size, sent in zip(sizes.values(), pool.map(target.copy, sizes, names), strict=True):
                progress.files, progress.bytes = progress.files + 1, progress.bytes + size
                progress.sent += sent
                yield progress
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main(folder: Path, since: float, *, copy: bool) -> None:
    """Copy or only count the changed files; the last line printed is the result."""
    destination = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    try:
        sizes = changed_since(folder, since)
        totals = asdict(Progress(of_files=len(sizes), of_bytes=sum(sizes.values())))
        print(json.dumps(totals), flush=True)
        if copy:
            copy_all(folder, sizes, destination, last=since > 0)
    except Failure as error:
        print(json.dumps({"cause": error.cause, "fix": error.fix}))
    except OSError as error:
        cause = f"{printable(os.fsencode(error.filename or folder))}: {error.strerror}"
        print(json.dumps({"cause": cause, "fix": "Make it readable."}))


def copy_all(folder: Path, sizes: Mapping[Path, int], destination: str, *, last: bool) -> None:
    """Copy files and print the progress, or the problem that prevents it."""
    s3.drop_blank_settings()
    patch_registry.load(s3.SHORT_TIMEOUTS)
    try:
        # In the last round MLflow is stopped, so a file that still changes is an error.
        target = Target(s3.client(), destination, last=last)
        for progress in copy_files(target, folder, sizes):
            print(json.dumps(asdict(progress)), flush=True)
    except s3_errors.aws_errors() as error:
        print(json.dumps(asdict(s3_errors.explain(error, destination))))
    except ContentMismatch as error:
        trouble = asdict(s3_errors.CHANGED)
        print(json.dumps({**trouble, "cause": f"{trouble['cause']}: {error}"}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), copy=sys.argv[3] == "copy")
