"""This stack and the stock one in turn on this machine: `nox -s bench -- SLICE…`."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import measures, report
from tests.bench.stacks import Ours, Stack, Stock
from tests.smoke.clone import ROOT, fresh_copy

KEPT = ROOT / ".bench" / "results.json"
# What is measured while a stack is up, and what brings it up and down itself.
WHILE_UP = {"idle": measures.idle, "load": measures.loads}
BY_ITSELF = {"up": measures.starts}


def main() -> int:
    """Measure what is asked for in rounds; 1 where something is above what is aimed at."""
    asked = arguments()
    results: report.Results = {}
    with stacks() as compared:
        for number in range(asked.rounds):
            for name in asked.slices:
                for stack in compared:
                    print(f"round {number + 1}: {name}, {stack.name}", file=sys.stderr, flush=True)
                    report.add(results, stack.name, measured(name, stack))
                    report.write(KEPT, results)
    print("\n".join(report.table(results)))
    if above := list(report.missed(results)):
        print(f"above what is aimed at: {', '.join(above)}", file=sys.stderr)
    return bool(above)


def arguments() -> argparse.Namespace:
    """What the person asks for."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    every = [*BY_ITSELF, *WHILE_UP]
    parser.add_argument("slices", nargs="*", choices=[*every, []], help=f"of {', '.join(every)}")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    asked.slices = asked.slices or every
    return asked


@contextmanager
def stacks() -> Iterator[list[Stack]]:
    """The stacks to compare, built and not up; removed with their data in the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        ours = Ours(fresh_copy(Path(folder, "ours"), "docker"))
        stock = Stock(ours, Path(folder, "stock"))
        try:
            yield [ours, stock]
        finally:
            stock.down(volumes=True)
            ours.clone.remove()


def measured(name: str, stack: Stack) -> report.Figures:
    """A slice's figures of one stack, which is down afterwards."""
    if name in BY_ITSELF:
        return BY_ITSELF[name](stack)
    stack.up()
    stack.forget_login()
    try:
        return WHILE_UP[name](stack)
    finally:
        stack.down()


if __name__ == "__main__":
    sys.exit(main())
