"""What the status page's /status.json says, read by whoever may meet an older or a broken one."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """One piece of the stack's work as the status page judges it; `at` is when it last ended."""

    name: str
    state: str
    detail: str
    at: str | None


def verdicts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The verdict of each service, by its name."""
    return {each["name"]: each for each in _objects(document, "services")}


def work(document: dict[str, Any]) -> list[Work]:
    """What is judged beside the services: canary, pipelines, DAG files, models, backup, disk."""
    return [
        Work(each["name"], each["state"], each["detail"], each.get("at"))
        for each in _objects(document, "work")
    ]


def _objects(document: dict[str, Any], part: str) -> list[dict[str, Any]]:
    said = document.get(part)
    found = [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []
    return [each for each in found if {"name", "state", "detail"} <= each.keys()]
