"""This machine's memory, processors and disks, and the engine's where that is another one."""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import Problem
from orchestration.host.minimums import (
    CLONE_NEEDED_GIB,
    CPUS_NEEDED,
    DISK_NEEDED_GIB,
    GIB,
    MEMORY_NEEDED_GIB,
    MEMORY_TOLERANCE,
)


@dataclass(frozen=True)
class Host:
    """The machine as an engine finds it; what is None is as on the machine that `inv` runs on.

    `ahead`: seconds its clock is ahead; `places`: folders whose file systems it fills, that of
    the data last; `index`: the package index that a build will ask, blank where nothing is to be
    built, and by how much its clock is ahead, None where it did not answer.
    """

    problems: tuple[Problem, ...] = ()
    memory_gib: float | None = None
    cpus: int | None = None
    ahead: float | None = None
    places: tuple[Path, ...] = ()
    index: str = ""
    index_ahead: float | None = None


def resource_problems(host: Host) -> list[Problem]:
    """Return what the stack needs more of: memory, CPUs, disk space."""
    problems = []
    memory, where, fix = least_memory(host)
    if memory < MEMORY_NEEDED_GIB * MEMORY_TOLERANCE:
        cause = f"{where} has {memory:.1f} GiB of memory. The stack needs {MEMORY_NEEDED_GIB} GiB."
        problems.append(Problem("memory-short", cause, fix, "machine"))
    if (count := least_cpus(host)) < CPUS_NEEDED:
        cause = f"This machine has {count} CPUs. The stack needs {CPUS_NEEDED}."
        problems.append(Problem("cpus-short", cause, "Use a larger machine.", "machine"))
    return [*problems, *disk_problems(host.places)]


def least_memory(host: Host) -> tuple[float, str, str]:
    """Return the smallest memory in GiB, the machine that has it, and how to get more."""
    limited = memory_limit_gib() < machine_gib()
    here = "Raise the memory limit of this container or session." if limited else "Add memory."
    known = [(memory_gib(), "This machine", here)]
    if host.memory_gib is not None:
        there = "Give it more (Docker Desktop: Settings, Resources)."
        known.append((host.memory_gib, "The engine's machine", there))
    return min(known, key=lambda one: one[0])


def memory_gib() -> float:
    """The memory this process may use, in GiB."""
    return min(machine_gib(), memory_limit_gib())


def machine_gib() -> float:
    """This machine's memory, in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def memory_limit_gib(
    cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float:
    """The least limit of the cgroups this process is in (versions 1 and 2); infinite for none."""
    limits = [float("inf")]
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = cgroups / controllers
        own = top / group.strip("/")
        # In a container the path may be that of the host: its own limit is then at the top.
        for folder in (own, *own.parents[: len(own.relative_to(top).parts)]):
            limits += _limits_in(folder)
    return min(limits)


def _limits_in(folder: Path) -> Iterator[float]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        file = folder / name
        if file.exists() and (text := file.read_text().strip()).isdigit():
            yield int(text) / GIB


def least_cpus(host: Host) -> int:
    """The processors that the services may use."""
    return min(cpus(), host.cpus if host.cpus is not None else cpus())


def cpus() -> int:
    """The processors that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def disk_problems(places: Sequence[Path], data_gib: float = DISK_NEEDED_GIB) -> Iterator[Problem]:
    """Yield each file system with too little free space.

    The last place is where the data goes and needs `data_gib`.
    """
    needed = {}
    for place in places:
        at_least = data_gib if place == places[-1] else CLONE_NEEDED_GIB
        needed[place.stat().st_dev] = (place, at_least)
    for place, at_least in needed.values():
        if (free := shutil.disk_usage(place).free / GIB) < at_least:
            cause = (
                f"{free:.1f} GiB of disk space are free in {place}. The stack needs {at_least} GiB."
            )
            listing = f"sudo du -xhd1 {shlex.quote(str(place))} | sort -h"
            fix = f"Free some. This command lists what fills it: {listing}"
            yield Problem("disk-full", cause, fix, "machine")
