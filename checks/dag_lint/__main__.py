"""`python -m checks.dag_lint FOLDER …`: what is wrong with the DAGs of a folder."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from checks.dag_lint.airflow_parse import Airflow, Parsed
from checks.dag_lint.findings import Finding, shown
from checks.dag_lint.run import look
from orchestration.errors import StackError

SLOWEST = 3


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 if nothing has to be mended, 1 if something has, 2 for wrong usage."""
    asked = _asked(argv)
    try:
        return _looked_at(asked)
    except StackError as error:
        print(f"dag_lint: {error}", file=sys.stderr)
        return 1


def _asked(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s dag_lint --", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folder or file (dags)")
    parser.add_argument("--json", action="store_true", help="one document for machines")
    parser.add_argument("--strict", action="store_true", help="warnings count too")
    parser.add_argument("--fresh", action="store_true", help="parse again what did not change")
    parser.add_argument(
        "--limit", type=float, default=30, metavar="SECONDS", help="for one file (30, as Airflow)"
    )
    parser.add_argument("--airflow", type=Path, required=True, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.limit <= 0:
        parser.error("--limit needs a positive number of seconds")
    return asked


def _looked_at(asked: argparse.Namespace) -> int:
    started = time.monotonic()
    paths = [path.resolve() for path in asked.paths or [Path("dags")]]
    # Not resolved: the link is what makes this Python see its environment.
    python = asked.airflow.absolute()
    airflow = Airflow(python, python.parent.parent / "dag_lint")
    findings: list[Finding] = []
    parsed: list[Parsed] = []
    for path in paths:
        some, results = look(path, airflow, limit=asked.limit, fresh=asked.fresh, told=_progress)
        findings += some
        parsed += results
    told = _as_json if asked.json else _as_text
    told(sorted(findings), parsed, time.monotonic() - started)
    return int(any(one.error or asked.strict for one in findings))


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{of} parsed " + "\r" * (done == of), end="", file=sys.stderr, flush=True)


def _as_json(findings: Sequence[Finding], parsed: Sequence[Parsed], seconds: float) -> None:
    here = Path.cwd()
    files = [
        {
            "path": shown(one.path, here),
            "seconds": round(one.seconds, 3),
            "parsed_now": not one.remembered,
            "dags": [dag["dag_id"] for dag in one.dags],
        }
        for one in parsed
    ]
    told = [one.as_dict(here) for one in findings]
    print(json.dumps({"findings": told, "files": files, "seconds": round(seconds, 3)}, indent=2))


def _as_text(findings: Sequence[Finding], parsed: Sequence[Parsed], seconds: float) -> None:
    here = Path.cwd()
    for one in findings:
        print(one.as_text(here))
    levels = Counter(one.level for one in findings)
    counted = [f"{levels[level]} {level}{'s' * (levels[level] != 1)}" for level in sorted(levels)]
    remembered = sum(one.remembered for one in parsed)
    as_before = f" ({remembered} as before)" if remembered else ""
    dags = sum(len(one.dags) for one in parsed)
    verdict = ", ".join(counted) or "nothing to mend"
    print(f"DAG files: {len(parsed)}{as_before}, DAGs: {dags}, in {seconds:.1f} s: {verdict}")
    slowest = sorted(parsed, key=lambda one: -one.seconds)[:SLOWEST]
    times = [f"{shown(one.path, here)} {one.seconds:.2f} s" for one in slowest]
    print(f"slowest to parse: {', '.join(times)}")


if __name__ == "__main__":
    sys.exit(main())
