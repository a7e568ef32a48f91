"""Known vulnerabilities of pinned versions: checks/advisories.toml, and the page made from it."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.version import Version

from orchestration.errors import StackError

ROOT = Path(__file__).resolve().parents[1]
FILE = "checks/advisories.toml"
ID = r"(CVE|PYSEC|GHSA)-[\w-]+"
# The fixed version of an advisory that no version fixes.
NO_VERSION = "none"
COLUMNS = ("package", "fixed", "what", "here")
HEADER = "| id | package | fixed in | what | here |\n|---|---|---|---|---|"


def cell(pattern: str) -> Callable[[Any], bool]:
    """Return a test for strings that a pattern matches."""
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value))


# What each key of a row must be. A time of a day is a date to Python.
KEYS: dict[str, Callable[[Any], bool]] = {
    "ids": lambda ids: isinstance(ids, list) and bool(ids) and all(map(cell(ID), ids)),
    "package": cell(r"[\w.-]+"),
    "fixed": cell(rf"{NO_VERSION}|\d[\w.]*"),
    "what": cell(r"[^|\n]+"),
    "here": cell(r"[^|\n]+"),
    "until": lambda day: day is None or type(day) is date,
}


@dataclass(frozen=True)
class Advisory:
    """An id of a vulnerability and the first version of its package without it.

    `until` is the last day on which a locked version may have it, or None if none has it.
    """

    id: str
    package: str
    fixed: str
    until: date | None

    def affects(self, version: str) -> bool:
        """Whether a version of the package has it."""
        return self.fixed == NO_VERSION or Version(version) < Version(self.fixed)


def load(text: str) -> dict[str, Any]:
    """Parse the file; raises StackError with the line or the row that cannot be used."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StackError(f"{FILE}: {error}") from None
    for section in document.get("section", ()):
        for row in section.get("rows", ()):
            row.setdefault("until", section.get("until"))
            problems = [key for key, valid in KEYS.items() if not valid(row.get(key))]
            if problems := problems + sorted(row.keys() - KEYS.keys()):
                where = f"{FILE}: {section.get('heading')}: {row.get('ids')}"
                raise StackError(f"{where}: missing or invalid: {', '.join(problems)}")
    return document


def advisories(text: str) -> list[Advisory]:
    """Return every id of the file; raises as `load` does."""
    return [
        Advisory(id, row["package"], row["fixed"], row["until"])
        for section in load(text).get("section", ())
        for row in section.get("rows", ())
        for id in row["ids"]
    ]


def page(text: str) -> str:
    """Render the file as Markdown; raises as `load` does."""
    document = load(text)
    parts = ["# Known vulnerabilities", document["text"]]
    for section in document["section"]:
        rows = [
            f"| {', '.join(row['ids'])} | {' | '.join(map(row.get, COLUMNS))} |"
            for row in section.get("rows", ())
        ]
        table = "\n".join([HEADER, *rows]) if rows else ""
        parts += [
            f"## {section['heading']}",
            section.get("text", ""),
            table,
            section.get("notes", ""),
        ]
    return "\n\n".join(filter(None, map(str.strip, parts))) + "\n"
