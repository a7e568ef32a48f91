"""Copy artifacts of a folder into MLflow's bucket; each is read back and compared by its hash.

`python -m stack_runtime.mlflow.move_artifacts FOLDER SINCE copy|tell` takes the files that changed
since then (seconds since 1970) and prints its progress, a line of JSON at a time. What is in the
bucket already with the same content stays, so an interrupted copy continues where it ended. Nothing
is deleted anywhere.
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

from stack_runtime.shared import patch_registry, s3, s3_errors

# A request takes longer to answer than to ask for; large files are sent in several parts anyway.
AT_ONCE = 8
CHUNK_BYTES = 1 << 20
# Seconds. Not every server shows at once what it has taken.
SHOWN_AFTER = (0, 1)


class Changed(Exception):
    """The bucket gives back another content than was written."""


@dataclass
class Done:
    """How far it is: files and bytes looked at, of how many, and what of it was sent."""

    files: int = 0
    of_files: int = 0
    bytes: int = 0
    of_bytes: int = 0
    sent: int = 0


class Target:
    """Where artifacts go: a bucket, and what their names begin with."""

    def __init__(self, client: Any, destination: str, *, last: bool = False) -> None:
        self.client, self.last = client, last
        self.bucket, self.prefix = s3.bucket_and_prefix(destination)

    def takes(self, path: Path, name: str) -> int:
        """Have a file there with its content; the bytes that had to be sent for it.

        One that goes or is written to meanwhile is left to the last round. Raises Changed, OSError
        and what AWS's library raises.
        """
        key = "/".join(filter(None, (self.prefix, name)))
        with suppress(FileNotFoundError):
            before = path.stat()
            with path.open("rb") as file:
                wanted = digest(file)
            if self.held(key, before.st_size) == wanted:
                return 0
            self.client.upload_file(str(path), self.bucket, key)
            for pause in SHOWN_AFTER:
                time.sleep(pause)
                if self.held(key, before.st_size) == wanted:
                    return before.st_size
            if self.last or path.stat().st_ctime_ns == before.st_ctime_ns:
                raise Changed(key)
        return 0

    def held(self, key: str, size: int) -> str:
        """The hash of what is there under a name; blank for none, or one of another size."""
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=key)
        except s3_errors.errors_of_aws() as error:
            if s3_errors.is_of_an_object(error):
                return ""
            raise
        with found["Body"] as body:
            return digest(body) if found["ContentLength"] == size else ""


def digest(stream: IO[bytes]) -> str:
    """SHA-256 of all that comes."""
    made = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        made.update(chunk)
    return made.hexdigest()


def changed_since(folder: Path, moment: float) -> dict[Path, int]:
    """Files and their bytes, by when this machine last touched them: a copy keeps another time."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                known = path.stat()
                if known.st_ctime >= moment:
                    found[path] = known.st_size
    return dict(sorted(found.items()))


def moved(target: Target, folder: Path, sizes: Mapping[Path, int]) -> Iterator[Done]:
    """Have all of them there; tells after each how far it is. Raises as `takes` does."""
    done = Done(of_files=len(sizes), of_bytes=sum(sizes.values()))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = [str(path.relative_to(folder)) for path in sizes]
        try:
            for size, sent in zip(
                sizes.values(), pool.map(target.takes, sizes, names), strict=True
            ):
                done.files, done.bytes = done.files + 1, done.bytes + size
                done.sent += sent
                yield done
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main(folder: Path, since: float, *, copy: bool) -> None:
    """Copy what changed since, or only count it; the last line is what came of it."""
    sizes, destination = changed_since(folder, since), os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    told = asdict(Done(of_files=len(sizes), of_bytes=sum(sizes.values())))
    print(json.dumps(told), flush=True)
    if not copy:
        return
    s3.drop_blank_settings()
    patch_registry.load(s3.SHORT_TIMEOUTS)
    try:
        # Nobody writes any more while what changed since the first round is copied.
        target = Target(s3.client(), destination, last=since > 0)
        for done in moved(target, folder, sizes):
            print(json.dumps(asdict(done)), flush=True)
    except s3_errors.errors_of_aws() as error:
        print(json.dumps(asdict(s3_errors.understood(error, destination))))
    except Changed as error:
        trouble = asdict(s3_errors.CHANGED)
        print(json.dumps({**trouble, "cause": f"{trouble['cause']}: {error}"}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), copy=sys.argv[3] == "copy")
