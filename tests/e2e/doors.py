"""The doors of a stack: what listens, which routes a server has, what each answers to whom."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil
import requests

from tests.e2e.clone import Clone

# The service that a server runs in, and without Docker the environment of its packages.
HOMES = {
    "airflow": ("airflow-apiserver", "airflow"),
    "mlflow": ("mlflow", "mlflow"),
    "status": ("status", "status"),
}
PARAMETER = re.compile(r"<(?:\w+:)?\w+>|\{[^}]+\}")
SOCKETS = {"tcp": psutil.CONN_LISTEN, "udp": psutil.CONN_NONE}


def listening() -> dict[tuple[str, str, int], int | None]:
    """Each TCP and UDP socket that waits on this machine, outside of containers.

    Kind, address and port, and the process that holds it, where it is known.
    """
    return {
        (kind, found.laddr.ip, found.laddr.port): found.pid
        for kind, status in SOCKETS.items()
        for found in psutil.net_connections(kind)
        if found.status == status and found.laddr
    }


def start_inside(clone: Clone, server: str, code: str, *argv: str) -> subprocess.Popen:
    """Start Python where a server runs, with its environment; the code stays out of `ps`."""
    service, environment = HOMES[server]
    given = {}
    if clone.engine == "docker":
        command = ["docker", "exec", "--interactive", clone.container(service), "python", "-"]
    else:
        pid = int(clone.well("supervisorctl", "-s", clone.supervisor(), "pid", service))
        given = psutil.Process(pid).environ()
        command = [str(clone.state_folder() / "envs" / environment / "bin/python"), "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # The status page is found in its clone; in no other environment may that stand on the path.
    folder = clone.folder if server == "status" else "/"
    started = subprocess.Popen(
        [*command, *argv], cwd=folder, env=clone.environment(**given), text=True, **pipes
    )
    started.stdin.write(code)
    started.stdin.close()
    # Closed by us; `communicate` would write to it.
    started.stdin = None
    return started


def told(started: subprocess.Popen, seconds: float = 600) -> str:
    """What it printed, once it has ended well."""
    said, complaints = started.communicate(timeout=seconds)
    assert started.returncode == 0, complaints[-4000:]
    return said


def start_listing(clone: Clone, server: str) -> subprocess.Popen:
    """Start to ask a server for its routes; `listed` waits for them."""
    return start_inside(clone, server, Path(__file__).with_name("routes.py").read_text(), server)


def listed(started: subprocess.Popen) -> list[tuple[str, str]]:
    """Path and method of each route."""
    return [tuple(route) for route in json.loads(told(started))]


def answers(
    base: str, routes: Iterable[tuple[str, str]], session: requests.Session | None = None
) -> Iterator[tuple[str, str, requests.Response]]:
    """Each route with what it says to this session; one that hangs fails."""
    session = session or requests.Session()
    for path, method in routes:
        body = {} if method == "GET" else {"json": {}}
        asked = base + PARAMETER.sub("1", path)
        answer = session.request(method, asked, allow_redirects=False, timeout=30, **body)
        yield path, method, answer


def open_doors(
    base: str, routes: Iterable[tuple[str, str]], session: requests.Session | None = None
) -> dict[str, int]:
    """`METHOD path` of each route that does not refuse, with its answer's status."""
    return {
        f"{method} {path}": answer.status_code
        for path, method, answer in answers(base, routes, session)
        if not refuses(answer)
    }


def refuses(answer: requests.Response) -> bool:
    """401, 403, or the way to the login page."""
    to_login = re.search(r"/auth/login/?(\?|$)", answer.headers.get("Location", ""))
    return answer.status_code in (401, 403) or bool(answer.is_redirect and to_login)


def unknown(found: Mapping[str, int], expected: Mapping[str, str]) -> dict[str, int]:
    """Of the open doors those that no pattern of `expected` names."""
    return {
        door: status
        for door, status in found.items()
        if not any(re.fullmatch(pattern, f"{door} {status}") for pattern in expected)
    }
