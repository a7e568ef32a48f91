"""Check the DAG files of folders: `python -m checks.dag_lint FOLDER …`."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from checks.dag_lint.airflow_parse import Airflow, Parsed
from checks.dag_lint.findings import Finding, relative
from checks.dag_lint.run import lint
from checks.dag_lint.static import left_out
from orchestration.errors import StackError

SLOWEST = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 without errors, 1 with errors. Exits with 2 on wrong usage."""
    options = _options(argv)
    started = time.monotonic()
    # Do not resolve the link: Python finds its virtual environment by the path of the link.
    python = options.airflow.absolute()
    airflow = Airflow(python, python.parent.parent / "dag_lint")
    paths = [path.resolve() for path in options.paths or [Path("dags")]]
    try:
        results = [lint(path, airflow, limit=options.limit, fresh=options.fresh) for path in paths]
    except StackError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    findings = sorted(finding for group, _ in results for finding in group)
    parsed = [one for _, files in results for one in files]
    report = _report_json if options.json else _report_text
    others = [file for path in paths for file in left_out(path)]
    report(findings, parsed, others, time.monotonic() - started)
    return int(any(one.error or options.strict for one in findings))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s dag_lint --", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folder or file (dags)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")
    parser.add_argument("--fresh", action="store_true", help="parse unchanged files again")
    parser.add_argument(
        "--limit", type=float, default=30, metavar="SECONDS", help="per file (30, as in Airflow)"
    )
    parser.add_argument("--airflow", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.limit <= 0:
        parser.error("--limit needs a positive number of seconds")
    return options


def _report_json(
    findings: Sequence[Finding], parsed: Sequence[Parsed], others: Sequence[Path], seconds: float
) -> None:
    here = Path.cwd()
    files = [
        {
            "path": relative(one.path, here),
            "seconds": round(one.seconds, 3),
            "parsed_now": not one.cached,
            "dags": [dag["dag_id"] for dag in one.dags],
        }
        for one in parsed
    ]
    report = {
        "findings": [one.as_dict(here) for one in findings],
        "files": files,
        "left_out": [relative(path, here) for path in others],
    }
    print(json.dumps(report | {"seconds": round(seconds, 3)}, indent=2))


def _report_text(
    findings: Sequence[Finding], parsed: Sequence[Parsed], others: Sequence[Path], seconds: float
) -> None:
    here = Path.cwd()
    for one in findings:
        print(one.as_text(here))
    levels = sorted(Counter(one.level for one in findings).items())
    verdict = ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in levels) or "no findings"
    cached = sum(one.cached for one in parsed)
    unchanged = f" ({cached} unchanged)" if cached else ""
    dags = sum(len(one.dags) for one in parsed)
    print(f"DAG files: {len(parsed)}{unchanged}, DAGs: {dags}, in {seconds:.1f} s: {verdict}")
    if others:
        names = ", ".join(relative(path, here) for path in others[:SLOWEST])
        more = f" and {len(others) - SLOWEST} more" if len(others) > SLOWEST else ""
        print(f"left out ({len(others)} .py without the words dag and airflow): {names}{more}")
    slowest = sorted(parsed, key=lambda one: -one.seconds)[:SLOWEST]
    times = [f"{relative(one.path, here)} {one.seconds:.2f} s" for one in slowest]
    print(f"slowest to parse: {', '.join(times)}")


if __name__ == "__main__":
    sys.exit(main())
