"""What is read from files: the disk's free space, and what the last backup left behind."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from status.verdict import Verdict

# Below the smaller of both, a database that grows is soon in the way of itself.
LEAST_FREE_SHARE, LEAST_FREE_BYTES = 0.05, 2 * 2**30
BACKUP_LIMIT_DAYS = 8


@dataclass(frozen=True)
class Disk:
    """Bytes of a file system that may still be written, and its size."""

    free: int
    size: int


def disk(path: str) -> tuple[Verdict, Disk | None]:
    """Judge the free space of the file system that holds `path`."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        return Verdict("disk", "unknown", f"{path}: {error.strerror}"), None
    space = Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    told = f"{space.free / 2**30:.1f} GiB free of {space.size / 2**30:.0f} GiB"
    if space.free < min(LEAST_FREE_SHARE * space.size, LEAST_FREE_BYTES):
        return Verdict("disk", "degraded", f"nearly full: {told}"), space
    return Verdict("disk", "up", told), space


def backup(report: str) -> Verdict:
    """Judge the last backup by the report it left.

    The report is a JSON object: `made_at` (ISO 8601 with zone), `verified` (whether it was read
    back well), `detail` (one line, may be absent).
    """
    none = Verdict("backup", "unknown", "none is known of")
    if not report:
        return none
    try:
        said = json.loads(Path(report).read_text(encoding="utf-8"))
        made_at = datetime.fromisoformat(said["made_at"])
        age = datetime.now(UTC) - made_at
        verified, detail = said["verified"] is True, str(said.get("detail", ""))[:160]
    except FileNotFoundError:
        return none
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Verdict("backup", "unknown", "its report cannot be read")
    told = detail or ("verified" if verified else "not verified")
    if not verified:
        return Verdict("backup", "down", told, seen=made_at)
    state = "up" if age.days < BACKUP_LIMIT_DAYS else "degraded"
    return Verdict("backup", state, told, seen=made_at)
