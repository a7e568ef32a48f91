"""Check permissions: this user's in the clone, Airflow's user's in the folders it mounts."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestration.errors import Problem
from orchestration.settings.model import Settings

# The folders that Airflow's services mount. They write to LOGS and read the code in the others.
MOUNTS = ("dags", "logs", "plugins")
LOGS, WRITE = "logs", 0o7


def folder_problems(settings: Settings) -> list[Problem]:
    """Return the folders that this user must write to (.env, lock files, mounts) but cannot."""
    folders = [settings.root, settings.root / "install"]
    if not all((settings.project_dir / name).exists() for name in MOUNTS):
        folders.append(nearest_existing(settings.project_dir))
    problems: dict[Path, Problem] = {}
    for folder in folders:
        # The fix of a folder also fixes those inside it.
        covered = problems.keys() & {folder, *folder.parents}
        if os.path.exists(folder) and not covered and (problem := unwritable(folder)):
            problems[folder] = problem
    return list(problems.values())


def nearest_existing(folder: Path) -> Path:
    """Return the folder itself or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def unwritable(folder: Path) -> Problem | None:
    """Return why this user cannot write in a folder, or None."""
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return _no_rights(
            f"{folder} is on a read-only file system.", "Clone to a writable file system."
        )
    fix = f"sudo chown -R $USER {shlex.quote(str(folder))}"
    return _no_rights(f"{folder} is not writable for you.", fix)


def _no_rights(cause: str, fix: str) -> Problem:
    return Problem("folder-rights", cause, fix, "machine")


def uid_problem(settings: Settings) -> Problem | None:
    """Return a problem if Airflow's containers would run as root, else None."""
    uid = settings["AIRFLOW_UID"]
    if int(uid):
        return None
    fix = "Leave it blank in .env, then run: inv install"
    return Problem("uid-unusable", f"AIRFLOW_UID={uid} would run Airflow as root.", fix, "machine")


def log_problems(settings: Settings) -> Iterator[Problem]:
    """Yield a problem if the folder of logs exists and AIRFLOW_UID in group 0 cannot write to it.

    `file_modes.problems` checks the folders that are only read.
    """
    uid, folder = int(settings["AIRFLOW_UID"]), settings.project_dir / LOGS
    if os.path.isdir(folder) and not permits(folder, uid, WRITE):
        cause = f"AIRFLOW_UID={uid} is not allowed to write to {folder}."
        yield _no_rights(cause, _fix(folder, uid))


def permits(folder: Path, uid: int, rights: int) -> bool:
    """Return whether a user in group 0 has `rights` on a folder, decided as the kernel does."""
    status = folder.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == 0 else 0
    # An access control list may grant more than the mode shows, so it is trusted.
    has_acl = hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(folder)
    return has_acl or (status.st_mode >> shift) & rights == rights


def _fix(folder: Path, uid: int) -> str:
    owner, quoted = folder.stat().st_uid, shlex.quote(str(folder))
    if owner != uid:
        return f"{'sudo ' if os.getuid() else ''}chown -R {uid}:0 {quoted}"
    return f"{'' if os.getuid() in (0, owner) else 'sudo '}chmod -R u+rwX {quoted}"
