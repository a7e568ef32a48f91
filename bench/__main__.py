"""This stack and the stock one in turn on this machine: `nox -s bench -- SLICE…`."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from itertools import product

from bench import figures, kept, report
from bench.effort import FULL, SHORT
from bench.figures import Results
from bench.slices import COLUMNS, SLICES, needed, stacks
from bench.stacks import Stack
from tests.support.repository import ROOT

KEPT = ROOT / ".bench" / "results.json"
TRIED = KEPT.with_name("tried.json")


def main() -> int:
    """Measure what is asked for in rounds; 1 where something failed or a goal is missed."""
    # What is started is ended and removed on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Commands would be timed as nobody has them.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    asked = arguments()
    results = asked.results
    with stacks(needed(asked.slices, asked.stack or COLUMNS)) as compared:
        failed = list(rounds(asked, compared, results))
    print("\n".join(report.table(results)))
    for told, names in (("failed", failed), ("above what is aimed at", figures.missed(results)),
                        ("not measured", figures.open_goals(results))):  # fmt: skip
        if names:
            print(f"{told}: {'; '.join(names)}", file=sys.stderr)
    return bool(failed or figures.missed(results))


def rounds(
    asked: argparse.Namespace, compared: dict[str, Stack], results: Results
) -> Iterator[str]:
    """Measure and keep; tells what failed, which loses nothing of the rest."""
    for number, name, stack in product(range(asked.rounds), asked.slices, compared.values()):
        measure, of = SLICES[name]
        if stack.name not in of:
            continue
        told = f"round {number + 1}: {name}, {stack.name}"
        print(told, file=sys.stderr, flush=True)
        try:
            for column, found in measure(stack, asked.effort):
                figures.add(results, column, found)
                kept.write(asked.file, results, asked.of)
        except Exception as error:
            traceback.print_exc()
            yield f"{told} ({type(error).__name__})"


def arguments() -> argparse.Namespace:
    """What the person asks for, with the file that keeps it and what stands in it already."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    every = list(SLICES)
    parser.add_argument("slices", nargs="*", choices=[*every, []], help=f"of {', '.join(every)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--stack", action="append", choices=COLUMNS, help="one alone; several times for several"
    )
    parser.add_argument(
        "--keep", action="store_true", help="add to what is kept, if it is of the same commit"
    )
    parser.add_argument(
        "--short", action="store_true", help="see whether it works; what it tells is no measure"
    )
    asked = parser.parse_args()
    asked.slices = [name for name in every if name in asked.slices] or every
    asked.effort, asked.file = (SHORT, TRIED) if asked.short else (FULL, KEPT)
    asked.of = kept.circumstances()
    try:
        asked.results = kept.read(asked.file) if asked.keep else {}
    except kept.OtherCommit as error:
        parser.error(f"--keep: {error}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
