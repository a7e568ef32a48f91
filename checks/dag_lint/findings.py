"""Define the rules for DAG files, the findings, and the waivers of single lines."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A rule of rules.toml, which explains the fields."""

    error: bool
    means: str
    fix: str
    calls: Sequence[str] = ()
    imports: Collection[str] = ()


TABLES = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
RULES = {name: Rule(**table) for name, table in TABLES.items()}
# Ruff's rules for names that Airflow 3 removed are errors; its other Airflow rules are warnings.
GONE = ("AIR301", "AIR302", "AIR303")


@dataclass(frozen=True, order=True)
class Finding:
    """One violation of a rule, with its place and its cause."""

    path: Path
    line: int
    rule: str
    why: str
    fix: str = ""

    @property
    def error(self) -> bool:
        """Return whether it must be fixed. A warning has to be fixed only with `--strict`."""
        return self._rule.error

    @property
    def level(self) -> str:
        """Return `error` or `warning`."""
        return "error" if self.error else "warning"

    @property
    def _rule(self) -> Rule:
        return RULES.get(self.rule) or Rule(self.rule in GONE, "", f"see ruff rule {self.rule}")

    def as_text(self, root: Path) -> str:
        """Return two lines of text: the place and the cause, the meaning and the fix."""
        one = self.as_dict(root)
        advice = ". ".join(filter(None, [one["means"], f"Fix: {one['fix']}"]))
        return f"{one['path']}:{self.line}: {self.level} {self.rule}: {self.why}\n    {advice}"

    def as_dict(self, root: Path) -> dict[str, Any]:
        """Return the finding as data for JSON."""
        advice = {"means": self._rule.means, "fix": self.fix or self._rule.fix}
        return asdict(self) | {"path": relative(self.path, root), "level": self.level} | advice


def relative(path: Path, root: Path) -> str:
    """Return a path relative to `root`, or as it is if it is outside."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


# A waiver is at the end of a line, or alone in the line above.
WAIVER = re.compile(r"#\s*dag_lint:\s*ignore\[([\w\s,-]*)\]\s*(.*?)\s*$")


def apply_waivers(findings: Collection[Finding], texts: Mapping[Path, str]) -> Iterator[Finding]:
    """Yield the findings that are not waived, and findings about the waivers themselves.

    Pass the findings of all stages at once, because a waiver without a finding counts as unused.
    """
    places = {(one.path, one.line, one.rule) for one in findings}
    waived = set()
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines() if "dag_lint:" in text else (), 1):
            if not (match := WAIVER.search(line)):
                continue
            target = number + (not line[: match.start()].strip())
            rules = {name.strip() for name in match[1].split(",")} - {""}
            used = places & {(path, target, rule) for rule in rules}
            why = f"waives {', '.join(sorted(rules)) or 'nothing'}"
            if not match[2]:
                yield Finding(path, number, "waiver-without-reason", why)
            elif not used:
                yield Finding(path, number, "unused-waiver", why)
            else:
                waived |= used
    yield from (one for one in findings if (one.path, one.line, one.rule) not in waived)
