"""What the source says of its DAGs: ids, start dates, owner, tags, retries, callbacks."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from checks.dag_lint.findings import Finding
from checks.dag_lint.import_time import FUNCTIONS, Executed

# True, False, or None where the source alone does not tell.
Known = bool | None
EXPECTED = ("owner", "tags", "retries")
MOVING = re.compile(
    r"(datetime|pendulum|airflow)[\w.]*\.(now|utcnow|today|yesterday|tomorrow|days_ago)"
)
CALLBACKS = {"on_failure_callback", "on_retry_callback", "on_success_callback"}
A_DAG = re.compile(r"airflow\.(\w+\.)*DAG")
OF_A_DAG = re.compile(r"airflow\.(\w+\.)*(DAG|dag)")


@dataclass(frozen=True)
class Dag:
    """A DAG as the source defines it; a blank id is known only to who runs it."""

    dag_id: str
    path: Path
    line: int
    has: Mapping[str, Known]


def dags(code: Executed) -> Iterator[Dag]:
    """Each `DAG(…)` and `@dag` that runs at import."""
    for node in code.nodes:
        if isinstance(node, FUNCTIONS):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else None
                if OF_A_DAG.fullmatch(code.dotted(call.func if call else decorator)):
                    yield _dag(code, call, decorator.lineno, node.name)
        elif isinstance(node, ast.Call) and A_DAG.fullmatch(code.dotted(node.func)):
            yield _dag(code, node, node.lineno, "")


def _dag(code: Executed, call: ast.Call | None, line: int, function: str) -> Dag:
    given = {word.arg: word.value for word in call.keywords if word.arg} if call else {}
    unknown = bool(call and any(word.arg is None for word in call.keywords))
    named = given.get("dag_id") or next(iter(call.args if call else ()), None)
    dag_id = function if named is None else _text(code.value(named))
    defaults = _keys(code, given.get("default_args"))
    has: dict[str, Known] = {"tags": _given(code, given.get("tags"))}
    for name in ("owner", "retries"):
        # A task may say it for itself; which ones do only the parsed DAG tells.
        elsewhere = defaults is None or any(
            word.arg == name for other in code.calls() for word in other.keywords
        )
        has[name] = True if defaults and name in defaults else None if elsewhere else False
    return Dag(dag_id, code.source.path, line, dict.fromkeys(EXPECTED) if unknown else has)


def _text(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.Constant) else ""
    return value if isinstance(value, str) else ""


def _given(code: Executed, node: ast.expr | None) -> Known:
    if node is None:
        return False
    value = code.value(node)
    return bool(value.elts) if isinstance(value, ast.List | ast.Set | ast.Tuple) else None


def _keys(code: Executed, node: ast.expr | None) -> set[str] | None:
    """The keys of a dictionary in the source; None where it is made elsewhere."""
    if node is None:
        return set()
    match code.value(node):
        case ast.Dict(keys=keys) if all(isinstance(key, ast.Constant) for key in keys):
            return {_text(key) for key in keys if key}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=words) if all(
            word.arg for word in words
        ):
            return {str(word.arg) for word in words}
    return None


def missing(dag: Dag) -> Iterator[Finding]:
    """What a DAG should say and does not."""
    name = f"DAG {dag.dag_id}" if dag.dag_id else "the DAG"
    for word in EXPECTED:
        if dag.has.get(word) is False:
            yield Finding(dag.path, dag.line, f"missing-{word}", f"{name} has no {word}")


def moving_start_dates(code: Executed) -> Iterator[Finding]:
    """Start dates that are computed from the clock."""
    for value in _values_of(code, "start_date"):
        for part in ast.walk(code.value(value)):
            name = code.dotted(part.func) if isinstance(part, ast.Call) else ""
            if MOVING.fullmatch(name):
                why = f"start_date is {name}(…)"
                yield Finding(code.source.path, value.lineno, "moving-start-date", why)
                break


def _values_of(code: Executed, key: str) -> Iterator[ast.expr]:
    for node in code.nodes:
        if isinstance(node, ast.Call):
            yield from (word.value for word in node.keywords if word.arg == key)
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value for word, value in pairs if word and _text(word) == key)


def task_callbacks(code: Executed) -> Iterator[Finding]:
    """Callbacks of tasks, their own or by default arguments; a DAG's own do run."""
    for node in code.nodes:
        if isinstance(node, ast.Call) and not OF_A_DAG.fullmatch(code.dotted(node.func)):
            words: Iterable[str | None] = [word.arg for word in node.keywords]
        elif isinstance(node, ast.Dict):
            words = [_text(key) for key in node.keys if key]
        else:
            continue
        for word in CALLBACKS & set(words):
            line = getattr(node, "lineno", 1)
            yield Finding(code.source.path, line, "task-callback", f"a task has {word}")


def duplicates(found: Iterable[Dag]) -> Iterator[Finding]:
    """The same dag_id in two places; told at the later one."""
    first: dict[str, Dag] = {}
    for dag in sorted(found, key=lambda dag: (str(dag.path), dag.line)):
        if not dag.dag_id:
            continue
        before = first.setdefault(dag.dag_id, dag)
        if before is not dag:
            why = f"{dag.dag_id} is defined in {before.path.name}:{before.line} too"
            yield Finding(dag.path, dag.line, "duplicate-dag-id", why)
