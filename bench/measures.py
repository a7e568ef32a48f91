"""Measure any stack: its start, and its cost while idle.

A measure starts and stops its stack. It yields each figure with its column as soon as it is taken,
so that a later failure loses nothing. Units are seconds, percent of a core, and MiB.
"""

import time
from collections.abc import Iterator

import psutil

from bench.effort import Effort
from bench.figures import Figures
from bench.stacks import Stack

Measurement = tuple[str, Figures]
ENGINE = "(the engine)"


def starts(stack: Stack, _: Effort) -> Iterator[Measurement]:
    """Yield seconds and CPU seconds of a start without data, and of a second one with data."""
    stack.down(volumes=True)
    for name in ("empty", "again"):
        before, began = machine_cpu(), time.monotonic()
        with stack.running():
            seconds = time.monotonic() - began
            used = machine_cpu() - before
        yield stack.column, {f"up, {name}": seconds, f"up, {name}: CPU": used}


def idle(stack: Stack, effort: Effort) -> Iterator[Measurement]:
    """Yield CPU share and memory of an idle stack, in total and by service.

    The total does not include Docker's own CPU share, which is only yielded as a part.
    """
    with stack.running():
        time.sleep(effort.settle_seconds)
        before, began = stack.cpu(), time.monotonic()
        time.sleep(effort.idle_seconds)
        used, seconds = stack.cpu(), time.monotonic() - began
        memory = stack.memory()
    share = {name: 100 * (used[name] - before.get(name, 0)) / seconds for name in used}
    yield stack.column, {"idle CPU": sum(share[name] for name in share if name != ENGINE)}
    yield stack.column, {"idle memory": sum(memory.values())}
    yield stack.column, {f"idle CPU: {name}": value for name, value in share.items()}
    yield stack.column, {f"idle memory: {name}": value for name, value in memory.items()}


def machine_cpu() -> float:
    """Return the CPU seconds that this machine has worked since its boot."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait
