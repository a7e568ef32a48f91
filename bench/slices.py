"""The slices of the benchmark, in their order, and the stacks that each is measured of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import builds, commands, load, measures, tracking
from bench.figures import COLUMNS
from bench.measures import Told
from bench.stacks import Ours, Stack
from bench.standalone import Standalone
from bench.stock import Stock
from tests.e2e.clone import fresh_copy

SLICES: Mapping[str, tuple[Callable[[Any, Any], Iterator[Told]], tuple[str, ...]]] = {
    "up": (measures.starts, COLUMNS),
    "idle": (measures.idle, COLUMNS),
    "load": (load.loads, COLUMNS),
    "mlflow": (tracking.tracks, ("ours", "stock")),
    "cli": (commands.commands, ("ours",)),
    "images": (builds.sizes, ("ours",)),
    "build": (builds.from_nothing, ("ours",)),
    "rebuild": (builds.changed_requirement, ("ours",)),
}


def needed(slices: Sequence[str], stacks: Sequence[str]) -> list[str]:
    """Those of the stacks that any of the slices is measured of."""
    return [name for name in stacks if any(name in SLICES[slice_][1] for slice_ in slices)]


@contextmanager
def stacks(names: Sequence[str]) -> Iterator[dict[str, Stack]]:
    """Stacks by name, built and not up; removed with their data in the end."""
    made: dict[str, Stack] = {}
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as ends:
        Path(folder).chmod(0o755)
        if set(names) - {"standalone"}:
            clone = fresh_copy(Path(folder, "ours"), "docker")
            ends.callback(clone.remove)
            made["ours"] = ours = Ours(clone)
            made["stock"] = stock = Stock(ours, Path(folder, "stock"))
            ends.callback(stock.down, volumes=True)
        if "standalone" in names:
            clone = fresh_copy(Path(folder, "standalone"), "standalone")
            ends.callback(clone.remove)
            made["standalone"] = Standalone(clone)
        yield {name: made[name] for name in names}
