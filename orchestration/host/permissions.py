"""Who may write where: this user in the clone, Airflow's user in the folders it mounts."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestration.settings.model import Settings

# The folders that Airflow's services mount, and their rights there (as in chmod).
MOUNTS = {"dags": 0o5, "logs": 0o7, "plugins": 0o5}


def folder_problems(settings: Settings) -> list[str]:
    """Folders that must be written to (.env, locks, what is mounted) and cannot be."""
    folders = [settings.root, settings.root / "install"]
    if not all((settings.project_dir / name).exists() for name in MOUNTS):
        folders.append(nearest(settings.project_dir))
    told: dict[Path, str] = {}
    for folder in folders:
        # What mends a folder mends those in it.
        known = told.keys() & {folder, *folder.parents}
        if os.path.exists(folder) and not known and (problem := unwritable(folder)):
            told[folder] = problem
    return list(told.values())


def nearest(folder: Path) -> Path:
    """The folder itself or the nearest above it that exists."""
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))


def unwritable(folder: Path) -> str:
    """Why this user cannot write in a folder and what to do, or blank."""
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only file system: clone to a place that can be written to"
    return f"{folder} is not writable for you: sudo chown -R $USER {shlex.quote(str(folder))}"


def uid_problem(settings: Settings) -> str:
    """Why Airflow's containers cannot run as AIRFLOW_UID, or blank."""
    uid = settings["AIRFLOW_UID"]
    if uid.isascii() and uid.isdigit() and int(uid):
        return ""
    why = "is not a user's number" if uid.strip("0") else "would run Airflow as root"
    return f"AIRFLOW_UID={uid} {why}: leave it blank in .env, then inv install"


def mount_problems(settings: Settings) -> Iterator[str]:
    """What AIRFLOW_UID in group 0 may not do in folders that are mounted and exist already."""
    uid = int(settings["AIRFLOW_UID"])
    for name, rights in MOUNTS.items():
        folder = settings.project_dir / name
        if os.path.isdir(folder) and not permits(folder, uid, rights):
            may = "write to" if name == "logs" else "read"
            yield f"AIRFLOW_UID={uid} may not {may} {folder}: {_mend(folder, uid, rights)}"


def permits(folder: Path, uid: int, rights: int) -> bool:
    """Whether that user in group 0 has these rights there, as the kernel decides it."""
    held = folder.stat()
    bits = 6 if held.st_uid == uid else 3 if held.st_gid == 0 else 0
    # An access list may give what the mode does not tell: taken for the person's intent.
    listed = hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(folder)
    return listed or (held.st_mode >> bits) & rights == rights


def _mend(folder: Path, uid: int, rights: int) -> str:
    sudo = "" if os.getuid() in (0, folder.stat().st_uid) else "sudo "
    quoted = shlex.quote(str(folder))
    if rights == MOUNTS["logs"] and folder.stat().st_uid != uid:
        return f"{'sudo ' if os.getuid() else ''}chown -R {uid}:0 {quoted}"
    return f"{sudo}chmod -R {'u+rwX' if rights == MOUNTS['logs'] else 'a+rX'} {quoted}"
