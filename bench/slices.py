"""List the slices of the benchmark in their order, each with the stacks that it measures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import builds, commands, load, measures, tracking
from bench.figures import COLUMNS
from bench.measures import Measurement
from bench.stacks import Ours, Stack
from bench.standalone import Standalone
from bench.stock import Stock
from tests.e2e.clone import fresh_copy

SLICES: Mapping[str, tuple[Callable[[Any, Any], Iterator[Measurement]], tuple[str, ...]]] = {
    "up": (measures.starts, COLUMNS),
    "idle": (measures.idle, COLUMNS),
    "load": (load.dag_runs, COLUMNS),
    "mlflow": (tracking.mlflow_requests, ("ours", "stock")),
    "cli": (commands.commands, ("ours",)),
    "images": (builds.sizes, ("ours",)),
    "build": (builds.clean_build, ("ours",)),
    "rebuild": (builds.changed_requirement, ("ours",)),
}


def needed(slices: Sequence[str], stacks: Sequence[str]) -> list[str]:
    """Return the stacks that at least one of the slices measures."""
    return [name for name in stacks if any(name in SLICES[slice_][1] for slice_ in slices)]


@contextmanager
def stacks(names: Sequence[str]) -> Iterator[dict[str, Stack]]:
    """Build the named stacks without starting them, and remove them with their data at the end."""
    by_name: dict[str, Stack] = {}
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as cleanup:
        Path(folder).chmod(0o755)
        if set(names) - {"standalone"}:
            clone = fresh_copy(Path(folder, "ours"), "docker")
            cleanup.callback(clone.remove)
            by_name["ours"] = ours = Ours(clone)
            by_name["stock"] = stock = Stock(ours, Path(folder, "stock"))
            cleanup.callback(stock.down, volumes=True)
        if "standalone" in names:
            clone = fresh_copy(Path(folder, "standalone"), "standalone")
            cleanup.callback(clone.remove)
            by_name["standalone"] = Standalone(clone)
        yield {name: by_name[name] for name in names}
