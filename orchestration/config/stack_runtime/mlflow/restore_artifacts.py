"""Restore artifacts in four steps. Until the last one, everything can be undone.

`python -m stack_runtime.mlflow.restore_artifacts STEP` runs one of them:

- `stage` extracts a tar file from standard input into a folder inside the artifacts, which MLflow
  does not use, and prints the result: value, NUL, name, NUL for each entry (see `describe`).
- `place` renames what is missing or different to its place. It writes down its plan first.
- `undo` reverses `place`, or what a killed one did of it, and deletes the folder.
- `finish` deletes the folder.
"""

import filecmp
import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from stack_runtime.mlflow.artifact_folder import (
    FOLDER,
    STAGING,
    TAR_NAMES,
    Failure,
    artifacts_folder,
    bytes_of,
    describe,
    leads_out,
    printable,
    run,
    walk,
)

KEPT = b".before-restore"
LONGEST_PART = 255


class Restore:
    """A restore into one folder. `plan` lists what `place` does: name, and new name of the old."""

    def __init__(self, folder: bytes) -> None:
        self.folder = folder
        self.staging = os.path.join(folder, STAGING)
        self.files = os.path.join(self.staging, b"files")
        self.plan = os.path.join(self.staging, b"plan")

    def stage(self, source: IO[bytes]) -> Iterator[tuple[bytes, str]]:
        """Extract a tar file, and yield the name and value of each extracted entry.

        A file that the folder already contains unchanged takes no additional space. Raises Failure
        for an entry that leads out of the folder.
        """
        self.finish()
        os.makedirs(self.files, mode=0o700)
        with tarfile.open(fileobj=source, mode="r|", **TAR_NAMES) as tar:
            for member in tar:
                name = bytes_of(member.name.removeprefix("./"))
                if name not in (b"", b"."):
                    self._extract(tar, member, name)
        for name, kind in self._staged():
            yield name, describe(self.files, name, kind)

    def _extract(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: bytes) -> None:
        target = self._inside(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if member.isdir():
            os.makedirs(target, exist_ok=True)
            os.chmod(target, member.mode & 0o7777 | 0o700)
        elif member.issym():
            os.symlink(bytes_of(member.linkname), target)
        elif member.islnk():
            os.link(self._inside(bytes_of(member.linkname.removeprefix("./"))), target)
        elif content := tar.extractfile(member):
            with content, open(target, "xb") as file:
                shutil.copyfileobj(content, file)
            os.chmod(target, member.mode & 0o777)
            os.utime(target, (member.mtime, member.mtime))
            self._share(name, target)

    def _inside(self, name: bytes) -> bytes:
        target = os.path.join(self.files, name)
        root = os.path.join(os.path.realpath(self.files), b"")
        parent = os.path.join(os.path.realpath(os.path.dirname(target)), b"")
        if {b"", b".", b".."} & set(name.split(b"/")) or not parent.startswith(root):
            raise Failure(f"{printable(name)} leads out of the backup.", "Use another backup.")
        return target

    def _share(self, name: bytes, target: bytes) -> None:
        """Replace an extracted file by a hard link to the current one, if they are the same."""
        current, link = os.path.join(self.folder, name), os.path.join(self.staging, b"link")
        # Some file systems have no hard links. The extracted file then stays.
        with suppress(OSError):
            if not os.path.islink(current) and filecmp.cmp(target, current, shallow=False):
                os.link(current, link)
                os.replace(link, target)

    def _staged(self) -> Iterator[tuple[bytes, str]]:
        return walk(self.files, lambda name, target: False)

    def place(self) -> None:
        """Rename missing and different entries to their places, and keep the previous ones.

        The previous version of a file is kept next to it, with the suffix KEPT.
        """
        plan = list(self._changes())
        temporary = self.plan + b".new"
        with open(temporary, "wb") as file:
            file.writelines(name + b"\0" + kept + b"\0" for name, kept in plan)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.plan)
        for name, kept in plan:
            staged, current = os.path.join(self.files, name), os.path.join(self.folder, name)
            if kept:
                os.rename(current, os.path.join(self.folder, kept))
            if _is_folder(staged):
                os.mkdir(current)
                shutil.copymode(staged, current)
            else:
                os.rename(staged, current)

    def _changes(self) -> Iterator[tuple[bytes, bytes]]:
        new_folders: set[bytes] = set()
        taken: set[bytes] = set()
        for name, kind in self._staged():
            kept = b""
            if os.path.dirname(name) not in new_folders:
                if self._is_unchanged(name, kind):
                    continue
                if os.path.lexists(os.path.join(self.folder, name)):
                    kept = self._unused_name(name, taken)
                    taken.add(kept)
            if kind == FOLDER:
                new_folders.add(name)
            yield name, kept

    def _is_unchanged(self, name: bytes, kind: str) -> bool:
        staged, current = os.path.join(self.files, name), os.path.join(self.folder, name)
        if os.path.islink(staged):
            return os.path.islink(current) and os.readlink(current) == os.readlink(staged)
        # A backup contains what such a link points to, instead of the link.
        if os.path.islink(current) and not leads_out(name, os.readlink(current)):
            return False
        if kind == FOLDER:
            return os.path.isdir(current)
        if not os.path.isfile(current):
            return False
        return os.path.samefile(staged, current) or filecmp.cmp(staged, current, shallow=False)

    def _unused_name(self, name: bytes, taken: set[bytes]) -> bytes:
        parent, part = os.path.split(name)
        number = 1
        while True:
            suffix = KEPT if number == 1 else b"%s-%d" % (KEPT, number)
            if len(part) + len(suffix) > LONGEST_PART:
                suffix = b"-" + hashlib.sha256(part).hexdigest()[:8].encode() + suffix
            kept = os.path.join(parent, part[: LONGEST_PART - len(suffix)] + suffix)
            roots = (self.folder, self.files)
            if kept not in taken and not any(os.path.lexists(os.path.join(r, kept)) for r in roots):
                return kept
            number += 1

    def undo(self) -> None:
        """Put everything back, and delete what was extracted. Can be repeated if it is killed."""
        for name, kept in reversed(self._read_plan()):
            staged, current = os.path.join(self.files, name), os.path.join(self.folder, name)
            previous = os.path.join(self.folder, kept) if kept else b""
            if _is_folder(staged):
                # It may contain files that were written after the restore.
                with suppress(OSError):
                    os.rmdir(current)
            elif not os.path.lexists(staged):
                with suppress(FileNotFoundError):
                    os.rename(current, staged)
            if previous and os.path.lexists(previous):
                if _is_folder(current):
                    shutil.rmtree(current)
                os.rename(previous, current)
        self.finish()

    def _read_plan(self) -> list[tuple[bytes, bytes]]:
        try:
            with open(self.plan, "rb") as file:
                parts = file.read().split(b"\0")[:-1]
        except FileNotFoundError:
            return []
        return list(zip(parts[::2], parts[1::2], strict=True))

    def finish(self) -> None:
        """Delete what was extracted and not placed."""
        # First: without its files the plan would be read as carried out.
        with suppress(FileNotFoundError):
            os.unlink(self.plan)
        if os.path.lexists(self.staging):
            shutil.rmtree(self.staging)


def _is_folder(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def main(step: str) -> None:
    """Run one of the steps."""
    restore = Restore(artifacts_folder())
    if step == "stage":
        for name, value in restore.stage(sys.stdin.buffer):
            sys.stdout.buffer.write(value.encode() + b"\0" + name + b"\0")
        return
    {"place": restore.place, "undo": restore.undo, "finish": restore.finish}[step]()


if __name__ == "__main__":
    run(lambda: main(sys.argv[1]))
