"""Test open ports and sockets, the routes of the status page, and the log servers."""

import json
import re
import stat
from pathlib import Path

import psutil
import pytest
import requests

from tests.e2e import access
from tests.e2e.clone import PORTS

# What each service's container listens on.
LISTENERS = {
    "postgres": {"tcp 5432", "unix .s.PGSQL.5432"},
    "redis": {"tcp 6379"},
    "airflow-apiserver": {"tcp 8080"},
    # The health server, which returns the age of the heartbeat without authentication.
    "airflow-scheduler": {"tcp 8974"},
    "airflow-dag-processor": set(),
    # Log servers, which answer only requests that the API server has signed.
    "airflow-triggerer": {"tcp 8794"},
    "airflow-worker": {"tcp 8793"},
    "mlflow": {"tcp 5000"},
    "status": {"tcp 8081"},
}
LISTENING, DOCKER_DNS = "0A", "0B00007F"
PAGES = {"/", "/status.json", "/metrics", "/healthz"}
OTHER_PATHS = (
    "/../etc/passwd", "/..%2f..%2fetc/passwd", "/status.html", "/server.py", "/.env", "/backups",
    "/openapi.json", "/docs", "/static/",
)  # fmt: skip


def test_host_only_three_pages_listen_on_loopback(stack, engine):
    ports = {int(stack.exported[name]) for name in PORTS}
    before = stack.sockets_before_up
    assert not ports & {port for _, _, port in before}, "The ports were in use before `inv up`."
    new = {sock: pid for sock, pid in access.listening_sockets().items() if sock not in before}
    ours = {sock for sock, pid in new.items() if pid is None or belongs(stack, engine, pid)}
    assert ours == {("tcp", "127.0.0.1", port) for port in ports}


def belongs(stack, engine, pid):
    """Return whether a process is part of this stack. Other programs may start meanwhile."""
    if engine == "standalone":
        return pid in {process.pid for process in stack.processes()}
    try:
        line = psutil.Process(pid).cmdline()
        group = Path(f"/proc/{pid}/cgroup").read_text()
    except (psutil.Error, OSError):
        return False
    if "-container-ip" in line:
        return line[line.index("-container-ip") + 1] in addresses(stack)
    return any(name in group for name in stack.containers("--quiet", "--no-trunc").split())


def addresses(stack):
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    ids = stack.containers("--quiet").split()
    return stack.run_ok("docker", "inspect", f"--format={template}", *ids).split()


@pytest.mark.parametrize("service", sorted(LISTENERS))
def test_container_listens_only_on_expected_ports(stack, engine, service):
    if engine != "docker":
        pytest.skip("The standalone engine has no containers.")
    files = [f"/proc/net/{kind}" for kind in ("tcp", "tcp6", "udp", "udp6", "unix")]
    lines = stack.run_ok(
        "docker", "exec", stack.container(service), "grep", "-sH", "", *files
    ).splitlines()
    assert set(filter(None, map(listener, lines))) == LISTENERS[service]


def listener(line):
    """Parse a line of /proc/net. Return `PROTOCOL PORT` or `unix NAME` if a process listens."""
    kind, _, fields = line.removeprefix("/proc/net/").partition(":")
    words = fields.split()
    if kind == "unix":
        # The flag 00010000 marks a socket that accepts connections.
        return f"unix {Path(words[7]).name}" if words[3:4] == ["00010000"] and words[7:] else None
    if not re.match(r"\d+:", fields.strip()) or words[1].startswith(DOCKER_DNS):
        return None
    if kind.startswith("tcp") and words[3] != LISTENING:
        return None
    if kind.startswith("udp") and not words[2].endswith(":0000"):
        return None
    return f"{kind[:3]} {int(words[1].rpartition(':')[2], 16)}"


def test_standalone_sockets_are_only_postgres_and_supervisord(stack, engine):
    if engine == "docker":
        pytest.skip("With Docker the sockets are in containers.")
    state = stack.state_folder()
    # Sockets of the stack's processes, and all others in its folder.
    connections = [c for process in stack.processes() for c in process.net_connections("unix")]
    paths = {c.laddr for c in connections if c.laddr.startswith("/")}
    all_paths = {c.laddr for c in psutil.net_connections("unix")}
    paths |= {path for path in all_paths if path.startswith(f"{state}/")}
    supervisor = state / "run/supervisor.sock"
    # supervisord creates its socket with its process ID in the name, which the kernel keeps.
    names = {re.sub(r"\.\d+$", "", path) for path in paths if "PGSQL" not in path}
    assert names == {str(supervisor)}
    assert paths > {f"{state}/sockets/.s.PGSQL.5432"}
    assert stat.S_IMODE(supervisor.stat().st_mode) == 0o700


def test_status_page_has_four_read_only_routes(stack):
    base = stack.url("STATUS_PORT")
    for path in PAGES:
        # 503 means that a service is down, which an earlier test may have caused.
        assert requests.get(base + path, timeout=30).status_code in (200, 503)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert requests.request(method, base + path, timeout=30).status_code == 405
    code = "from status.server import app; print(*[route.path for route in app.routes])"
    assert set(access.output_of(access.start_python(stack, "status", code)).split()) == PAGES


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_status_page_serves_no_files(stack, path):
    prepared = requests.Request("GET", stack.url("STATUS_PORT")).prepare()
    # Set the URL afterwards, because `prepare` would normalize the path.
    prepared.url = stack.url("STATUS_PORT") + path
    assert requests.Session().send(prepared, timeout=30).status_code == 404


HEALTH = "http://airflow-scheduler:8974/health"
LOGS = (
    "http://airflow-worker:8793/log/dag_id=canary",
    "http://airflow-worker:8793/log/../../../etc/passwd",
    "http://airflow-worker:8793/",
    "http://airflow-triggerer:8794/log/dag_id=canary",
    "http://airflow-triggerer:8794/",
)
STATUS_CODES = """
import json, urllib.error, urllib.request
def answer(url, header):
    try:
        request = urllib.request.Request(url, headers=header)
        return urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
headers = [{}, {"Authorization": "Bearer x"}, {"Authorization": "x"}]
print(json.dumps({url: [answer(url, header) for header in headers] for url in %r}))
"""


def test_log_server_unsigned_request_is_refused(stack, engine):
    if engine != "docker":
        pytest.skip("The standalone engine has no workers, so it has no log servers.")
    code = STATUS_CODES % ([HEALTH, *LOGS],)
    statuses = json.loads(access.output_of(access.start_python(stack, "airflow", code)))
    assert set(statuses.pop(HEALTH)) == {200}
    # Airflow 3.0.1 answers with 500 if the header contains no valid token.
    assert {code for codes in statuses.values() for code in codes} <= {403, 404, 500}, statuses
    assert 403 in statuses[LOGS[0]]
