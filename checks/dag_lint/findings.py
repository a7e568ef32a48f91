"""What can be found in a DAG file: the rules, findings, and the waivers of single lines."""

import re
from collections.abc import Iterable, Iterator
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
        """Whether it must be mended; else it is advice, unless `--strict` asks for it."""
        known = RULES.get(self.rule)
        return known.error if known else self.rule in GONE

    @property
    def level(self) -> str:
        """The same as a word."""
        return "error" if self.error else "warning"

    def as_text(self, root: Path) -> str:
        """Two lines for people: where and why; what it means and what to do."""
        means, fix = self._advice()
        place = f"{shown(self.path, root)}:{self.line}"
        advice = "; ".join([*([means] if means else []), f"fix: {fix}"])
        return f"{place}: {self.level} {self.rule}: {self.why}\n    {advice}"

    def as_dict(self, root: Path) -> dict[str, Any]:
        """The same for machines."""
        means, fix = self._advice()
        told = {"path": shown(self.path, root), "level": self.level, "means": means, "fix": fix}
        return asdict(self) | told

    def _advice(self) -> tuple[str, str]:
        rule = RULES.get(self.rule) or Rule(self.error, "", f"see: ruff rule {self.rule}")
        return rule.means, self.fix or rule.fix


def shown(path: Path, root: Path) -> str:
    """A path as a person would type it from `root`."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


@dataclass
class Waiver:
    """`# dag_lint: ignore[rule, rule] reason` behind a line, or alone in the line above it."""

    line: int
    rules: set[str]
    reason: str
    covers: int
    used: bool = False


WAIVER = re.compile(r"#\s*dag_lint:\s*ignore\[([\w\s,-]*)\]\s*(.*?)\s*$")


def waivers(text: str) -> Iterator[Waiver]:
    """The waivers of a source."""
    if "dag_lint:" not in text:
        return
    for number, line in enumerate(text.splitlines(), 1):
        if found := WAIVER.search(line):
            alone = not line[: found.start()].strip()
            rules = {name.strip() for name in found[1].split(",")} - {""}
            yield Waiver(number, rules, found[2], number + alone)


def without_waived(findings: Iterable[Finding], texts: dict[Path, str]) -> Iterator[Finding]:
    """The findings that no line waives, and what is wrong with the waivers themselves.

    Only what was looked for can be waived: give all findings of all stages at once.
    """
    granted = {path: list(waivers(text)) for path, text in texts.items()}
    for finding in findings:
        covering = [
            waiver
            for waiver in granted.get(finding.path, [])
            if waiver.reason and finding.line == waiver.covers and finding.rule in waiver.rules
        ]
        for waiver in covering:
            waiver.used = True
        if not covering:
            yield finding
    for path, found in granted.items():
        for waiver in found:
            names = ", ".join(sorted(waiver.rules)) or "nothing"
            if not waiver.reason:
                yield Finding(path, waiver.line, "waiver-without-reason", f"waives {names}")
            elif not waiver.used:
                yield Finding(path, waiver.line, "unused-waiver", f"waives {names}")
