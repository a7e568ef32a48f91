"""Find free ports, and the program that uses a taken one."""

import errno
import socket
from contextlib import suppress

from orchestration.errors import Problem, StackError
from orchestration.process import runner
from orchestration.settings.model import Settings
from orchestration.settings.validation import EVERYWHERE, PORTS

# These forward ports to containers. Users know the container, not the forwarder.
FORWARDERS = ("docker-proxy", "rootlesskit", "rootlessport")
DOCKER_SECONDS = 5
WORKING_DIR = "com.docker.compose.project.working_dir"


def free(number: int) -> list[int]:
    """Return ports on 127.0.0.1 that are not in use."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    numbers = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return numbers


def port_problem(settings: Settings, service: str) -> Problem | None:
    """Return why a service's page cannot be published on its port, or None."""
    name = PORTS[service]
    address, port = settings["BIND_ADDRESS"], int(settings[name])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            why, fix = f"cannot be used ({error.strerror})", "Set BIND_ADDRESS or"
            if error.errno == errno.EADDRINUSE:
                why = f"is already in use by {holder(address, port) or 'another program'}"
                fix = "Stop that program, or set"
            cause = f"Port {port} on {address} {why}."
            return Problem("port-taken", cause, f"{fix} {name} in .env, then run: inv up", service)
    return None


def holder(address: str, port: int) -> str:
    """Describe the program that listens on a port, as `nginx (process 12)`; empty if unknown."""
    pids = listeners(address, port)
    name, description = next(filter(None, map(process, filter(None, pids))), ("", ""))
    if description and name not in FORWARDERS:
        return description
    return container(port) or description or ("another user's process" if pids else "")


def listeners(address: str, port: int) -> list[int | None]:
    """Return the ids of processes that listen on a port, None for those of other users."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return []
    return [
        one.pid
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
        # A socket for both protocols shows an IPv4 address as `::ffff:127.0.0.1`.
        and (one.laddr.ip.endswith(address) or {one.laddr.ip, address} & set(EVERYWHERE))
    ]  # fmt: skip


def process(pid: int) -> tuple[str, str] | None:
    """Return a process's name and description, or None if it has exited.

    The description of a standalone service names the clone it belongs to.
    """
    import psutil

    try:
        running = psutil.Process(pid)
        name = running.name()
    except psutil.Error:
        return None
    with suppress(psutil.Error, OSError):
        if root := running.environ().get("STACK_ROOT"):
            return name, f"another clone of this stack in {root}"
    return name, f"{name} (process {pid})"


def container(port: int) -> str:
    """Describe the container that publishes a port, with its Compose folder; empty if none."""
    row_format = f'{{{{.Names}}}}\t{{{{.Label "{WORKING_DIR}"}}}}'
    argv = ("docker", "ps", "--filter", f"publish={port}", "--format", row_format)
    try:
        rows = runner.run(runner.Command(argv), timeout=DOCKER_SECONDS).output
    except StackError:
        return ""
    for line in rows.splitlines():
        name, tab, folder = line.partition("\t")
        if tab:
            return f"container {name}{f' (project folder {folder})' if folder else ''}"
    return ""
