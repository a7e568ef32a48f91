"""What the sources alone tell, of DAG files and of what they import from their folder."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from checks.dag_lint import conventions, top_level
from checks.dag_lint.findings import Finding
from checks.dag_lint.import_time import Executed, executed
from checks.dag_lint.sources import Source
from orchestration.errors import StackError
from orchestration.process import runner


@dataclass
class Read:
    """What was read: findings, the DAGs, and the text of each file, for its waivers."""

    findings: list[Finding] = field(default_factory=list)
    dags: list[conventions.Dag] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)


def read(files: Iterable[Path], root: Path) -> Read:
    """Read the DAG files of a folder and the modules beside them that they import."""
    found = Read()
    waiting, seen = [(path, True) for path in files if path.suffix == ".py"], set()
    while waiting:
        path, of_airflow = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        source = Source.read(path, root)
        code = executed(source)
        found.texts[path] = source.text
        found.findings += _of(code)
        if of_airflow:
            found.dags += conventions.dags(code)
        waiting += [(module, False) for module in _local(code) if module not in seen]
    return found


def _of(code: Executed) -> Iterator[Finding]:
    if code.source.broken:
        yield code.source.broken
    yield from top_level.work(code)
    yield from top_level.heavy_imports(code)
    yield from conventions.moving_start_dates(code)
    yield from conventions.task_callbacks(code)


def _local(code: Executed) -> Iterator[Path]:
    for node in code.nodes:
        for name in top_level.modules(node):
            if path := code.source.module(name):
                yield path


def airflows_own(files: Sequence[Path]) -> list[Finding]:
    """Ruff's rules for Airflow 3, without those for a newer one; nobody waives them by `noqa`."""
    argv = ["ruff", "check", "--isolated", "--preview", "--select=AIR", "--ignore=AIR321"]
    argv += ["--ignore-noqa", "--exit-zero", "--output-format=json", "--no-cache"]
    sources = [str(path) for path in files if path.suffix == ".py"]
    if not sources:
        return []
    said = runner.run(runner.Command([*argv, *sources])).output
    try:
        # Warnings of files that are no Python stand before the list; the syntax is told by us.
        told = json.loads(said[said.index("[\n") if "[\n" in said else said.index("[]") :])
    except ValueError:
        raise StackError(f"ruff did not answer in JSON:\n{runner.tail(said)}") from None
    return [
        Finding(Path(one["filename"]), one["location"]["row"], one["code"], one["message"])
        for one in told
        if (one["code"] or "").startswith("AIR")
    ]
