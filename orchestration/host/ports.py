"""Who holds a port: looked at only when one is taken, because looking costs time."""

import errno
import socket

from orchestration.errors import StackError
from orchestration.process import runner

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


def unusable(address: str, port: int) -> str:
    """Why nothing can listen on that address and port, or blank."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"cannot be used ({error.strerror})"
        else:
            return ""
    return f"is taken {holder(address, port)}".strip()


def holder(address: str, port: int) -> str:
    """Who listens there, as `by …`; blank where nobody can tell."""
    pids = listeners(address, port)
    pid = next((pid for pid in pids if pid), None)
    words = process_words(pid) if pid else ""
    if words and not words.startswith(tuple(f"by {name} " for name in FORWARDERS)):
        return words
    return container_words(port) or words or ("by a process of another user" if pids else "")


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


def process_words(pid: int) -> str:
    """`by NAME (process ID)`, or the clone whose standalone service it is; blank if it ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        words = f"by {process.name()} (process {pid})"
    except psutil.Error:
        return ""
    try:
        root = process.environ().get("STACK_ROOT")
    except (psutil.Error, OSError):
        return words
    return f"by another clone of this stack in {root}" if root else words


def container_words(port: int) -> str:
    """`by container NAME`, with its project's folder where Compose made it; blank for none."""
    layout = f'{{{{.Names}}}}\t{{{{.Label "{WORKING_DIR}"}}}}'
    argv = ("docker", "ps", "--filter", f"publish={port}", "--format", layout)
    try:
        told = runner.run(runner.Command(argv), timeout=DOCKER_SECONDS).output
    except StackError:
        return ""
    for line in told.splitlines():
        name, tab, folder = line.partition("\t")
        if tab:
            return f"by container {name}{f' (project folder {folder})' if folder else ''}"
    return ""
