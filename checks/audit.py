"""Known vulnerabilities in what the locks pin, but for those that may stay. `nox -s audit`."""

import argparse
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from rich.console import Console
from rich.table import Table

from checks.pins import Key, Pin, pins
from checks.vulnerabilities import Answers, answers
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError

ROOT = Path(__file__).resolve().parents[1]
IGNORED = "checks/audit_ignored.toml"
ID = re.compile(r"(CVE|PYSEC|GHSA)-[\w-]+")
# Written where no version mends it.
NO_VERSION = "none"
# Packages cut from one source, under the same versions: advisories name any of them.
PARTS = {
    "apache-airflow": {"apache-airflow-core"},
    "mlflow": {"mlflow-skinny", "mlflow-tracing"},
}


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a pinned version, and the versions without it."""

    locks: tuple[str, ...]
    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class Ignored:
    """A vulnerability that may stay, the heading of docs/cves.md that says why, and its last day.

    `fixed` is the first version without it.
    """

    id: str
    package: str
    see: str
    fixed: str
    until: date

    def covers(self, finding: Finding) -> bool:
        """Whether it means this one, by any of its names."""
        package = canonicalize_name(self.package)
        ours = {package, *PARTS.get(package, ())}
        return finding.package in ours and self.id in (finding.id, *finding.aliases)

    def touches(self, version: str) -> bool:
        """Whether a version of the package has it."""
        return self.fixed == NO_VERSION or Version(version) < Version(self.fixed)


@dataclass(frozen=True)
class Verdict:
    """What was audited and found, what may stay of it, and what is wrong with the list of that."""

    locks: list[str]
    versions: int
    findings: list[Finding]
    ignored: list[Finding]
    problems: list[str]


def main(words: Sequence[str]) -> int:
    """Known vulnerabilities in what the locks pin; other options are pip-audit's."""
    parser = argparse.ArgumentParser(prog="nox -s audit --", description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")
    asked, options = parser.parse_known_args(words)
    try:
        if not shutil.which("pip-audit"):
            raise StackError("pip-audit is not on PATH: nox -s audit")
        allowed = entries((ROOT / IGNORED).read_text(encoding="utf-8"))
        held = {lock: pins(ROOT / "install" / lock) for lock in LOCKS}
        found = answers((pin for lock in held.values() for pin in lock), options)
    except StackError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 1
    verdict = judged(held, found, allowed, date.today())
    print(json.dumps(asdict(verdict)) if asked.json else told(verdict))
    return 1 if verdict.findings or verdict.problems else 0


def entries(text: str) -> list[Ignored]:
    """The list of what may stay; raises StackError for a table that is not whole."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StackError(f"{IGNORED}: {error}") from None
    return [one for see, packages in given.items() for one in _under(see, packages)]


def _under(see: str, packages: Any) -> Iterator[Ignored]:
    for package, table in packages.items() if isinstance(packages, dict) else [("", packages)]:
        ids = dict(table) if isinstance(table, dict) else {}
        until = ids.pop("until", None)
        wrong = [id for id, fixed in ids.items() if not ID.fullmatch(id) or not _is_version(fixed)]
        # A time of a day is a date to Python.
        wrong += ["until"] * (type(until) is not date) + ["ids"] * (not ids)
        if wrong:
            raise StackError(
                f"{IGNORED}: [{see}.{package}] needs until (a date, unquoted) and ids, each with "
                f"the version that mends it or {NO_VERSION}; missing or wrong: {', '.join(wrong)}"
            )
        yield from (Ignored(id, package, see, fixed, until) for id, fixed in ids.items())


def _is_version(word: Any) -> bool:
    return isinstance(word, str) and bool(re.fullmatch(rf"{NO_VERSION}|\d[\w.]*", word))


def judged(
    held: Mapping[str, list[Pin]], found: Answers, allowed: Sequence[Ignored], today: date
) -> Verdict:
    """The answers for the pins of each lock, against the list of what may stay."""
    every = findings(held, found)
    may_stay = [finding for finding in every if any(one.covers(finding) for one in allowed)]
    problems = [problem(one, held, today) for one in allowed]
    others = [finding for finding in every if finding not in may_stay]
    versions = len({pin.key for pinned in held.values() for pin in pinned})
    return Verdict([*held], versions, others, may_stay, [*filter(None, problems)])


def findings(held: Mapping[str, list[Pin]], found: Answers) -> list[Finding]:
    """Every vulnerability of a pinned version, once, with the locks that hold it."""
    places: dict[Key, dict[str, None]] = {}
    for lock, pinned in held.items():
        for pin in pinned:
            places.setdefault(pin.key, {})[lock] = None
    return [
        Finding((*locks,), *key, one["id"], (*sorted(one["aliases"]),), (*one["fix_versions"],))
        for key, locks in sorted(places.items())
        for one in found[key]
    ]


def problem(one: Ignored, held: Mapping[str, list[Pin]], today: date) -> str:
    """What is wrong with an entry of the list, or blank.

    By the locks, not by the answers: services know of different ids, and by different names.
    """
    told = f"{IGNORED}: {one.id} of {one.package}"
    keys = {pin.key for pinned in held.values() for pin in pinned}
    versions = {version for name, version in keys if name == canonicalize_name(one.package)}
    if not any(map(one.touches, versions)):
        return f"{told} is in no lock any more: remove it, there and in docs/cves.md"
    if one.until < today:
        return f"{told} could stay until {one.until}: mend it, or say why it may stay longer"
    return ""


def told(verdict: Verdict) -> str:
    """The verdict for people: findings as a table, problems, what was checked."""
    table = Table("lock", "package", "id", "fixed in", box=None, pad_edge=False)
    for one in verdict.findings:
        fixed = ", ".join(one.fixed_in) or "no version"
        table.add_row("\n".join(one.locks), f"{one.package} {one.version}", one.id, fixed)
    console = Console(width=160, highlight=False)
    with console.capture() as shown:
        console.print(*[table] * bool(verdict.findings))
    checked = (
        f"{len(verdict.locks)} locks, {verdict.versions} pinned versions; "
        f"known vulnerabilities: {len(verdict.findings)}, ignored: {len(verdict.ignored)}"
    )
    return "\n".join(filter(None, [shown.get().rstrip(), *verdict.problems, checked]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
