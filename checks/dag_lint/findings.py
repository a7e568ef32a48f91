"""The rules for DAG files, findings, and the waivers of single lines."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EACH_PARSE = "Airflow runs this every time it parses the file, again and again"


@dataclass(frozen=True)
class Rule:
    """A rule: whether it is an error, what it means for Airflow, and what to do."""

    error: bool
    means: str
    fix: str


RULES = {
    "syntax": Rule(True, "Airflow cannot read the file", "correct the syntax"),
    "top-level-network": Rule(True, EACH_PARSE, "move it into a task"),
    "top-level-database": Rule(
        True, EACH_PARSE, "move it into a task, or use a template: {{ var.value.name }}"
    ),
    "top-level-process": Rule(True, EACH_PARSE, "move it into a task"),
    "top-level-sleep": Rule(True, EACH_PARSE, "wait in a task: a sensor, or deferred"),
    "top-level-file": Rule(False, EACH_PARSE, "move it into a task, or keep the data in the code"),
    "heavy-import": Rule(
        False, "every process that loads the DAG pays for it", "import it inside the task"
    ),
    "moving-start-date": Rule(
        True, "runs are computed from it, so they move too, or never come", "give a fixed date"
    ),
    "missing-owner": Rule(
        False, "nobody knows whom to ask", 'default_args={"owner": …} or owner= of each task'
    ),
    "missing-tags": Rule(False, "the DAG is hard to find in the list", "tags=[…]"),
    "missing-retries": Rule(
        False, "one hiccup fails the run", 'default_args={"retries": …}; 0 if that is meant'
    ),
    "task-callback": Rule(
        False,
        "Airflow 3.0.1 cannot run a task's callback after its process was killed: the task is "
        "never ended, the file never parsed again",
        "tell failures by a task with trigger_rule='one_failed'",
    ),
    "duplicate-dag-id": Rule(
        True, "one replaces the other, whichever is parsed last", "give each DAG its own id"
    ),
    "import-error": Rule(True, "the file gives no DAG", "what its last line says"),
    "time-limit": Rule(
        True, "Airflow gives up on such a file", "move the work into tasks, or raise --limit"
    ),
    "ended": Rule(
        True, "it would take Airflow's parsing process with it", "raise an exception instead"
    ),
    "kill": Rule(True, "it could end Airflow itself", "move it into a task"),
    "slow-parse": Rule(
        False, "edits are seen late and every task starts later", "import and compute inside tasks"
    ),
    "waiver-without-reason": Rule(
        True, "nobody can tell whether it still holds", "# dag_lint: ignore[rule] reason"
    ),
    "unused-waiver": Rule(False, "nothing is found in this line", "remove it"),
}
# Ruff's rules for Airflow 3: what is gone is an error, what is only better said is not.
GONE = ("AIR301", "AIR302", "AIR303")


@dataclass(frozen=True, order=True)
class Finding:
    """One finding: where, which rule, and why."""

    path: Path
    line: int
    rule: str
    why: str
    fix: str = ""

    @property
    def error(self) -> bool:
        """Return whether it must be mended; else it is advice, unless `--strict` is given."""
        return self._rule.error

    @property
    def level(self) -> str:
        """Return the same as a word."""
        return "error" if self.error else "warning"

    @property
    def _rule(self) -> Rule:
        return RULES.get(self.rule) or Rule(self.rule in GONE, "", f"see: ruff rule {self.rule}")

    def as_text(self, root: Path) -> str:
        """Return two lines for people: where and why; what it means and what to do."""
        one = self.as_dict(root)
        advice = "; ".join(filter(None, [one["means"], f"fix: {one['fix']}"]))
        return f"{one['path']}:{self.line}: {self.level} {self.rule}: {self.why}\n    {advice}"

    def as_dict(self, root: Path) -> dict[str, Any]:
        """Return the same for machines."""
        advice = {"means": self._rule.means, "fix": self.fix or self._rule.fix}
        return asdict(self) | {"path": relative(self.path, root), "level": self.level} | advice


def relative(path: Path, root: Path) -> str:
    """Return a path as a person would type it from `root`."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


# Behind a line, or alone in the line above it.
WAIVER = re.compile(r"#\s*dag_lint:\s*ignore\[([\w\s,-]*)\]\s*(.*?)\s*$")


def apply_waivers(findings: Collection[Finding], texts: Mapping[Path, str]) -> Iterator[Finding]:
    """Yield the findings that no line waives, and what is wrong with the waivers themselves.

    A waiver without a finding is reported as unused: give all findings of all stages at once.
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
