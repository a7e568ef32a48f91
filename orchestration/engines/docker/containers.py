"""Read state, health, settings and memory of a project's containers."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.engines.base import Service

SERVICE_LABEL = "com.docker.compose.service"
CGROUPS = Path("/sys/fs/cgroup")
# For cgroups v1 and v2: the file with memory in use, and the key of reclaimable page cache.
FILES = {
    "memory": ("memory.usage_in_bytes", "total_inactive_file"),
    "": ("memory.current", "inactive_file"),
}


def list_containers(sdk: Any, project: str, service: str = "", **options: Any) -> list[Any]:
    """Return the containers of a project or one service: the running ones, or `all=True`."""
    labels = [
        f"com.docker.compose.project={project}",
        # Containers of `docker compose run` have the service's label too.
        "com.docker.compose.oneoff=False",
        *([f"{SERVICE_LABEL}={service}"] if service else []),
    ]
    # `up` may remove a container between listing and inspecting it.
    return list(sdk.containers.list(filters={"label": labels}, ignore_removed=True, **options))


def to_service(attributes: Mapping[str, Any]) -> Service:
    """Return a container as a service, from the output of `docker inspect`."""
    state = attributes["State"]
    return Service(
        name=attributes["Config"]["Labels"][SERVICE_LABEL],
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        since=_timestamp(state["StartedAt"]),
        restarts=attributes["RestartCount"],
        exit_code=state["ExitCode"],
        out_of_memory=state.get("OOMKilled", False),
    )


def environment(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return a container's variables, its `user`, and the address of each `port 8080/tcp`."""
    config = attributes["Config"]
    pairs = [pair.split("=", 1) for pair in config.get("Env") or () if "=" in pair]
    ports = attributes.get("HostConfig", {}).get("PortBindings") or {}
    addresses = {
        f"port {port}": ", ".join(f"{one['HostIp']}:{one['HostPort']}" for one in bindings or ())
        for port, bindings in ports.items()
    }
    return {name: value for name, value in pairs} | addresses | {"user": config.get("User", "")}


def intended_environment(body: Mapping[str, Any]) -> dict[str, str]:
    """Return what `environment` will return for a service in `docker compose config`."""
    variables = (body.get("environment") or {}).items()
    expected = {name: str(value) for name, value in variables if value is not None}
    for port in body.get("ports") or ():
        address = f"{port.get('host_ip', '')}:{port.get('published', '')}"
        expected[f"port {port['target']}/{port.get('protocol', 'tcp')}"] = address
    return expected | ({"user": str(body["user"])} if "user" in body else {})


def memory(container: Any) -> int:
    """Return the bytes a running container uses, without page cache that is reclaimable."""
    # The engine takes up to a second to answer, so read the kernel's files if they are here.
    used = _kernel_memory(container.id, container.attrs["State"]["Pid"])
    return _engine_memory(container) if used is None else used


def _kernel_memory(container_id: str, pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        for _, controllers, path in (line.split(":", 2) for line in lines):
            # If the engine is on another machine, the pid is that of another process here.
            if controllers in FILES and container_id in path:
                used, reclaimable = FILES[controllers]
                folder = CGROUPS / controllers / path.lstrip("/")
                stat = dict(line.split() for line in (folder / "memory.stat").open())
                return int((folder / used).read_text()) - int(stat[reclaimable])
    except (OSError, ValueError, KeyError):
        pass
    return None


def _engine_memory(container: Any) -> int:
    import docker

    try:
        usage = container.stats(stream=False, one_shot=True).get("memory_stats", {})
    except docker.errors.APIError:
        return 0
    cache = usage.get("stats", {})
    reclaimable = cache.get("total_inactive_file", cache.get("inactive_file", 0))
    return int(usage.get("usage", 0) - reclaimable)


def _timestamp(text: str) -> datetime | None:
    # datetime cannot parse nanoseconds. Docker reports the year 1 for "never".
    return None if text.startswith("0001") else datetime.fromisoformat(f"{text[:19]}+00:00")
