"""Measure this stack without Docker, from the usage of its processes.

When a parent waits for an exited child, it inherits the child's CPU time. The sum over all live
processes, inherited time included, is therefore the time used. Three kinds are missed: children
whose parent never waits for them, processes that outlive their parent, and, until the next reading,
children that exit between the readings of two processes.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from bench.stacks import ClonedStack
from orchestration.engines.standalone.supervisor import Supervisord

KIB_PER_MIB = 1024
SUPERVISOR, OTHERS = "supervisord", "(others)"


class Standalone(ClonedStack):
    """This stack as plain processes."""

    name = column = "standalone"

    def cpu(self) -> dict[str, float]:
        return self._sums(cpu_seconds)

    def memory(self) -> dict[str, float]:
        return self._sums(anonymous_mib)

    def _sums(self, usage: Callable[[psutil.Process], float]) -> dict[str, float]:
        """Return the usage of each service, summed over its processes."""
        sums: dict[str, float] = {}
        for service, process in self._processes():
            with suppress(psutil.Error, OSError):
                sums[service] = sums.get(service, 0.0) + usage(process)
        return sums

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Yield each process once with its service, parents before their children."""
        supervisord = Supervisord(self.clone.supervisor(), Path())
        pids = {info["pid"]: name for name, info in supervisord.processes().items() if info["pid"]}
        root = psutil.Process(supervisord.call("getPID"))
        yield SUPERVISOR, root
        seen = {root.pid}
        for pid, name in pids.items():
            with suppress(psutil.Error):
                first = psutil.Process(pid)
                for process in (first, *first.children(recursive=True)):
                    seen.add(process.pid)
                    yield name, process
        # They have this stack's address in their environment, but lost their parent.
        others = (process for process in self.clone.processes() if process.pid not in seen)
        yield from ((OTHERS, process) for process in others)


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its exited descendants."""
    return sum(process.cpu_times()[:4])


def anonymous_mib(process: psutil.Process) -> float:
    """Return the anonymous memory of a process in MiB, with its share of shared pages.

    The sum over processes equals what a cgroup reports for them.
    """
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith("Pss_Anon:")]
    return int(kib) / KIB_PER_MIB
