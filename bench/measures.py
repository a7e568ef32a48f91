"""What is measured of any stack: its start, and what it costs while nobody asks anything.

A measure brings its stack up and down, and yields figures as they come with their column, so that
one which fails later loses nothing. Each in seconds, percent of a processor or MiB.
"""

import time
from collections.abc import Iterator

import psutil

from bench.effort import Effort
from bench.figures import Figures
from bench.stacks import Stack

Told = tuple[str, Figures]
ENGINE = "(the engine)"


def starts(stack: Stack, _: Effort) -> Iterator[Told]:
    """Up with no data, down, up again with it: seconds, and what all of it used of the machine."""
    stack.down(volumes=True)
    for name in ("empty", "again"):
        before, began = machine_cpu(), time.monotonic()
        with stack.running():
            seconds = time.monotonic() - began
            used = machine_cpu() - before
        yield stack.column, {f"up, {name}": seconds, f"up, {name}: CPU": used}


def idle(stack: Stack, effort: Effort) -> Iterator[Told]:
    """A processor's share and memory, by service and in all; Docker's own share is a part alone."""
    with stack.running():
        time.sleep(effort.settle_seconds)
        before, began = stack.cpu(), time.monotonic()
        time.sleep(effort.idle_seconds)
        used, seconds = stack.cpu(), time.monotonic() - began
        held = stack.memory()
    share = {name: 100 * (used[name] - before.get(name, 0)) / seconds for name in used}
    yield stack.column, {"idle CPU": sum(share[name] for name in share if name != ENGINE)}
    yield stack.column, {"idle memory": sum(held.values())}
    yield stack.column, {f"idle CPU: {name}": value for name, value in share.items()}
    yield stack.column, {f"idle memory: {name}": value for name, value in held.items()}


def machine_cpu() -> float:
    """Seconds of a processor that this machine has worked since it was started."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait
