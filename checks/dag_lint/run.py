"""All findings of a folder: by its sources and by Airflow, at the same time."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from checks.dag_lint import conventions, static
from checks.dag_lint.airflow_parse import Airflow, Parsed
from checks.dag_lint.conventions import Dag
from checks.dag_lint.findings import Finding, apply_waivers
from orchestration.errors import StackError

# Rules of ruff that mean the same as one of ours.
SAME = {"AIR304": "moving-start-date", "AIR003": "top-level-database"}


def lint(
    path: Path, airflow: Airflow, *, limit: float, fresh: bool = False
) -> tuple[list[Finding], list[Parsed]]:
    """Return all findings of a folder, or of one file; and how each file was parsed.

    `limit` is for one file, in seconds. Raises StackError where there is no DAG or Airflow does
    not start.
    """
    files = static.dag_files(path)
    root = path if path.is_dir() else path.parent
    with ThreadPoolExecutor(1) as background:
        parsing = background.submit(airflow.parse, files, root, limit, fresh)
        sources = static.read(files, root)
        findings = [*sources.findings, *static.airflows_own(sources.texts)]
        parsed = parsing.result()
    findings += [finding for one in parsed for finding in one.findings]
    dags = _dags(sources.dags, parsed)
    findings += conventions.duplicates(dags)
    findings += [finding for dag in dags for finding in conventions.missing(dag)]
    if not dags and not any(one.error for one in findings):
        raise StackError(f"{path}: no file gives a DAG")
    return list(apply_waivers(_without_doubles(findings), sources.texts)), parsed


def _dags(dags: Sequence[Dag], parsed: Iterable[Parsed]) -> list[Dag]:
    """Return the DAGs of the sources, completed by what Airflow tells, and those it adds.

    One that only Airflow can tell (made in a loop, or with a computed id) stands where its file
    defines the first one.
    """
    facts = {(one.path, dag["dag_id"]): dag["has"] for one in parsed for dag in one.dags}
    paths = {path for path, _ in facts}
    merged = []
    for dag in dags:
        by_airflow = facts.pop((dag.path, dag.dag_id), {})
        if by_airflow or dag.path not in paths:
            has = {word: by_airflow.get(word) if at is None else at for word, at in dag.has.items()}
            merged.append(replace(dag, has=has))
    lines = {dag.path: dag.line for dag in sorted(dags, key=lambda dag: -dag.line)}
    merged += [Dag(name, path, lines.get(path, 1), has) for (path, name), has in facts.items()]
    return merged


def _without_doubles(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding where two stages or two rules mean the same; the first says most."""
    firsts: dict[tuple[Path, int, str], Finding] = {}
    for one in findings:
        firsts.setdefault((one.path, one.line, one.rule), one)
    broken = {one.path for one in firsts.values() if one.rule == "syntax"}
    return [
        one
        for one in firsts.values()
        if (one.path, one.line, SAME.get(one.rule)) not in firsts
        and not (one.rule == "import-error" and one.path in broken)
    ]
