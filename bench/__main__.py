"""Measure this stack and the stock one in turn on this machine: `nox -s bench -- SLICE…`."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from itertools import product

from bench import figures, report, results_file
from bench.effort import FULL, SHORT
from bench.figures import Results
from bench.slices import COLUMNS, SLICES, needed, stacks
from bench.stacks import Stack
from tests.support.repository import ROOT

RESULTS = ROOT / ".bench" / "results.json"
SHORT_RESULTS = RESULTS.with_name("tried.json")


def main() -> int:
    """Measure the requested slices in rounds. Return 1 if one failed or a goal is missed."""
    # On SIGTERM too, the stacks are stopped and removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Users do not set this variable, and it makes commands slower.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    options = parse_arguments()
    results = options.results
    with stacks(needed(options.slices, options.stack or COLUMNS)) as compared:
        failed = list(rounds(options, compared, results))
    print("\n".join(report.table(results)))
    missed = figures.missed(results)
    for heading, names in (("Failed", failed), ("Goals missed", missed),
                           ("Goals not measured", figures.open_goals(results))):  # fmt: skip
        if names:
            print(f"{heading}: {'; '.join(names)}", file=sys.stderr)
    return bool(failed or missed)


def rounds(
    options: argparse.Namespace, compared: dict[str, Stack], results: Results
) -> Iterator[str]:
    """Measure each slice on each stack, write the results, and yield what failed.

    A failure does not affect the other measurements.
    """
    for number, name, stack in product(range(options.rounds), options.slices, compared.values()):
        measure, stack_names = SLICES[name]
        if stack.name not in stack_names:
            continue
        title = f"round {number + 1}: {name}, {stack.name}"
        print(title, file=sys.stderr, flush=True)
        try:
            for column, values in measure(stack, options.effort):
                figures.add(results, column, values)
                results_file.write(options.file, results, options.circumstances)
        except Exception as error:
            traceback.print_exc()
            yield f"{title} ({type(error).__name__})"


def parse_arguments() -> argparse.Namespace:
    """Return the options, with the results file and the results to which figures are added."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    every = list(SLICES)
    parser.add_argument("slices", nargs="*", choices=[*every, []], help=f"of {', '.join(every)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--stack", action="append", choices=COLUMNS, help="measure only this stack (repeatable)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="add to the existing results of the same commit"
    )
    parser.add_argument(
        "--short", action="store_true", help="test the benchmark; the figures mean nothing"
    )
    options = parser.parse_args()
    options.slices = [name for name in every if name in options.slices] or every
    options.effort, options.file = (SHORT, SHORT_RESULTS) if options.short else (FULL, RESULTS)
    options.circumstances = results_file.circumstances()
    try:
        options.results = results_file.read(options.file) if options.keep else {}
    except results_file.OtherCommit as error:
        parser.error(f"--keep: {error}")
    return options


if __name__ == "__main__":
    sys.exit(main())
