"""List listening sockets and servers' routes, and find routes that answer without permission."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil
import requests

from tests.e2e.clone import Clone

# The service of each server, and the environment of its packages without Docker.
SERVERS = {
    "airflow": ("airflow-apiserver", "airflow"),
    "mlflow": ("mlflow", "mlflow"),
    "status": ("status", "status"),
}
PARAMETER = re.compile(r"<(?:\w+:)?\w+>|\{[^}]+\}")
SOCKETS = {"tcp": psutil.CONN_LISTEN, "udp": psutil.CONN_NONE}


def listening_sockets() -> dict[tuple[str, str, int], int | None]:
    """Return the listening TCP and UDP sockets of this machine, without those in containers.

    Maps protocol, address and port to the process ID, or to None if it is unknown.
    """
    return {
        (protocol, connection.laddr.ip, connection.laddr.port): connection.pid
        for protocol, status in SOCKETS.items()
        for connection in psutil.net_connections(protocol)
        if connection.status == status and connection.laddr
    }


def start_python(clone: Clone, server: str, code: str, *argv: str) -> subprocess.Popen:
    """Start Python with a server's environment. Code on standard input is not shown by `ps`."""
    service, packages = SERVERS[server]
    environment = {}
    if clone.engine == "docker":
        command = ["docker", "exec", "--interactive", clone.container(service), "python", "-"]
    else:
        pid = int(clone.run_ok("supervisorctl", "-s", clone.supervisor(), "pid", service))
        environment = psutil.Process(pid).environ()
        command = [str(clone.state_folder() / "envs" / packages / "bin/python"), "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # Only the status page is imported from the clone, which must not be on the path of others.
    folder = clone.folder if server == "status" else "/"
    process = subprocess.Popen(
        [*command, *argv], cwd=folder, env=clone.environment(**environment), text=True, **pipes
    )
    process.stdin.write(code)
    process.stdin.close()
    # `communicate` would write to a closed standard input.
    process.stdin = None
    return process


def output_of(process: subprocess.Popen, seconds: float = 600) -> str:
    """Wait for a process that must succeed, and return its output."""
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors[-4000:]
    return output


def start_listing(clone: Clone, server: str) -> subprocess.Popen:
    """Start to list a server's routes. Pass the process to `routes_from`."""
    return start_python(clone, server, Path(__file__).with_name("routes.py").read_text(), server)


def routes_from(process: subprocess.Popen) -> list[tuple[str, str]]:
    """Wait for `start_listing`, and return path and method of each route."""
    return [tuple(route) for route in json.loads(output_of(process))]


def responses(
    base: str, routes: Iterable[tuple[str, str]], session: requests.Session | None = None
) -> Iterator[tuple[str, str, requests.Response]]:
    """Request each route, and yield path, method and response. A timeout raises."""
    session = session or requests.Session()
    for path, method in routes:
        body = {} if method == "GET" else {"json": {}}
        url = base + PARAMETER.sub("1", path)
        response = session.request(method, url, allow_redirects=False, timeout=30, **body)
        yield path, method, response


def open_routes(
    base: str, routes: Iterable[tuple[str, str]], session: requests.Session | None = None
) -> dict[str, int]:
    """Map `METHOD path` of each route that does not refuse the session to its status code."""
    return {
        f"{method} {path}": response.status_code
        for path, method, response in responses(base, routes, session)
        if not refuses(response)
    }


def refuses(response: requests.Response) -> bool:
    """Return whether a response is 401, 403 or a redirect to the login page."""
    to_login = re.search(r"/auth/login/?(\?|$)", response.headers.get("Location", ""))
    return response.status_code in (401, 403) or bool(response.is_redirect and to_login)


def unexpected(routes: Mapping[str, int], expected: Mapping[str, str]) -> dict[str, int]:
    """Return the open routes that match no pattern in `expected`."""
    return {
        route: status
        for route, status in routes.items()
        if not any(re.fullmatch(pattern, f"{route} {status}") for pattern in expected)
    }
