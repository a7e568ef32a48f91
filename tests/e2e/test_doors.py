"""What listens, on this machine and in each container, and what the data stores ask for."""

import json
import re
import stat
from pathlib import Path

import psutil
import pytest
import requests

from tests.e2e import doors
from tests.e2e.clone import PORTS

# Without Docker only what `psutil` sees of its processes; every name here is a service.
INSIDE = {
    "postgres": {"tcp 5432", "unix .s.PGSQL.5432"},
    "redis": {"tcp 6379"},
    "airflow-apiserver": {"tcp 8080"},
    # Its health server: the age of its heartbeat, for whoever asks in these networks.
    "airflow-scheduler": {"tcp 8974"},
    "airflow-dag-processor": set(),
    # Log servers, which answer the api-server's signed questions.
    "airflow-triggerer": {"tcp 8794"},
    "airflow-worker": {"tcp 8793"},
    "mlflow": {"tcp 5000"},
    "status": {"tcp 8081"},
}
LISTENING, DNS_OF_DOCKER = "0A", "0B00007F"
PAGES = {"/", "/status.json", "/metrics", "/healthz"}
OUTSIDE_OF_STATUS = (
    "/../etc/passwd", "/..%2f..%2fetc/passwd", "/status.html", "/server.py", "/.env", "/backups",
    "/openapi.json", "/docs", "/static/",
)  # fmt: skip


def test_on_this_machine_the_three_pages_listen_on_loopback_and_nothing_else(stack, engine):
    ports = {int(stack.exported[name]) for name in PORTS}
    assert not ports & {port for _, _, port in stack.listened}, "before `up` something did"
    new = {door: pid for door, pid in doors.listening().items() if door not in stack.listened}
    mine = {door for door, pid in new.items() if pid is None or belongs(stack, engine, pid)}
    assert mine == {("tcp", "127.0.0.1", port) for port in ports}


def belongs(stack, engine, pid):
    """Whether a process is of this stack: others may start what they like meanwhile."""
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
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    names = stack.containers("--quiet").split()
    return stack.well("docker", "inspect", f"--format={form}", *names).split()


@pytest.mark.parametrize("service", sorted(INSIDE))
def test_in_its_container_each_service_listens_where_it_must(stack, engine, service):
    if engine != "docker":
        pytest.skip("there are no containers")
    names = [f"/proc/net/{kind}" for kind in ("tcp", "tcp6", "udp", "udp6", "unix")]
    said = stack.well(
        "docker", "exec", stack.container(service), "grep", "-sH", "", *names
    ).splitlines()
    assert set(filter(None, map(listener, said))) == INSIDE[service]


def listener(line):
    """A line of /proc/net as `tcp PORT` or `unix NAME`, if somebody listens there."""
    kind, _, fields = line.removeprefix("/proc/net/").partition(":")
    words = fields.split()
    if kind == "unix":
        # 00010000 is the flag of a socket that accepts.
        return f"unix {Path(words[7]).name}" if words[3:4] == ["00010000"] and words[7:] else None
    if not re.match(r"\d+:", fields.strip()) or words[1].startswith(DNS_OF_DOCKER):
        return None
    if kind.startswith("tcp") and words[3] != LISTENING:
        return None
    if kind.startswith("udp") and not words[2].endswith(":0000"):
        return None
    return f"{kind[:3]} {int(words[1].rpartition(':')[2], 16)}"


def test_without_docker_both_sockets_are_closed_to_others(stack, engine):
    if engine == "docker":
        pytest.skip("their sockets are in containers")
    state = stack.state_folder()
    # Its processes', and whatever else listens in its folder.
    theirs = [c for process in stack.processes() for c in process.net_connections("unix")]
    said = {c.laddr for c in theirs if c.laddr.startswith("/")}
    every = {c.laddr for c in psutil.net_connections("unix")}
    found = said | {name for name in every if name.startswith(f"{state}/")}
    supervisor = state / "run/supervisor.sock"
    # supervisord's carries its process id until it is renamed, and the kernel keeps that name.
    names = {re.sub(r"\.\d+$", "", name) for name in found if "PGSQL" not in name}
    assert names == {str(supervisor)}
    assert found > {f"{state}/sockets/.s.PGSQL.5432"}
    assert stat.S_IMODE(supervisor.stat().st_mode) == 0o700


def test_the_status_page_has_four_pages_which_only_tell(stack):
    base = stack.url("STATUS_PORT")
    for path in PAGES:
        # 503 tells that something is down, as other tests may have left it.
        assert requests.get(base + path, timeout=30).status_code in (200, 503)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert requests.request(method, base + path, timeout=30).status_code == 405
    code = "from status.server import app; print(*[route.path for route in app.routes])"
    assert set(doors.told(doors.start_inside(stack, "status", code)).split()) == PAGES


@pytest.mark.parametrize("path", OUTSIDE_OF_STATUS)
def test_the_status_page_serves_no_files(stack, path):
    prepared = requests.Request("GET", stack.url("STATUS_PORT")).prepare()
    # As written; the client would tidy it up.
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
ASK = """
import json, urllib.error, urllib.request
def answer(url, header):
    try:
        asked = urllib.request.Request(url, headers=header)
        return urllib.request.urlopen(asked, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
headers = [{}, {"Authorization": "Bearer x"}, {"Authorization": "x"}]
print(json.dumps({url: [answer(url, header) for header in headers] for url in %r}))
"""


def test_log_servers_answer_nobody_without_a_signature(stack, engine):
    if engine != "docker":
        pytest.skip("without workers there are no log servers")
    code = ASK % ([HEALTH, *LOGS],)
    said = json.loads(doors.told(doors.start_inside(stack, "airflow", code)))
    assert set(said.pop(HEALTH)) == {200}
    # 3.0.1 ends with 500 where what stands for a token is none.
    assert {code for codes in said.values() for code in codes} <= {403, 404, 500}, said
    assert 403 in said[LOGS[0]]
