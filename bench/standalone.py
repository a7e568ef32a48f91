"""This stack without Docker, whose processes are asked what they use.

A process that has ended is in the time that its parent has for ended children, once the parent has
asked for its end; so what all living ones have of their own and for ended children is what was
used. Three kinds are missed: whose parent does not ask for their end, who left their parent before
they ended, and those that end between the looks at two processes, until the next time.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from bench.stacks import Cloned
from orchestration.engines.standalone.supervisor import Supervisord

KIB_PER_MIB = 1024
SUPERVISOR, OTHERS = "supervisord", "(others)"


class Standalone(Cloned):
    """This stack as plain processes."""

    name = column = "standalone"

    def cpu(self) -> dict[str, float]:
        return self._sums(spent)

    def memory(self) -> dict[str, float]:
        return self._sums(anonymous)

    def _sums(self, used: Callable[[psutil.Process], float]) -> dict[str, float]:
        """What is used by each service's processes together."""
        told: dict[str, float] = {}
        for service, process in self._processes():
            with suppress(psutil.Error, OSError):
                told[service] = told.get(service, 0.0) + used(process)
        return told

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Each once, parents before their children, with its service's name."""
        supervisord = Supervisord(self.clone.supervisor(), Path())
        pids = {info["pid"]: name for name, info in supervisord.processes().items() if info["pid"]}
        root = psutil.Process(supervisord.ask("getPID"))
        yield SUPERVISOR, root
        seen = {root.pid}
        for pid, name in pids.items():
            with suppress(psutil.Error):
                first = psutil.Process(pid)
                for process in (first, *first.children(recursive=True)):
                    seen.add(process.pid)
                    yield name, process
        # They carry this stack's address, and nobody above them does.
        yield from ((OTHERS, one) for one in self.clone.processes() if one.pid not in seen)


def spent(process: psutil.Process) -> float:
    """Seconds of a processor, with those of its ended children and theirs."""
    return sum(process.cpu_times()[:4])


def anonymous(process: psutil.Process) -> float:
    """MiB of a process's memory that are in no file; pages that others hold too by their share.

    Summed up, what a cgroup tells of the same processes.
    """
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith("Pss_Anon:")]
    return int(kib) / KIB_PER_MIB
