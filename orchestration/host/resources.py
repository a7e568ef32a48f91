"""Memory, CPUs and disks of this machine, and of the engine's if that is another one."""

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
    """The machine that an engine runs on.

    `memory_gib`, `cpus` and `clock_ahead` (seconds) are None if it is this machine. `folders` are
    on the file systems that the engine fills, the data's last. `index` is the host of the package
    index, blank if nothing has to be built. `index_ahead` is by how many seconds its clock is
    ahead, None if it did not answer.
    """

    problems: tuple[Problem, ...] = ()
    memory_gib: float | None = None
    cpus: int | None = None
    clock_ahead: float | None = None
    folders: tuple[Path, ...] = ()
    index: str = ""
    index_ahead: float | None = None


def resource_problems(host: Host) -> list[Problem]:
    """Return a problem for each resource below the minimum: memory, CPUs, disk space."""
    problems = []
    memory, where, fix = least_memory(host)
    if memory < MEMORY_NEEDED_GIB * MEMORY_TOLERANCE:
        cause = f"{where} has {memory:.1f} GiB of memory. The stack needs {MEMORY_NEEDED_GIB} GiB."
        problems.append(Problem("memory-short", cause, fix, "machine"))
    if (count := least_cpus(host)) < CPUS_NEEDED:
        cause = f"This machine has {count} CPUs. The stack needs {CPUS_NEEDED}."
        problems.append(Problem("cpus-short", cause, "Use a larger machine.", "machine"))
    return [*problems, *disk_problems(host.folders)]


def least_memory(host: Host) -> tuple[float, str, str]:
    """Return the smallest memory in GiB, the machine that has it, and how to get more."""
    limited = memory_limit_gib() < machine_gib()
    here = "Raise the memory limit of this container or session." if limited else "Add memory."
    machines = [(memory_gib(), "This machine", here)]
    if host.memory_gib is not None:
        there = "Give it more (Docker Desktop: Settings, Resources)."
        machines.append((host.memory_gib, "The engine's machine", there))
    return min(machines, key=lambda machine: machine[0])


def memory_gib() -> float:
    """Return the memory that this process may use, in GiB."""
    return min(machine_gib(), memory_limit_gib())


def machine_gib() -> float:
    """Return this machine's memory, in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def memory_limit_gib(
    cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float:
    """Return the lowest memory limit of this process's cgroups (v1 and v2), or infinity."""
    limits = [float("inf")]
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = cgroups / controllers
        own = top / group.strip("/")
        # In a container the path may be the host's. The container's own limit is then at the top.
        for folder in (own, *own.parents[: len(own.relative_to(top).parts)]):
            limits += _limits_in(folder)
    return min(limits)


def _limits_in(folder: Path) -> Iterator[float]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        file = folder / name
        if file.exists() and (text := file.read_text().strip()).isdigit():
            yield int(text) / GIB


def least_cpus(host: Host) -> int:
    """Return the number of CPUs that the services may use."""
    return min(cpus(), host.cpus if host.cpus is not None else cpus())


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def disk_problems(folders: Sequence[Path], data_gib: float = DISK_NEEDED_GIB) -> Iterator[Problem]:
    """Yield each file system with too little free space.

    The last folder is for the data and needs `data_gib`.
    """
    needs = {}
    for folder in folders:
        minimum = data_gib if folder == folders[-1] else CLONE_NEEDED_GIB
        needs[folder.stat().st_dev] = (folder, minimum)
    for folder, minimum in needs.values():
        if (free := shutil.disk_usage(folder).free / GIB) < minimum:
            cause = (
                f"{free:.1f} GiB of disk space are free in {folder}. The stack needs {minimum} GiB."
            )
            listing = f"sudo du -xhd1 {shlex.quote(str(folder))} | sort -h"
            fix = f"Free some. This command lists what fills it: {listing}"
            yield Problem("disk-full", cause, fix, "machine")
