"""Check the DAGs in a source: ids, start dates, owner, tags and retries."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from checks.dag_lint.findings import Finding
from checks.dag_lint.import_time import Code, text, words

EXPECTED = ("owner", "tags", "retries")
MOVING = re.compile(
    r"(datetime|pendulum|airflow)[\w.]*\.(now|utcnow|today|yesterday|tomorrow|days_ago)"
)
DAG_CALL = re.compile(r"airflow\.(\w+\.)*DAG\(\)")
DAG_DECORATOR = re.compile(r"airflow\.(\w+\.)*(DAG|dag)(\(\))?")


@dataclass(frozen=True)
class Dag:
    """A DAG as the source defines it. The id is blank if only Airflow can determine it.

    `has` maps each word of EXPECTED to whether the DAG has it, None if only Airflow knows.
    """

    dag_id: str
    path: Path
    line: int
    has: Mapping[str, bool | None]


def dags(code: Code) -> Iterator[Dag]:
    """Yield each `DAG(…)` and `@dag` that runs at import."""
    for node in code.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if DAG_DECORATOR.fullmatch(code.dotted(decorator)):
                    yield _dag(code, decorator, node.name)
        elif isinstance(node, ast.Call) and DAG_CALL.fullmatch(code.dotted(node)):
            yield _dag(code, node)


def _dag(code: Code, node: ast.expr, function: str = "") -> Dag:
    """Return the DAG of a call or decorator."""
    given = words(node)
    name = given.get("dag_id") or next(iter(getattr(node, "args", [])), None)
    dag_id = (text(code.value(name)) or "") if name else function
    tags = code.value(given["tags"]) if "tags" in given else ast.List([])
    has: dict[str, bool | None] = dict.fromkeys(EXPECTED)
    if None not in given:
        has["tags"] = bool(tags.elts) if isinstance(tags, ast.List | ast.Set | ast.Tuple) else None
        defaults = _default_args(code, given.get("default_args"))
        # Tasks may set it themselves. Only the parsed DAG shows whether all of them do.
        task_words = {word.arg for call in code.calls() for word in call.keywords}
        for word in ("owner", "retries"):
            unknown = None in defaults or word in task_words
            has[word] = True if word in defaults else None if unknown else False
    return Dag(dag_id, code.path, node.lineno, has)


def _default_args(code: Code, node: ast.expr | None) -> set[str | None]:
    """Return the keys of a dictionary in the source, with None if it may have others."""
    match node and code.value(node):
        case None:
            return set()
        case (ast.Dict() | ast.Call(func=ast.Name(id="dict"), args=[])) as value:
            return set(words(value))
    return {None}


def missing(dag: Dag) -> Iterator[Finding]:
    """Yield a finding for each expected word that a DAG lacks."""
    name = f"DAG {dag.dag_id}" if dag.dag_id else "the DAG"
    for word in EXPECTED:
        if dag.has.get(word) is False:
            yield Finding(dag.path, dag.line, f"missing-{word}", f"{name} has no {word}")


def moving_start_dates(code: Code) -> Iterator[Finding]:
    """Yield start dates that are computed from the clock."""
    for node in code.nodes:
        if value := words(node).get("start_date"):
            calls = (part for part in ast.walk(code.value(value)) if isinstance(part, ast.Call))
            if name := next(filter(MOVING.fullmatch, (code.dotted(one.func) for one in calls)), ""):
                why = f"start_date is {name}(…)"
                yield Finding(code.path, value.lineno, "moving-start-date", why)


def duplicates(dags: Iterable[Dag]) -> Iterator[Finding]:
    """Yield each DAG whose dag_id is already used, in another file or earlier in its file."""
    firsts: dict[str, Dag] = {}
    for dag in sorted(dags, key=lambda dag: (str(dag.path), dag.line)):
        first = firsts.setdefault(dag.dag_id, dag)
        if dag.dag_id and first is not dag:
            why = f"{dag.dag_id} is already defined in {first.path.name}:{first.line}"
            yield Finding(dag.path, dag.line, "duplicate-dag-id", why)
