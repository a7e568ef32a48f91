"""Pack and list the folder of MLflow's artifacts, whatever the names of the files are.

`python -m stack_runtime.mlflow.artifact_folder pack` writes a tar file to standard output. Names
are bytes everywhere: a file system accepts any byte but `/` and NUL. A failure is printed as JSON
with its cause and fix.
"""

import hashlib
import json
import os
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any

# A restore extracts into this folder of the artifacts, and renames from there.
STAGING = b".restoring"
FOLDER, FILE, LINK, OTHER = "folder", "file", "link", "other"
# The system accepts paths of 4,095 bytes. The folder of a restore may have a longer path.
LONGEST_NAME = 3800
# How names are stored in tar files: as they are.
TAR_NAMES: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
CHUNK_BYTES = 1 << 20


class Failure(Exception):
    """An expected failure, with its cause and fix as sentences."""

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(cause)
        self.cause, self.fix = cause, fix


def artifacts_folder() -> bytes:
    """Return the folder that MLflow stores artifacts in; create it if there is none yet."""
    folder = os.fsencode(os.environ["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("file://"))
    os.makedirs(folder, exist_ok=True)
    return folder


def text_of(name: bytes) -> str:
    """Return a name as `tarfile` handles it. `bytes_of` reverses this."""
    return name.decode("utf-8", "surrogateescape")


def bytes_of(name: str) -> bytes:
    """Return the bytes of a name from `tarfile`."""
    return name.encode("utf-8", "surrogateescape")


def printable(name: bytes) -> str:
    """Return a name with quotes, and with escapes for what cannot be printed."""
    text = text_of(name)
    return f"'{text}'" if text.isprintable() else ascii(text)


def leads_out(name: bytes, target: bytes) -> bool:
    """Return whether the target of a link is outside the folder that contains the link."""
    inside = os.path.normpath(os.path.join(os.path.dirname(name), target))
    return target.startswith(b"/") or inside.split(b"/")[0] == b".."


def walk(
    folder: bytes, follow: Callable[[bytes, bytes], bool] = leads_out
) -> Iterator[tuple[bytes, str]]:
    """Yield the name and kind of everything below a folder; each folder before its content.

    A link counts as what it points to if `follow(name, target)`. It remains a link if the target
    does not exist or contains the link. Raises OSError for a folder that cannot be read.
    """
    waiting: list[tuple[bytes, tuple[bytes, ...]]] = [(b"", ())]
    while waiting:
        parent, above = waiting.pop()
        above = (*above, os.path.realpath(os.path.join(folder, parent)))
        for name in _names(folder, parent):
            # A task may delete anything meanwhile.
            with suppress(FileNotFoundError):
                kind = _kind(folder, name, above, follow)
                yield name, kind
                if kind == FOLDER:
                    waiting.append((name, above))


def _names(folder: bytes, parent: bytes) -> list[bytes]:
    with suppress(FileNotFoundError):
        names = [os.path.join(parent, child) for child in os.listdir(os.path.join(folder, parent))]
        return sorted(name for name in names if name != STAGING)
    return []


def _kind(
    folder: bytes,
    name: bytes,
    above: tuple[bytes, ...],
    follow: Callable[[bytes, bytes], bool],
) -> str:
    path = os.path.join(folder, name)
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        real = os.path.join(os.path.realpath(path), b"")
        loop = any(os.path.join(one, b"").startswith(real) for one in above)
        if loop or not os.path.exists(path) or not follow(name, os.readlink(path)):
            return LINK
        status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        return FOLDER
    return FILE if stat.S_ISREG(status.st_mode) else OTHER


def pack(folder: bytes, into: IO[bytes]) -> None:
    """Write a tar file with everything below a folder, while tasks may write there.

    Raises Failure, before anything is written, if something could not be restored.
    """
    entries = list(walk(folder))
    for name, kind in entries:
        _refuse_unrestorable(folder, name, kind)
    # GNU's format stores names of any length as bytes.
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.GNU_FORMAT, **TAR_NAMES) as tar:
        for name, kind in entries:
            # A task may have deleted it meanwhile.
            with suppress(FileNotFoundError):
                _add(tar, folder, name, kind)


def _refuse_unrestorable(folder: bytes, name: bytes, kind: str) -> None:
    path, shown = os.path.join(folder, name), f"The artifact {printable(name)}"
    if kind == OTHER:
        raise Failure(f"{shown} is neither a file nor a folder.", f"rm {printable(path)}")
    if len(name) > LONGEST_NAME:
        raise Failure(f"{shown} has a name of {len(name):,} bytes.", "Shorten it, then try again.")
    if kind == FILE and os.path.exists(path) and not os.access(path, os.R_OK):
        raise Failure(f"{shown} cannot be read.", f"chmod u+r {printable(path)}")


def _add(tar: tarfile.TarFile, folder: bytes, name: bytes, kind: str) -> None:
    path, info = os.path.join(folder, name), tarfile.TarInfo(text_of(name))
    status = os.lstat(path) if kind == LINK else os.stat(path)
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if kind == FILE:
        with open(path, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            tar.addfile(info, _Padded(file))  # type: ignore[arg-type]
        return
    info.type = tarfile.DIRTYPE if kind == FOLDER else tarfile.SYMTYPE
    if kind == LINK:
        info.linkname = text_of(os.readlink(path))
    tar.addfile(info)


class _Padded:
    """A file that a task may truncate while it is read. Zeros replace what is missing."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        return self.file.read(size).ljust(size, b"\0")


def describe(folder: bytes, name: bytes, kind: str) -> str:
    """Return the SHA-256 of a file, that of a link's target after `link `, or `folder`."""
    path, sha256 = os.path.join(folder, name), hashlib.sha256()
    if kind == LINK:
        return f"{LINK} {hashlib.sha256(os.readlink(path)).hexdigest()}"
    if kind != FILE:
        return kind
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
    return sha256.hexdigest()


def run(action: Callable[[], None]) -> None:
    """Run an action; print the cause and fix of a failure as JSON and exit with 1."""
    try:
        action()
    except (Failure, OSError, tarfile.TarError) as error:
        path = os.fsencode(getattr(error, "filename", None) or b"")
        reason = getattr(error, "strerror", None) or str(error)
        cause = f"{printable(path)}: {reason}." if path else f"{reason}."
        document = {
            "cause": f"The artifacts cannot be read or written: {cause}",
            "fix": "Correct this, then run the command again.",
        }
        if isinstance(error, Failure):
            document = {"cause": error.cause, "fix": error.fix}
        # A name may contain bytes that cannot be printed. JSON escapes them.
        sys.exit(json.dumps(document))


if __name__ == "__main__":
    assert sys.argv[1:] == ["pack"]
    run(lambda: pack(artifacts_folder(), sys.stdout.buffer))
