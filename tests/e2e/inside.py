"""Inspect a running container from inside and through the Docker engine."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.e2e.clone import Clone

# User, capabilities and privilege escalation of each process, as in the CIS benchmark.
PROCESSES = "grep -sE '^(Name|Uid|Cap...|NoNewPrivs|Seccomp):' /proc/[0-9]*/status"
NAMESPACES = ("pid", "net", "mnt", "ipc", "uts")
# Every container has these mounts: those of the kernel, and files that Docker creates.
KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
DOCKER_FILES = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/sbin/docker-init"}
DOCKER_FILES |= {"/usr/sbin/docker-init"}
# The files with the limits of memory, swap and processes, in cgroup versions 1 and 2.
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
    """The running container of a service."""

    stack: Clone
    service: str
    sdk: Any

    @cached_property
    def container(self) -> Any:
        return self.sdk.containers.get(self.stack.container(self.service))

    @property
    def host_config(self) -> dict[str, Any]:
        return self.container.attrs["HostConfig"]

    def lines_of(self, *argv: str) -> list[str]:
        """Run a command in the container, and return its output lines, even if it fails."""
        _, (output, _) = self.container.exec_run(list(argv), demux=True)
        return (output or b"").decode(errors="replace").splitlines()

    @cached_property
    def processes(self) -> list[dict[str, list[str]]]:
        """Return the fields of /proc/PID/status of each process, by name."""
        statuses: dict[str, dict[str, list[str]]] = {}
        for line in self.lines_of("sh", "-c", PROCESSES):
            file, name, value = line.split(":", 2)
            statuses.setdefault(file, {})[name] = value.split()
        # Docker's process runs as root until it executes a health check.
        return [each for each in statuses.values() if not each["Name"][0].startswith("runc:[")]

    @cached_property
    def mounts(self) -> dict[str, set[str]]:
        """Return the options of each mount, without the mounts that every container has."""
        lines = [line.split() for line in self.lines_of("cat", "/proc/mounts")]
        return {
            path: set(options.split(","))
            for _, path, _, options, *_ in lines
            if path not in DOCKER_FILES and f"/{path.split('/')[1]}" not in KERNEL_FOLDERS
        }

    def limits(self) -> dict[str, int]:
        """Return the limits in bytes or processes. A key without a limit is missing."""
        lines = [line.split() for line in self.lines_of("grep", "-s", "", *LIMITS, "/dev/null")]
        pairs = [line[0].rsplit(":", 1) for line in lines]
        return {LIMITS[file]: int(value) for file, value in pairs if value.isdigit()}

    def host_namespaces(self) -> set[str]:
        """Return the namespaces that the container shares with this machine."""
        links = [f"/proc/self/ns/{name}" for name in NAMESPACES]
        ids = dict(zip(NAMESPACES, self.lines_of("readlink", *links), strict=True))
        return {name for name, id_ in ids.items() if id_ == os.readlink(f"/proc/self/ns/{name}")}

    @cached_property
    def image_files(self) -> dict[str, set[str]]:
        """Return the paths in the root file system that are `setuid` or setgid, or `writable`."""
        setuid = ("(", "-type", "f", "-perm", "/6000", "-printf", "setuid:%p\\n", ")")
        writable = ("(", "!", "-type", "l", "-writable", "-printf", "writable:%p\\n", ")")
        lines = [line.split(":", 1) for line in self.find("/", "-xdev", *setuid, ",", *writable)]
        kinds = ("setuid", "writable")
        return {kind: {path for name, path in lines if name == kind} for kind in kinds}

    def find(self, *words: str) -> set[str]:
        """Return the output lines of `find`, which skips folders that the service cannot read."""
        return set(self.lines_of("find", *words))
