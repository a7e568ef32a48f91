"""Check arguments of tasks: the queue, and some with which a task fails or is cut off."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from checks.dag_lint.findings import Finding
from checks.dag_lint.import_time import Code, text, words

ORCHESTRATION = Path(__file__).resolve().parents[2] / "orchestration"
COMPOSE_FILES = ("docker-compose.yaml", "docker-compose.override.yaml")
COMPOSE_TAG = re.compile(r"!(reset|override)\b")
QUEUES = re.compile(r"(?:--queues|-q)[ =](\S+)")
VIRTUALENV = re.compile(
    r"airflow\.([\w.]+\.)?(task\.(branch_)?virtualenv|\w*VirtualenvOperator(\.partial)?)\(\)"
)
TRIGGER = re.compile(r"airflow\.[\w.]+\.TriggerDagRunOperator(\.partial)?\(\)")
BACKGROUND = re.compile(r"\b(nohup|setsid|disown)\b")
# The queues of tasks in a source: file and name, and the first line that names it.
Queues = dict[tuple[Path, str], int]


def findings(code: Code) -> Iterator[Finding]:
    """Yield the findings about the arguments of calls in one source."""
    for call in code.calls():
        given = words(call)
        if VIRTUALENV.fullmatch(code.dotted(call)):
            yield from _requirements(code, given)
        elif TRIGGER.fullmatch(code.dotted(call)):
            yield from _trigger(code, given)
        command = given.get("bash_command")
        if command and (match := BACKGROUND.search(text(code.value(command)) or "")):
            yield Finding(code.path, command.lineno, "background-program", f"{match[1]} in a task")


def _requirements(code: Code, given: Mapping[str | None, ast.expr]) -> Iterator[Finding]:
    """Yield invalid requirements. Airflow reads them if the environment is isolated."""
    if not _is(given.get("system_site_packages"), False):
        return
    value = code.value(given.get("requirements", ast.List([])))
    for item in getattr(value, "elts", [value]):
        for line in (text(item) or "").splitlines():
            requirement = line.partition("#")[0].strip()
            if requirement and not _is_valid(requirement):
                why = f"invalid requirement {requirement}"
                yield Finding(code.path, item.lineno, "invalid-requirement", why)


def _trigger(code: Code, given: Mapping[str | None, ast.expr]) -> Iterator[Finding]:
    """Yield arguments with which the triggering of another DAG fails."""
    for name, value in given.items():
        is_template = name == "conf" and "{{" in (text(code.value(value)) or "")
        if is_template or (name == "fail_when_dag_is_paused" and _is(value, True)):
            why = f"{name} is {'one template' if is_template else True}"
            yield Finding(code.path, value.lineno, "failing-trigger", why)


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_valid(requirement: str) -> bool:
    try:
        return bool(Requirement(requirement))
    except InvalidRequirement:
        # A template is not known yet.
        return "{{" in requirement


def queues(code: Code) -> Queues:
    """Return the queues that a source names."""
    found: Queues = {}
    for node in code.nodes:
        value = words(node).get("queue")
        if value and (name := text(code.value(value))):
            found[code.path, name] = min(value.lineno, found.get((code.path, name), value.lineno))
    return found


def served_queues(folder: Path = ORCHESTRATION) -> set[str]:
    """Return the queues that the workers in the Compose files serve."""
    commands: dict[str, str] = {}
    for path in (folder / name for name in COMPOSE_FILES):
        content = path.read_text("utf-8") if path.exists() else ""
        compose = yaml.safe_load(COMPOSE_TAG.sub("", content)) or {}
        for name, service in (compose.get("services") or {}).items():
            if command := (service or {}).get("command"):
                commands[name] = (
                    command if isinstance(command, str) else " ".join(map(str, command))
                )
    workers = [command for command in commands.values() if "celery worker" in command]
    matches = [QUEUES.search(command) for command in workers]
    return {name for match in matches for name in (match[1] if match else "default").split(",")}


def unserved_queues(
    path: Path, dags: Iterable[Mapping[str, Any]], lines: Queues, served: set[str]
) -> Iterator[Finding]:
    """Yield the queues of a file's tasks that no worker serves, at the line that names them."""
    for dag in dags:
        for name in sorted({*dag.get("queues", ())} - served):
            why = f"DAG {dag['dag_id']} has tasks for the queue {name}, which no worker serves"
            yield Finding(path, lines.get((path, name), 1), "unserved-queue", why)
