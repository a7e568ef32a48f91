"""Read and write the folder of a backup: files in open formats, and a manifest that lists them.

Nothing here needs an engine, so a backup is verified before anything is changed.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestration import checksums
from orchestration.errors import StackError

FORMAT = 1
MANIFEST = "manifest.json"
FOLDER, LINK = "folder", "link "
# Names in tar files are bytes in any encoding.
NAMES: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}


@dataclass(frozen=True)
class Manifest:
    """The contents of a backup.

    `fernet` contains fingerprints of the Fernet keys. `tables` and `artifacts` contain the number
    of rows or files, and a digest that does not depend on their order.
    """

    project: str
    made_at: str
    engine: str
    versions: Mapping[str, str]
    fernet: str
    destination: str
    tables: Mapping[str, Mapping[str, Any]]
    artifacts: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """The number of rows in all tables."""
        return sum(table["rows"] for tables in self.tables.values() for table in tables.values())


def fernet_fingerprints(folder: Path) -> set[str]:
    """Return the fingerprints of the Fernet keys of all readable backups in a folder."""
    fingerprints: set[str] = set()
    for backup in list_backups(folder):
        with suppress(StackError):
            fingerprints.update(str(_read(backup).get("fernet", "")).split(","))
    return fingerprints


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with its own hash, once all other files are in the folder."""
    document = {**asdict(manifest), "files": {n: _measure(folder / n) for n in _parts(folder)}}
    document["sha256"] = _hash_of(document)
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def verify(folder: Path) -> Manifest:
    """Return the manifest of a complete backup.

    Raises StackError if it is not a backup, is incomplete, was altered or is newer than this stack.
    """
    document = _read(folder)
    if document.get("format", 0) > FORMAT:
        raise StackError(f"{folder} was made by a newer stack.", fix="git pull")
    if document.pop("sha256", None) != _hash_of(document):
        raise StackError(f"{folder}/{MANIFEST} was altered after it was written.")
    for name, expected in document["files"].items():
        _verify_file(folder / name, expected)
    return Manifest(**document)


def newest(folder: Path) -> Path:
    """Return the newest backup in a folder. Raises StackError if there is none."""
    if not (backups := list_backups(folder)):
        raise StackError(f"There is no backup in {folder} yet.", fix="inv backup")
    return backups[-1]


def list_backups(folder: Path) -> list[Path]:
    """Return all complete backups in a folder, oldest first. Their names are their times."""
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}"))


def pack(tar: Path, files: Mapping[str, Path]) -> None:
    """Pack files under the given names. Links are replaced by the files they point to.

    Raises StackError if a file cannot be read.
    """
    with tarfile.open(tar, "w", dereference=True) as archive:
        for name, path in files.items():
            try:
                archive.add(path, name, recursive=False)
            except OSError as error:
                cause = f"{path} cannot be read: {error.strerror or error}."
                raise StackError(cause, fix=f"chmod u+r {path}") from None


def unpack(tar: Path, into: Path, names: Collection[str]) -> None:
    """Unpack the files of these names below a folder and replace existing ones.

    Raises StackError for a name that leads out of the folder. The filters of `tarfile` are not
    used, because Python 3.11.2 of Debian lacks them.
    """
    with tarfile.open(tar, **NAMES) as archive:
        for name in names:
            path, content = into / name, archive.extractfile(name)
            if content is None or not {"/", ".."}.isdisjoint(Path(name).parts):
                raise StackError(f"{tar.name} contains {name!r}, which is not a file below {into}.")
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            # Replace a link instead of writing to the file it points to.
            path.unlink(missing_ok=True)
            with content, path.open("xb") as file:
                shutil.copyfileobj(content, file)
            path.chmod(archive.getmember(name).mode & 0o755)


def contents(tar: Path) -> dict[str, str]:
    """Return the value of each entry of a tar file by its path.

    The value is the SHA-256 of a file, that of a link's target after `link `, or `folder`. Paths
    that are not UTF-8 contain surrogates. Raises StackError if the tar file cannot be read to its
    end.
    """
    values = {}
    try:
        with tarfile.open(tar, **NAMES) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                # Older backups contain an entry for the folder itself.
                if name != "." and (value := _value(archive, member)):
                    values[name] = value
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StackError(f"{tar} cannot be read: {error}") from None
    return values


def _value(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.isdir():
        return FOLDER
    if member.issym():
        target = member.linkname.encode("utf-8", "surrogateescape")
        return f"{LINK}{hashlib.sha256(target).hexdigest()}"
    # A hard link counts as the file that it shares.
    if (member.isreg() or member.islnk()) and (file := archive.extractfile(member)):
        return checksums.sha256_of_stream(file)
    # Older backups may contain a named pipe.
    return ""


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(f"{folder} is not a backup of this stack: no {MANIFEST}.") from None
    except (OSError, ValueError) as error:
        raise StackError(f"{path} cannot be read: {error}") from None
    names = {*Manifest.__dataclass_fields__, "sha256"}
    if not isinstance(document, dict) or "format" not in document:
        raise StackError(f"{folder} is not a backup of this stack: unknown {MANIFEST}.")
    if document["format"] == FORMAT and set(document) != names:
        raise StackError(f"{path} was altered after it was written.")
    return document


def _verify_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise StackError(f"{path} is missing.")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise StackError(f"{path} has {size} bytes instead of {expected['bytes']}.")
    if _measure(path) != expected:
        raise StackError(f"{path} was altered after it was written.")


def _parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)


def _measure(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": checksums.sha256_of(path)}


def _hash_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
