"""What a backup is on disk: a folder of files that any tool can open, and a manifest of them.

Nothing here knows of an engine: it is checked before anything is touched.
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
from typing import IO, Any

from orchestration import checksums
from orchestration.errors import StackError

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    `fernet` tells keys apart without giving them away; `tables` and `artifacts` are the contents:
    rows or files, and a digest that does not depend on their order.
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
        """The rows of all tables."""
        return sum(table["rows"] for tables in self.tables.values() for table in tables.values())


def fernet_fingerprints(folder: Path) -> set[str]:
    """Of every Fernet key that the backups in a folder were made with; spoilt ones are left out."""
    found: set[str] = set()
    for made in all_of(folder):
        with suppress(StackError):
            found.update(str(_read(made).get("fernet", "")).split(","))
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it with its own hash, once everything that it tells of is there."""
    told = {**asdict(manifest), "files": {n: _measured(folder / n) for n in _parts(folder)}}
    told["sha256"] = _hash_of(told)
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(told, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def checked(folder: Path) -> Manifest:
    """The manifest of a backup that is whole.

    Raises StackError for what is no backup, or is cut, altered, or newer than this stack.
    """
    told = _read(folder)
    if told.get("format", 0) > FORMAT:
        raise StackError(f"{folder} was made by a newer stack: git pull, then restore it")
    if told.pop("sha256", None) != _hash_of(told):
        raise StackError(f"{folder}/{MANIFEST} was altered since it was written")
    for name, expected in told["files"].items():
        _check_file(folder / name, expected)
    return Manifest(**told)


def newest(folder: Path) -> Path:
    """The newest backup in a folder. Raises StackError where there is none."""
    if not (found := all_of(folder)):
        raise StackError(f"there is no backup in {folder} yet: inv backup")
    return found[-1]


def all_of(folder: Path) -> list[Path]:
    """All complete backups in a folder, the oldest first: their names begin with their time."""
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}"))


def pack(into: Path, files: Mapping[str, Path]) -> None:
    """Pack files under the given names; what a link leads to, not the link."""
    with tarfile.open(into, "w", dereference=True) as archive:
        for name, path in files.items():
            archive.add(path, name)


def unpack(tree: Path, into: Path, names: Collection[str]) -> None:
    """Put files of these names below a folder, in the place of what is there.

    Raises StackError for a name that leads out of it. Without a filter of `tarfile`'s: Debian's
    Python 3.11.2 has none yet.
    """
    with tarfile.open(tree) as archive:
        for name in names:
            target, content = (into / name).resolve(), archive.extractfile(name)
            if content is None or not target.is_relative_to(into.resolve()):
                raise StackError(f"{tree.name} holds {name}, which is no file of {into}")
            target.parent.mkdir(parents=True, exist_ok=True)
            # Not into what it was linked to.
            (into / name).unlink(missing_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
            target.chmod(archive.getmember(name).mode & 0o755)


def part(tree: Path, names: Collection[str], into: IO[bytes]) -> None:
    """Write a tree of only these files."""
    with tarfile.open(tree) as archive, tarfile.open(fileobj=into, mode="w") as chosen:
        for member in archive:
            if member.name.removeprefix("./") in names:
                chosen.addfile(member, archive.extractfile(member))


def contents(tree: Path) -> dict[str, str]:
    """The sha256 of each file that a packed tree holds, by its path in it.

    Raises StackError where it cannot be read to its end.
    """
    found = {}
    try:
        with tarfile.open(tree) as archive:
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    found[member.name.removeprefix("./")] = checksums.sha256_of_stream(file)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StackError(f"{tree} cannot be read: {error}") from None
    return found


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(f"{folder} is no backup of this stack: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise StackError(f"{path} cannot be read: {error}") from None
    names = {*Manifest.__dataclass_fields__, "sha256"}
    if not isinstance(told, dict) or "format" not in told:
        raise StackError(f"{folder} is no backup of this stack: {MANIFEST} tells nothing of one")
    if told["format"] == FORMAT and set(told) != names:
        raise StackError(f"{path} was altered since it was written")
    return told


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise StackError(f"{path} is missing")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise StackError(f"{path} has {size} bytes instead of {expected['bytes']}: it was cut")
    if _measured(path) != expected:
        raise StackError(f"{path} was altered since it was written")


def _parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)


def _measured(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": checksums.sha256_of(path)}


def _hash_of(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
