"""Sources and truth together: all findings of a folder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from checks.dag_lint import conventions, static
from checks.dag_lint.airflow_parse import Airflow, Parsed, Truth
from checks.dag_lint.findings import Finding, without_waived
from checks.dag_lint.sources import dag_files
from orchestration.errors import StackError

Dag = conventions.Dag


def look(
    path: Path,
    airflow: Airflow,
    *,
    limit: float,
    fresh: bool = False,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[list[Finding], list[Parsed]]:
    """All findings of a folder, or of one file; and how each file was parsed.

    `limit` is for one file, in seconds; `told` hears how many are done. Raises StackError where
    there is nothing to look at or Airflow does not start.
    """
    files = dag_files(path)
    root = path if path.is_dir() else path.parent
    truth = Truth(airflow, root, limit, fresh)
    with airflow.database() as database:
        try:
            truth.start(files, database)
            read = static.read(files, root)
            found = [*read.findings, *static.airflows_own(list(read.texts))]
            parsed = truth.results(lambda done: told(done, len(files)))
        finally:
            truth.end()
    found += [finding for one in parsed for finding in one.findings]
    dags = _dags(read.dags, parsed)
    found += conventions.duplicates(dags)
    found += [finding for dag in dags for finding in conventions.missing(dag)]
    if not dags and not any(one.error for one in found):
        raise StackError(f"{path}: no file gives a DAG")
    return list(without_waived(_without_doubles(found), read.texts)), parsed


def _dags(read: Sequence[Dag], parsed: Iterable[Parsed]) -> list[Dag]:
    """The DAGs of the sources and those Airflow found; what one does not know, the other does.

    A DAG that only Airflow knows (made in a loop, or with a computed id) stands where its file
    defines the first one.
    """
    facts = {(one.path, dag["dag_id"]): dag["has"] for one in parsed for dag in one.dags}
    told = {path for path, _ in facts}
    dags = []
    for dag in read:
        has = facts.pop((dag.path, dag.dag_id), None)
        if has or dag.path not in told:
            dags.append(_completed(dag, has or {}))
    for (path, dag_id), has in facts.items():
        lines = [dag.line for dag in read if dag.path == path]
        dags.append(Dag(dag_id, path, min(lines, default=1), has))
    return dags


def _completed(dag: Dag, has: dict[str, bool]) -> Dag:
    return replace(
        dag, has={word: has.get(word) if at is None else at for word, at in dag.has.items()}
    )


def _without_doubles(findings: Iterable[Finding]) -> list[Finding]:
    """One finding where two stages or two rules mean the same; the first said most."""
    kept: dict[tuple[Path, int, str], Finding] = {}
    for one in findings:
        kept.setdefault((one.path, one.line, one.rule), one)
    broken = {one.path for one in kept.values() if one.rule == "syntax"}
    same = {"AIR304": "moving-start-date", "AIR003": "top-level-database"}
    return [
        one
        for one in kept.values()
        if (one.path, one.line, same.get(one.rule)) not in kept
        and not (one.rule == "import-error" and one.path in broken)
    ]
