"""Free ports, and what uses a port that is not free."""

import errno
import socket
from contextlib import suppress

from orchestration.errors import Problem, StackError
from orchestration.process import runner
from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS

# These hold ports for containers; the container is what a person knows.
FORWARDERS = ("docker-proxy", "rootlesskit", "rootlessport")
EVERYWHERE = ("0.0.0.0", "::")
DOCKER_SECONDS = 5
WORKING_DIR = "com.docker.compose.project.working_dir"


def free(number: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def port_problem(settings: Settings, service: str) -> Problem | None:
    """Return why a service's page cannot be published on its port, or None."""
    name = PORTS[service]
    address, port = settings["BIND_ADDRESS"], int(settings[name])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            why, way_out = f"cannot be used ({error.strerror})", "Set BIND_ADDRESS or"
            if error.errno == errno.EADDRINUSE:
                why = f"is already in use by {holder(address, port) or 'another program'}"
                way_out = "Stop that program, or set"
            cause = f"Port {port} on {address} {why}."
            return Problem(
                "port-taken", cause, f"{way_out} {name} in .env, then run: inv up", service
            )
    return None


def holder(address: str, port: int) -> str:
    """Return what listens there, as `nginx (process 12)`; an empty string if it is unknown."""
    pids = listeners(address, port)
    name, description = next(filter(None, map(process, filter(None, pids))), ("", ""))
    if description and name not in FORWARDERS:
        return description
    return container(port) or description or ("another user's process" if pids else "")


def listeners(address: str, port: int) -> list[int | None]:
    """The processes listening there by their ids; None for one that this user may not see."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return []
    return [
        one.pid
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
        # `::ffff:127.0.0.1` is how a socket for both protocols shows an IPv4 address.
        and (one.laddr.ip.endswith(address) or {one.laddr.ip, address} & set(EVERYWHERE))
    ]  # fmt: skip


def process(pid: int) -> tuple[str, str] | None:
    """Return a process's name and description, None if it has ended.

    A standalone service is described by the clone it belongs to.
    """
    import psutil

    try:
        found = psutil.Process(pid)
        name = found.name()
    except psutil.Error:
        return None
    with suppress(psutil.Error, OSError):
        if root := found.environ().get("STACK_ROOT"):
            return name, f"another clone of this stack in {root}"
    return name, f"{name} (process {pid})"


def container(port: int) -> str:
    """Return `container NAME`, with the folder of its Compose project; empty for none."""
    layout = f'{{{{.Names}}}}\t{{{{.Label "{WORKING_DIR}"}}}}'
    argv = ("docker", "ps", "--filter", f"publish={port}", "--format", layout)
    try:
        rows = runner.run(runner.Command(argv), timeout=DOCKER_SECONDS).output
    except StackError:
        return ""
    for line in rows.splitlines():
        name, tab, folder = line.partition("\t")
        if tab:
            return f"container {name}{f' (project folder {folder})' if folder else ''}"
    return ""
