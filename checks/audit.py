"""Known vulnerabilities in what the locks pin, but for those that may stay. `nox -s audit`."""

import argparse
import json
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path

from packaging.utils import canonicalize_name
from rich.console import Console
from rich.table import Table

from checks.pins import Key, Pin, pins
from checks.vulnerabilities import Answers, answers
from orchestration import StackError
from orchestration.locks import LOCKS

ROOT = Path(__file__).resolve().parents[1]
IGNORED = "checks/audit_ignored.toml"


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
    """A vulnerability that may stay, why, and the last day it may."""

    id: str
    package: str
    reason: str
    until: date

    def covers(self, finding: Finding) -> bool:
        """Whether it means this one, by any of its names."""
        package = canonicalize_name(self.package)
        return package == finding.package and self.id in (finding.id, *finding.aliases)


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
    """The list of what may stay; raises StackError for an entry that is not whole."""
    try:
        given = tomllib.loads(text).get("ignored", [])
    except tomllib.TOMLDecodeError as error:
        raise StackError(f"{IGNORED}: {error}") from None
    kinds = {field.name: field.type for field in fields(Ignored)}
    for number, entry in enumerate(given, 1):
        wrong = [name for name, kind in kinds.items() if type(entry.get(name)) is not kind]
        wrong += [name for name, value in entry.items() if name not in kinds or value == ""]
        if wrong:
            raise StackError(
                f"{IGNORED}: entry {number} ({entry.get('id') or 'no id'}) needs id, package, "
                f"reason and until (a date, unquoted); missing or wrong: {', '.join(wrong)}"
            )
    return [Ignored(**entry) for entry in given]


def judged(
    held: Mapping[str, list[Pin]], found: Answers, allowed: Sequence[Ignored], today: date
) -> Verdict:
    """The answers for the pins of each lock, against the list of what may stay."""
    every = findings(held, found)
    may_stay = [finding for finding in every if any(one.covers(finding) for one in allowed)]
    problems = [problem(one, every, today) for one in allowed]
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


def problem(one: Ignored, every: Sequence[Finding], today: date) -> str:
    """What is wrong with an entry of the list, or blank."""
    told = f"{IGNORED}: {one.id} of {one.package}"
    if not any(one.covers(finding) for finding in every):
        return f"{told} is found nowhere any more: remove it"
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
