"""What the sources alone tell, of DAG files and of what they import from their folder."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from checks.dag_lint import conventions
from checks.dag_lint.findings import RULES, Finding
from checks.dag_lint.import_time import Code
from orchestration.errors import StackError
from orchestration.process import runner

CALLS = {rule: re.compile("|".join(one.calls)) for rule, one in RULES.items() if one.calls}
HEAVY = RULES["heavy-import"].imports


@dataclass
class Sources:
    """What the sources tell: findings, the DAGs, and the text of each file, for its waivers."""

    findings: list[Finding] = field(default_factory=list)
    dags: list[conventions.Dag] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)


def read(files: Iterable[Path], root: Path) -> Sources:
    """Read the DAG files of a folder and the modules beside them that they import."""
    sources = Sources()
    dag_files = {path for path in files if path.suffix == ".py"}
    waiting = list(dag_files)
    while waiting:
        path = waiting.pop()
        if path in sources.texts:
            continue
        # Bytes that are not UTF-8 are shown as such.
        code = Code(path, path.read_text(encoding="utf-8", errors="backslashreplace"))
        sources.texts[path] = code.text
        sources.findings += findings(code)
        sources.dags += conventions.dags(code) if path in dag_files else []
        waiting += filter(None, (_module(root, name) for _, name in code.imports))
    return sources


def findings(code: Code) -> Iterator[Finding]:
    """Yield all findings of one source."""
    if code.syntax_error:
        yield code.syntax_error
    for call in code.calls():
        name = code.dotted(call.func)
        if rule := next((rule for rule, calls in CALLS.items() if calls.fullmatch(name)), ""):
            why = f"{name.replace('()', '(…)')}(…) at the top of the file"
            yield Finding(code.path, call.lineno, rule, why)
    for line, name in code.imports:
        if (top := name.partition(".")[0]) in HEAVY:
            yield Finding(
                code.path, line, "heavy-import", f"import of {top} at the top of the file"
            )
    yield from conventions.moving_start_dates(code)
    yield from conventions.task_callbacks(code)


def _module(root: Path, dotted: str) -> Path | None:
    """Return the file of the DAGs folder that a dotted name imports, if it is one."""
    # A name is a module or something in it: `ml.data`, `ml.data.load`.
    for name in (dotted, dotted.rpartition(".")[0]):
        place = root.joinpath(*name.split("."))
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if name and path.is_file():
                return path
    return None


def airflows_own(files: Collection[Path]) -> list[Finding]:
    """Return what ruff's rules for Airflow 3 find, without those for a newer one.

    Nobody waives them by `noqa`. Raises StackError if ruff does not answer.
    """
    argv = ["ruff", "check", "--isolated", "--preview", "--select=AIR", "--ignore=AIR321"]
    argv += ["--ignore-noqa", "--exit-zero", "--output-format=json", "--no-cache"]
    if not files:
        return []
    output = runner.run(runner.Command([*argv, *map(str, files)])).output
    try:
        # Warnings of files that are no Python stand before the list; the syntax is told by us.
        found = json.loads(output[output.index("[\n") if "[\n" in output else output.index("[]") :])
    except ValueError:
        raise StackError(f"ruff did not answer in JSON:\n{runner.tail(output)}") from None
    return [
        Finding(Path(one["filename"]), one["location"]["row"], one["code"], one["message"])
        for one in found
        if (one["code"] or "").startswith("AIR")
    ]
