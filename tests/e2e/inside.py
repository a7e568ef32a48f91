"""What a running container tells of itself, asked from inside and of the engine."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.e2e.clone import Clone

# Of each process what CIS asks: who it is, what it may do, whether it could gain more.
PROCESSES = "grep -sE '^(Name|Uid|Cap...|NoNewPrivs|Seccomp):' /proc/[0-9]*/status"
NAMESPACES = ("pid", "net", "mnt", "ipc", "uts")
# What any container has: the kernel's own, and three files that Docker makes.
KERNELS = ("/proc", "/sys", "/dev")
DOCKERS = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/sbin/docker-init"}
DOCKERS |= {"/usr/sbin/docker-init"}
# By version of the kernel's groups: what limits memory, memory with swap, processes.
LIMITS = {
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "memory",
    "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes": "with swap",
    "/sys/fs/cgroup/pids/pids.max": "processes",
    "/sys/fs/cgroup/memory.max": "memory",
    "/sys/fs/cgroup/memory.swap.max": "swap alone",
    "/sys/fs/cgroup/pids.max": "processes",
}


@dataclass
class Inside:
    """A service's container, as it runs."""

    stack: Clone
    service: str
    sdk: Any

    @cached_property
    def container(self) -> Any:
        return self.sdk.containers.get(self.stack.container(self.service))

    @property
    def host_config(self) -> dict[str, Any]:
        return self.container.attrs["HostConfig"]

    def said(self, *argv: str) -> list[str]:
        """The lines that a command printed there, whatever it ended with."""
        _, (said, _) = self.container.exec_run(list(argv), demux=True)
        return (said or b"").decode(errors="replace").splitlines()

    @cached_property
    def processes(self) -> list[dict[str, list[str]]]:
        """What the kernel tells of each, by name of the line."""
        found: dict[str, dict[str, list[str]]] = {}
        for line in self.said("sh", "-c", PROCESSES):
            file, name, value = line.split(":", 2)
            found.setdefault(file, {})[name] = value.split()
        # Docker's own that is about to become a health check is root until then.
        return [told for told in found.values() if not told["Name"][0].startswith("runc:[")]

    @cached_property
    def mounts(self) -> dict[str, set[str]]:
        """The options of each mount that is neither the kernel's nor of every container."""
        lines = [line.split() for line in self.said("cat", "/proc/mounts")]
        return {
            where: set(options.split(","))
            for _, where, _, options, *_ in lines
            if where not in DOCKERS and f"/{where.split('/')[1]}" not in KERNELS
        }

    def limits(self) -> dict[str, int]:
        """Bytes and processes that the kernel allows; what it does not limit is not there."""
        told = [line.split() for line in self.said("grep", "-s", "", *LIMITS, "/dev/null")]
        pairs = [line[0].rsplit(":", 1) for line in told]
        return {LIMITS[file]: int(value) for file, value in pairs if value.isdigit()}

    def shares_with_this_machine(self) -> set[str]:
        """The namespaces that are this machine's own."""
        links = [f"/proc/self/ns/{name}" for name in NAMESPACES]
        there = dict(zip(NAMESPACES, self.said("readlink", *links), strict=True))
        return {name for name, it in there.items() if it == os.readlink(f"/proc/self/ns/{name}")}

    @cached_property
    def walked(self) -> dict[str, set[str]]:
        """Files of its image that would give rights to who runs them, and what it can write."""
        rights = ("(", "-type", "f", "-perm", "/6000", "-printf", "gives rights:%p\\n", ")")
        writable = ("(", "!", "-type", "l", "-writable", "-printf", "writable:%p\\n", ")")
        found = [line.split(":", 1) for line in self.find("/", "-xdev", *rights, ",", *writable)]
        kinds = ("gives rights", "writable")
        return {kind: {path for one, path in found if one == kind} for kind in kinds}

    def find(self, *words: str) -> set[str]:
        """The paths that `find` prints there, however many it may not look into."""
        return set(self.said("find", *words))
