"""Find DAG files whose DAGs Airflow counts as removed, although the files still define them.

Airflow's database does not distinguish such files from deleted ones, but this machine sees them.
"""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from orchestration.clients.status_page import Work

# A new file is parsed within this time.
SETTLED_SECONDS = 60
DEFINITION = re.compile(r"(?m)^(?!\s*#).*(@dag\b|\bDAG\()")


def check(files: Mapping[str, datetime], folder: Path) -> Iterator[Work]:
    """Yield one degraded result if a file in `folder` still defines DAGs, otherwise nothing.

    `files` are those without a current DAG, with the time when one was last found in them.
    """
    names = [name for name, seen in files.items() if _defines_dags(folder, name, seen.timestamp())]
    if names:
        more = f" (and {len(names) - 1} more)" if names[1:] else ""
        cause = "Airflow counts its DAGs as removed, but the file still defines them"
        yield Work("stale-dags", "degraded", f"{names[0]:.80}{more}: {cause}", None)


def _defines_dags(folder: Path, name: str, seen: float) -> bool:
    file = folder / name
    rules = [parent / ".airflowignore" for parent in file.parents]
    shared = (folder.parent / "include").rglob("*.py")
    try:
        if any(rule.is_file() and _changed(rule) > seen for rule in rules):
            return False
        changed, text = _changed(file), file.read_text(errors="replace")
        shared_changed = any(_changed(module) > seen for module in shared)
    except OSError:
        return False
    if changed > time.time() - SETTLED_SECONDS:
        return False
    # A factory may define the DAGs of an unchanged file, until the factory itself is changed.
    unchanged = changed < seen and not shared_changed
    return unchanged or bool(DEFINITION.search(text))


def _changed(file: Path) -> float:
    stat = file.stat()
    # A file that is copied with its old modification time is a change too.
    return max(stat.st_mtime, stat.st_ctime)
