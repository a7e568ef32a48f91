"""Measure how long `inv` commands take, next to the commands that they are compared with."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.effort import Effort
from bench.measures import Measurement
from bench.stacks import Ours

# Measure: our command and the one in the column `stock`. No program that uses Invoke can be faster
# than its import. Stored results contain these names, so they stay.
COMMANDS = {
    "`inv --list`, beside `import invoke`": (  # codespell:ignore beside
        ("inv", "--list"), (sys.executable, "-c", "import invoke")),
    "`inv health`, beside `docker compose ps`": (  # codespell:ignore beside
        ("inv", "health"), ("docker", "compose", "ps")),
    "`inv health --json`, beside `docker compose ps`": (  # codespell:ignore beside
        ("inv", "health", "--json"), ("docker", "compose", "ps", "--format=json")),
}  # fmt: skip


def commands(stack: Ours, effort: Effort) -> Iterator[Measurement]:
    """Yield the median seconds of each command and its counterpart, run in turn."""
    with stack.running():
        for measure, (ours, other) in COMMANDS.items():
            seconds: dict[str, list[float]] = {"ours": [], "stock": []}
            # The first run of each command is left out, because its caches are empty.
            for _ in range(1 + effort.commands):
                seconds["ours"].append(run_seconds(stack, stack.clone.folder, ours))
                folder = stack.clone.folder / "orchestration"
                seconds["stock"].append(run_seconds(stack, folder, other))
            for column, values in seconds.items():
                yield column, {measure: median(values[1:])}


def run_seconds(stack: Ours, folder: Path, argv: tuple[str, ...]) -> float:
    """Run a command in a folder of the clone and return the seconds that it took."""
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=folder, env=stack.clone.environment(), capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    # `inv health` exits with 1 here, because the canary has never run on this stack.
    assert done.returncode == 0 or argv[:2] == ("inv", "health"), f"{argv}\n{done.stderr[-2000:]}"
    assert not done.stderr, f"{argv}\n{done.stderr[-2000:]}"
    return seconds
