"""Collect all findings of a folder, from the sources and from Airflow in parallel."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from checks.dag_lint import arguments, conventions, image, static
from checks.dag_lint.airflow_parse import Airflow, Parsed
from checks.dag_lint.conventions import Dag
from checks.dag_lint.findings import Finding, apply_waivers
from orchestration.dependencies import debian
from orchestration.errors import StackError

# Rules of ruff that are equivalent to one of ours.
SAME = {"AIR304": "moving-start-date", "AIR003": "top-level-database"}


def lint(
    path: Path, airflow: Airflow, *, limit: float, fresh: bool = False
) -> tuple[list[Finding], list[Parsed]]:
    """Return all findings of a folder or one file, and the parse result of each file.

    `limit` is the seconds for one file. Raises StackError without any DAG, or if Airflow does not
    start.
    """
    files = static.dag_files(path)
    root = path if path.is_dir() else path.parent
    with ThreadPoolExecutor(1) as background:
        parsing = background.submit(airflow.parse, files, root, limit, fresh)
        sources = static.read(files, root)
        findings = [*sources.findings, *static.ruff_findings(sources.texts)]
        parsed = parsing.result()
    findings += _missing_in_image_too([finding for one in parsed for finding in one.findings], root)
    served = arguments.served_queues()
    for one in parsed:
        findings += arguments.unserved_queues(one.path, one.dags, sources.queues, served)
    dags = _dags(sources.dags, parsed)
    findings += conventions.duplicates(dags)
    findings += [finding for dag in dags for finding in conventions.missing(dag)]
    if not dags and not any(one.error for one in findings):
        raise StackError(f"No file in {path} defines a DAG.")
    return list(apply_waivers(_deduplicate(findings), sources.texts)), parsed


def _missing_in_image_too(findings: list[Finding], root: Path) -> list[Finding]:
    """Leave out imports that fail here for lack of a library that the built image has."""
    missing = [
        one for one in findings
        if one.rule == "import-error" and debian.MISSING_LIBRARY.search(one.why)
    ]  # fmt: skip
    output = image.import_errors(root) if missing else None
    if output is None:
        return findings
    failed = {one.path for one in missing if f"dags/{one.path.relative_to(root)}: " in output}
    return [one for one in findings if one not in missing or one.path in failed]


def _dags(dags: Sequence[Dag], parsed: Iterable[Parsed]) -> list[Dag]:
    """Complete the DAGs of the sources with Airflow's facts, and add DAGs only Airflow found.

    A DAG that only Airflow found (from a loop, or with a computed id) gets the line of the first
    DAG in its file.
    """
    facts = {(one.path, dag["dag_id"]): dag["has"] for one in parsed for dag in one.dags}
    paths = {path for path, _ in facts}
    merged = []
    for dag in dags:
        fact = facts.pop((dag.path, dag.dag_id), {})
        if fact or dag.path not in paths:
            has = {word: fact.get(word) if at is None else at for word, at in dag.has.items()}
            merged.append(replace(dag, has=has))
    lines = {dag.path: dag.line for dag in sorted(dags, key=lambda dag: -dag.line)}
    merged += [Dag(name, path, lines.get(path, 1), has) for (path, name), has in facts.items()]
    return merged


def _deduplicate(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the first finding, which is the most specific, if two stages or rules agree."""
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
