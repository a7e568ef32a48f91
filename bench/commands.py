"""What a person waits for who types: verbs of `inv` beside the commands they stand for."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.effort import Effort
from bench.measures import Told
from bench.stacks import Ours

# Ours, and what stands in stock's column: below the first no program built on Invoke can come.
COMMANDS = {
    "`inv --list`, beside `import invoke`": (
        ("inv", "--list"), (sys.executable, "-c", "import invoke")),
    "`inv health`, beside `docker compose ps`": (
        ("inv", "health"), ("docker", "compose", "ps")),
    "`inv health --json`, beside `docker compose ps`": (
        ("inv", "health", "--json"), ("docker", "compose", "ps", "--format=json")),
}  # fmt: skip


def commands(stack: Ours, effort: Effort) -> Iterator[Told]:
    """Seconds of each on the running stack, in turn with its counterpart."""
    with stack.running():
        for measure, (ours, other) in COMMANDS.items():
            took: dict[str, list[float]] = {"ours": [], "stock": []}
            # The first of each finds empty caches.
            for _ in range(1 + effort.commands):
                took["ours"].append(seconds(stack, stack.clone.folder, ours))
                took["stock"].append(seconds(stack, stack.clone.folder / "orchestration", other))
            for column, values in took.items():
                yield column, {measure: median(values[1:])}


def seconds(stack: Ours, folder: Path, argv: tuple[str, ...]) -> float:
    """How long a command takes in a folder of the clone."""
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=folder, env=stack.clone.environment(), capture_output=True, text=True, check=False
    )
    took = time.monotonic() - began
    # A stack that was never proven is not all well to `inv health`, which says so with 1.
    assert done.returncode == 0 or argv[:2] == ("inv", "health"), f"{argv}\n{done.stderr[-2000:]}"
    assert not done.stderr, f"{argv}\n{done.stderr[-2000:]}"
    return took
