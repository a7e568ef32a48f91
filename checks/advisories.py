"""Read checks/advisories.toml, the known vulnerabilities of pinned versions; render its page."""

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
# The value of `fixed` if no version fixes the vulnerability.
NO_VERSION = "none"
COLUMNS = ("package", "fixed", "what", "here")
HEADER = "| id | package | fixed in | what | here |\n|---|---|---|---|---|"


def cell(pattern: str) -> Callable[[Any], bool]:
    """Return a predicate for strings that match a pattern."""
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value))


# What each key of a row must be. `type()`, because a datetime is also an instance of date.
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
    """The id of a vulnerability and the first version of its package without it.

    `until` is the last day on which a locked version may be affected, or None if none is.
    """

    id: str
    package: str
    fixed: str
    until: date | None

    def affects(self, version: str) -> bool:
        """Return whether a version of the package is affected."""
        return self.fixed == NO_VERSION or Version(version) < Version(self.fixed)


def load(text: str) -> dict[str, Any]:
    """Parse the file. Raises StackError with the line or the row that is invalid."""
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
    """Return an advisory for every id of the file. Raises as `load` does."""
    return [
        Advisory(id, row["package"], row["fixed"], row["until"])
        for section in load(text).get("section", ())
        for row in section.get("rows", ())
        for id in row["ids"]
    ]


def page(text: str) -> str:
    """Render the file as Markdown. Raises as `load` does."""
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
