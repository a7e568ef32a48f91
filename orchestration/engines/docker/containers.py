"""What the Docker engine knows of a project's containers: state, health, memory."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.engines.base import Service

SERVICE_LABEL = "com.docker.compose.service"
CGROUPS = Path("/sys/fs/cgroup")
# Where a cgroup of version 1 and 2 tells its use, and the page cache in it that it could give back.
FILES = {
    "memory": ("memory.usage_in_bytes", "total_inactive_file"),
    "": ("memory.current", "inactive_file"),
}


def of_project(sdk: Any, project: str, service: str = "", **options: Any) -> list[Any]:
    """The containers of a project's services or one; running ones only, unless `all=True`."""
    labels = [
        f"com.docker.compose.project={project}",
        # A container of `docker compose run` carries its service's name too.
        "com.docker.compose.oneoff=False",
        *([f"{SERVICE_LABEL}={service}"] if service else []),
    ]
    # While `up` replaces a container it may be gone between its listing and a closer look.
    return list(sdk.containers.list(filters={"label": labels}, ignore_removed=True, **options))


def service(attributes: Mapping[str, Any]) -> Service:
    """A container as a service, from what `docker inspect` tells of it."""
    state = attributes["State"]
    return Service(
        name=attributes["Config"]["Labels"][SERVICE_LABEL],
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        since=_moment(state["StartedAt"]),
        restarts=attributes["RestartCount"],
        exit_code=state["ExitCode"],
        out_of_memory=state.get("OOMKilled", False),
    )


def started_with(attributes: Mapping[str, Any]) -> dict[str, str]:
    """A container's variables; also its `user`, and the address of each `port 8080/tcp`."""
    config = attributes["Config"]
    pairs = [pair.split("=", 1) for pair in config.get("Env") or () if "=" in pair]
    ports = attributes.get("HostConfig", {}).get("PortBindings") or {}
    addresses = {
        f"port {port}": ", ".join(f"{one['HostIp']}:{one['HostPort']}" for one in bindings or ())
        for port, bindings in ports.items()
    }
    return {name: value for name, value in pairs} | addresses | {"user": config.get("User", "")}


def intended(body: Mapping[str, Any]) -> dict[str, str]:
    """What `started_with` will tell of a service's container, by `docker compose config`."""
    given = (body.get("environment") or {}).items()
    told = {name: str(value) for name, value in given if value is not None}
    for port in body.get("ports") or ():
        address = f"{port.get('host_ip', '')}:{port.get('published', '')}"
        told[f"port {port['target']}/{port.get('protocol', 'tcp')}"] = address
    return told | ({"user": str(body["user"])} if "user" in body else {})


def memory(container: Any) -> int:
    """Bytes a running container holds, without page cache that it could give back."""
    # The engine takes up to a second for its answer; the kernel's own is there at once.
    here = _of_kernel(container.id, container.attrs["State"]["Pid"])
    return _of_engine(container) if here is None else here


def _of_kernel(identity: str, pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        for _, controllers, path in (line.split(":", 2) for line in lines):
            # An engine elsewhere counts other processes than this machine does.
            if controllers in FILES and identity in path:
                used, reclaimable = FILES[controllers]
                folder = CGROUPS / controllers / path.lstrip("/")
                stat = dict(line.split() for line in (folder / "memory.stat").open())
                return int((folder / used).read_text()) - int(stat[reclaimable])
    except (OSError, ValueError, KeyError):
        pass
    return None


def _of_engine(container: Any) -> int:
    import docker

    try:
        usage = container.stats(stream=False, one_shot=True).get("memory_stats", {})
    except docker.errors.APIError:
        return 0
    cache = usage.get("stats", {})
    reclaimable = cache.get("total_inactive_file", cache.get("inactive_file", 0))
    return int(usage.get("usage", 0) - reclaimable)


def _moment(text: str) -> datetime | None:
    # Nanoseconds are more than datetime reads; the year 1 is Docker's "never".
    return None if text.startswith("0001") else datetime.fromisoformat(f"{text[:19]}+00:00")
