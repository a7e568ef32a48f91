"""Parse the status page's /status.json, also if it is older or malformed."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS

OTHER_STACK_FIX = (
    f"Set {', '.join(PORTS.values())} in .env to free ports, or to those that this stack was "
    "started with. Then run: inv up"
)
FIELDS = {"name", "state", "detail"}


@dataclass(frozen=True)
class Work:
    """An entry of `work` in /status.json: `at` is when it last finished, `dag` its DAG."""

    name: str
    state: str
    detail: str
    at: str | None
    dag: str | None = None


def other_owner(document: dict[str, Any], settings: Settings) -> str:
    """Return whose page this is, as in `another stack (clone-1)`, or "" if it is this stack's.

    The id is blank on the page of a stack that was started without `inv`.
    """
    project, stack = document.get("project"), document.get("stack")
    if project is None:
        return "a page without a project, of another or an older stack,"
    if project == settings.project and stack in ("", settings.stack_id):
        return ""
    return f"another stack ({project})" if project != settings.project else "another clone"


def verdicts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the verdict of each service by name."""
    return {entry["name"]: entry for entry in _entries(document, "services", FIELDS)}


def work(document: dict[str, Any]) -> list[Work]:
    """Return the state of canary, pipelines, DAG files, tasks, models, backup and disk."""
    return [
        Work(entry["name"], entry["state"], entry["detail"], entry.get("at"), entry.get("dag"))
        for entry in _entries(document, "work", FIELDS)
    ]


def stale_files(document: dict[str, Any]) -> dict[str, datetime]:
    """Return DAG files whose DAGs all count as removed, and when one was last found in each."""
    files = {}
    for entry in _entries(document, "stale_files", {"name", "parsed"}):
        with suppress(TypeError, ValueError):
            files[str(entry["name"])] = datetime.fromisoformat(entry["parsed"])
    return files


def _entries(document: dict[str, Any], key: str, fields: set[str]) -> list[dict[str, Any]]:
    """Return the well-formed entries of a list in the document, leaving out all others."""
    value = document.get(key)
    entries = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    return [entry for entry in entries if fields <= entry.keys()]
