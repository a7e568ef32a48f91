"""Check what is read from files: free disk space and the report of the last backup."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from status.verdict import Verdict

# The smaller of the two is the limit. Below it a growing database soon fails to write.
MIN_FREE_SHARE, MIN_FREE_BYTES = 0.05, 2 * 2**30
BACKUP_LIMIT_DAYS = 8


@dataclass(frozen=True)
class Disk:
    """Free space and size of a file system in bytes."""

    free: int
    size: int


def disk(path: str) -> tuple[Verdict, Disk | None]:
    """Check the free space of the file system that contains `path`."""
    try:
        stats = os.statvfs(path)
    except OSError as error:
        return Verdict("disk", "unknown", f"{path}: {error.strerror}"), None
    space = Disk(stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize)
    summary = f"{space.free / 2**30:.1f} GiB free of {space.size / 2**30:.0f} GiB"
    if space.free < min(MIN_FREE_SHARE * space.size, MIN_FREE_BYTES):
        return Verdict("disk", "degraded", f"nearly full: {summary}"), space
    return Verdict("disk", "up", summary), space


def backup(path: str) -> Verdict:
    """Check the last backup by its report, the file at `path`.

    The report is a JSON object: `made_at` (ISO 8601 with zone), `verified` (whether the backup
    passed its verification), `detail` (one line, optional).
    """
    missing = Verdict("backup", "unknown", "no backup report")
    if not path:
        return missing
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        made_at = datetime.fromisoformat(report["made_at"])
        age = datetime.now(UTC) - made_at
        verified, detail = report["verified"] is True, str(report.get("detail", ""))[:160]
    except FileNotFoundError:
        return missing
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Verdict("backup", "unknown", "cannot read the backup report")
    detail = detail or ("verified" if verified else "not verified")
    if not verified:
        return Verdict("backup", "down", detail, seen=made_at)
    state = "up" if age.days < BACKUP_LIMIT_DAYS else "degraded"
    return Verdict("backup", state, detail, seen=made_at)
