"""Let containers read the clone's files, whatever umask the clone was made with.

Only read permissions are added, and the folder of the clone itself stays closed to other users.
"""

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE

from orchestration.errors import Problem, StackError
from orchestration.host.permissions import permits
from orchestration.settings.model import Settings

# Mounted into services of several users.
OF_REPOSITORY = ("orchestration/config",)
# Images are built from these. Clones with equal modes share Docker's build cache.
OF_IMAGES = ("status", "install/base", "install/*.lock", "install/*.sh")
# Folders with code that services mount and only Airflow's user reads.
OF_AIRFLOW = ("dags", "include", "plugins", "datasets")
CODE = (".py", ".airflowignore", ".csv", ".csv.gz", ".parquet", ".pq")
NAMED = 3


@dataclass(frozen=True)
class Closed:
    """A file or folder that containers cannot read.

    `mode` is the one it needs, None if only its owner should decide. `top` is the folder for chmod.
    """

    path: Path
    mode: int | None
    top: Path

    @property
    def can_be_opened(self) -> bool:
        """Return whether this user may and should change the mode."""
        return self.mode is not None and os.getuid() in (0, self.path.stat().st_uid)


def open_files(settings: Settings) -> None:
    """Add the missing read permissions.

    Raises StackError if files of the repository that services need belong to another user.
    """
    for one in (*_of_repository(settings.root, OF_IMAGES), *_of_airflow(settings)):
        # Neither prevents a start: a build ignores the modes, and a DAG is only missing.
        _open(one)
    needed = _of_repository(settings.root, OF_REPOSITORY)
    if remaining := [one for one in needed if not _open(one)]:
        raise StackError(unreadable(remaining, chmod(remaining)))


def problems(settings: Settings) -> Iterator[Problem]:
    """Yield one problem with all files that `open_files` cannot open."""
    if remaining := [one for one in closed_files(settings) if not one.can_be_opened]:
        yield unreadable(remaining, chmod(remaining))


def unopened(settings: Settings) -> Iterator[Problem]:
    """Yield one problem with all files that the next `inv up` opens."""
    if closed := [one for one in closed_files(settings) if one.can_be_opened]:
        yield unreadable(closed, "inv up")


def closed_files(settings: Settings) -> list[Closed]:
    """Return the files and folders that services must read but cannot."""
    return [*_of_repository(settings.root, OF_REPOSITORY), *_of_airflow(settings)]


def unreadable(closed: list[Closed], fix: str) -> Problem:
    """Return the problem of files that containers cannot read."""
    paths = [str(one.path) for one in closed]
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    cause = f"Containers are not allowed to read {', '.join(paths[:NAMED])}{more}."
    return Problem("folder-rights", cause, fix, "machine")


def chmod(closed: list[Closed]) -> str:
    """Return one command that lets containers read all these files."""
    sudo = "" if all(os.getuid() in (0, one.path.stat().st_uid) for one in closed) else "sudo "
    folders = [shlex.quote(str(top)) for top in dict.fromkeys(one.top for one in closed)]
    return f"{sudo}chmod -R a+rX {' '.join(folders)}"


def open_tree(folder: Path) -> None:
    """Let every user read whatever the owner of a folder and of the files in it may read."""
    for path in _tree(folder):
        path.chmod(_for_everyone(path))


def _open(one: Closed) -> bool:
    try:
        if one.mode is not None:
            one.path.chmod(one.mode)
        return one.mode is not None
    except OSError:
        return False


def _of_repository(root: Path, patterns: Iterable[str]) -> Iterator[Closed]:
    for top in (top for pattern in patterns for top in sorted(root.glob(pattern))):
        for path in _tree(top):
            if (mode := _for_everyone(path)) != S_IMODE(path.stat().st_mode):
                yield Closed(path, mode, top)


def _of_airflow(settings: Settings) -> Iterator[Closed]:
    uid = int(settings["AIRFLOW_UID"])
    for top in (settings.project_dir / name for name in OF_AIRFLOW):
        for path in _tree(top) if top.exists() else ():
            needed = 0o5 if path.is_dir() else 0o4
            is_code = path.is_dir() or path.name.endswith(CODE)
            if is_code and not permits(path, uid, needed):
                yield Closed(path, _for_group_0(path), top)


def _tree(top: Path) -> Iterator[Path]:
    """Yield a file, or a folder with everything in it except links and hidden folders."""
    yield top
    for folder, names, files in os.walk(top):
        names[:] = [name for name in names if not name.startswith((".", "__pycache__"))]
        yield from (path for name in (*names, *files)
                    if not (path := Path(folder, name)).is_symlink())  # fmt: skip


def _for_everyone(path: Path) -> int:
    """Return a mode with which every user may read what the owner may read."""
    mode = S_IMODE(path.stat().st_mode)
    return mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6


def _for_group_0(path: Path) -> int | None:
    """Return a mode for Airflow's user, which is in group 0; None for files of another group.

    These are the user's own files, so they are not opened to other accounts of this machine.
    """
    status = path.stat()
    mode = S_IMODE(status.st_mode)
    return mode | (mode & 0o500) >> 3 if status.st_gid == 0 else None
