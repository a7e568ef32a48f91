"""Known vulnerabilities in what the locks pin, but for those that may stay. `nox -s audit`."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from packaging.utils import canonicalize_name

from checks.advisories import FILE, ROOT, Advisory, advisories
from checks.pins import Key, Pin, pins
from checks.vulnerabilities import Answers, answers
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError

# Packages cut from one source, under the same versions: advisories name any of them.
PARTS = {"apache-airflow": {"apache-airflow-core"}, "mlflow": {"mlflow-skinny", "mlflow-tracing"}}


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
        known = advisories((ROOT / FILE).read_text(encoding="utf-8"))
        held = {lock: pins(ROOT / "install" / lock) for lock in LOCKS}
        found = answers(held.values(), options)
    except StackError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 1
    verdict = judged(held, found, known, date.today())
    print(json.dumps(asdict(verdict)) if asked.json else told(verdict))
    return 1 if verdict.findings or verdict.problems else 0


def judged(
    held: Mapping[str, list[Pin]], found: Answers, known: Sequence[Advisory], today: date
) -> Verdict:
    """The answers for the pins of each lock, against the advisories that have a last day."""
    locks = {lock: {pin.key for pin in pinned} for lock, pinned in held.items()}
    keys = sorted(set[Key]().union(*locks.values()))
    every = [
        Finding(
            (*[lock for lock in locks if key in locks[lock]],), *key,
            one["id"], (*sorted(one["aliases"]),), (*one["fix_versions"],),
        )
        for key in keys
        for one in found[key]
    ]  # fmt: skip
    allowed = [one for one in known if one.until]
    may_stay = [finding for finding in every if any(covers(one, finding) for one in allowed)]
    problems = [problem(one, keys, today) for one in allowed]
    others = [finding for finding in every if finding not in may_stay]
    return Verdict([*locks], len(keys), others, may_stay, [*filter(None, problems)])


def covers(advisory: Advisory, finding: Finding) -> bool:
    """Whether an advisory is about a finding, by any of its names."""
    package = canonicalize_name(advisory.package)
    ours = {package, *PARTS.get(package, ())}
    return finding.package in ours and advisory.id in (finding.id, *finding.aliases)


def problem(one: Advisory, keys: Iterable[Key], today: date) -> str:
    """What is wrong with an advisory that has a last day, or blank.

    By the locks, not by the answers: services know of different ids, and by different names.
    """
    told, package = f"{FILE}: {one.id} of {one.package}", canonicalize_name(one.package)
    if not any(one.affects(version) for name, version in keys if name == package):
        return f"{told} is in no lock any more: remove it, then: python -m checks.pages"
    if one.until and one.until < today:
        return f"{told} could stay until {one.until}: fix it, or say why it may stay longer"
    return ""


def told(verdict: Verdict) -> str:
    """The verdict for people: a line for each finding and problem, and what was checked."""
    findings = [
        f"{one.package} {one.version}: {one.id}, fixed in "
        f"{', '.join(one.fixed_in) or 'no version'} ({', '.join(one.locks)})"
        for one in verdict.findings
    ]
    checked = (
        f"{len(verdict.locks)} locks, {verdict.versions} pinned versions; "
        f"known vulnerabilities: {len(verdict.findings)}, ignored: {len(verdict.ignored)}"
    )
    return "\n".join([*findings, *verdict.problems, checked])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
