"""Check permissions: this user's in the clone, Airflow's user's in the folders it mounts."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestration.errors import Problem
from orchestration.settings.model import Settings

# The folders that Airflow's services mount, and the access they need (bits as in chmod).
MOUNTS = {"dags": 0o5, "logs": 0o7, "plugins": 0o5}


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
    """Return why Airflow's containers cannot run as AIRFLOW_UID, or None."""
    uid = settings["AIRFLOW_UID"]
    if uid.isascii() and uid.isdigit() and int(uid):
        return None
    why = "is not a numeric user id" if uid.strip("0") else "would run Airflow as root"
    fix = "Leave it blank in .env, then run: inv install"
    return Problem("uid-unusable", f"AIRFLOW_UID={uid} {why}.", fix, "machine")


def mount_problems(settings: Settings) -> Iterator[Problem]:
    """Yield each existing mounted folder that AIRFLOW_UID in group 0 cannot use as needed."""
    uid = int(settings["AIRFLOW_UID"])
    for name, rights in MOUNTS.items():
        folder = settings.project_dir / name
        if os.path.isdir(folder) and not permits(folder, uid, rights):
            access = "write to" if name == "logs" else "read"
            cause = f"AIRFLOW_UID={uid} is not allowed to {access} {folder}."
            yield _no_rights(cause, _fix(folder, uid, rights))


def permits(folder: Path, uid: int, rights: int) -> bool:
    """Return whether a user in group 0 has `rights` on a folder, decided as the kernel does."""
    status = folder.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == 0 else 0
    # An access control list may grant more than the mode shows, so it is trusted.
    has_acl = hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(folder)
    return has_acl or (status.st_mode >> shift) & rights == rights


def _fix(folder: Path, uid: int, rights: int) -> str:
    sudo = "" if os.getuid() in (0, folder.stat().st_uid) else "sudo "
    quoted = shlex.quote(str(folder))
    if rights == MOUNTS["logs"] and folder.stat().st_uid != uid:
        return f"{'sudo ' if os.getuid() else ''}chown -R {uid}:0 {quoted}"
    return f"{sudo}chmod -R {'u+rwX' if rights == MOUNTS['logs'] else 'a+rX'} {quoted}"
