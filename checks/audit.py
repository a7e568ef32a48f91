"""Check the pinned versions for known vulnerabilities that are not ignored (`nox -s audit`)."""

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
from checks.vulnerabilities import Answers, query
from orchestration.dependencies.locks import LOCKS
from orchestration.errors import StackError

# Packages built from one source with the same version. Advisories may name any of them.
PARTS = {"apache-airflow": {"apache-airflow-core"}, "mlflow": {"mlflow-skinny", "mlflow-tracing"}}


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a pinned version, and the versions that fix it."""

    locks: tuple[str, ...]
    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What was audited, the findings, the ignored findings and the problems of advisories.toml."""

    locks: list[str]
    versions: int
    findings: list[Finding]
    ignored: list[Finding]
    problems: list[str]


def main(words: Sequence[str]) -> int:
    """Check the pinned versions for known vulnerabilities; passes other options to pip-audit."""
    parser = argparse.ArgumentParser(prog="nox -s audit --", description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments, options = parser.parse_known_args(words)
    try:
        if not shutil.which("pip-audit"):
            raise StackError("pip-audit is not on PATH.", fix="nox -s audit")
        entries = advisories((ROOT / FILE).read_text(encoding="utf-8"))
        locks = {lock: pins(ROOT / "install" / lock) for lock in LOCKS}
        answers = query(locks.values(), options)
    except StackError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    verdict = judge(locks, answers, entries, date.today())
    print(json.dumps(asdict(verdict)) if arguments.json else summary(verdict))
    return 1 if verdict.findings or verdict.problems else 0


def judge(
    locks: Mapping[str, list[Pin]], answers: Answers, entries: Sequence[Advisory], today: date
) -> Verdict:
    """Compare the answers for the pins of each lock with the advisories that have a last day."""
    keys_of = {lock: {pin.key for pin in lock_pins} for lock, lock_pins in locks.items()}
    keys = sorted(set[Key]().union(*keys_of.values()))
    findings = [
        Finding(
            (*[lock for lock in locks if key in keys_of[lock]],), *key,
            one["id"], (*sorted(one["aliases"]),), (*one["fix_versions"],),
        )
        for key in keys
        for one in answers[key]
    ]  # fmt: skip
    current = [one for one in entries if one.until]
    ignored = [finding for finding in findings if any(covers(one, finding) for one in current)]
    problems = [problem(one, keys, today) for one in current]
    others = [finding for finding in findings if finding not in ignored]
    return Verdict([*locks], len(keys), others, ignored, [*filter(None, problems)])


def covers(advisory: Advisory, finding: Finding) -> bool:
    """Return whether an advisory is about a finding, by its id or an alias."""
    package = canonicalize_name(advisory.package)
    packages = {package, *PARTS.get(package, ())}
    return finding.package in packages and advisory.id in (finding.id, *finding.aliases)


def problem(one: Advisory, keys: Iterable[Key], today: date) -> str:
    """Return why an advisory with a last day is stale or overdue, or a blank string.

    Compares it with the locks, because vulnerability services know different ids and aliases.
    """
    entry, package = f"{FILE}: {one.id} of {one.package}", canonicalize_name(one.package)
    if not any(one.affects(version) for name, version in keys if name == package):
        return f"{entry} affects no lock any more. Remove it, then run: python -m checks.pages"
    if one.until and one.until < today:
        return f"{entry} expired on {one.until}. Fix it, or review it and set a later day."
    return ""


def summary(verdict: Verdict) -> str:
    """Format the verdict as text: a line per finding and problem, then the totals."""
    findings = [
        f"{one.package} {one.version}: {one.id}, fixed in "
        f"{', '.join(one.fixed_in) or 'no version'} ({', '.join(one.locks)})"
        for one in verdict.findings
    ]
    totals = (
        f"{len(verdict.locks)} locks, {verdict.versions} pinned versions; "
        f"known vulnerabilities: {len(verdict.findings)}, ignored: {len(verdict.ignored)}"
    )
    return "\n".join([*findings, *verdict.problems, totals])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
