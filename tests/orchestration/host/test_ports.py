"""Test port checks with real sockets and processes, and a fake docker command."""

import socket
import subprocess
import sys

import psutil
import pytest

from orchestration.host import ports

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
DOCKER_PROXY = ("docker-proxy", "docker-proxy (process 7)")
CONTAINER = "x-web-1\t/srv/x/orchestration\n"


@pytest.fixture
def start_listener():
    """Return a function that starts a listening process and returns its port and id."""
    started = []

    def start(**variables):
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN],
            env={"PATH": "/usr/bin:/bin", **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return int(process.stdout.readline()), process.pid

    yield start
    for process in started:
        process.communicate("")


def test_port_problem_free_port_has_none_and_searches_no_process(
    make_settings, dead_port, recorded, monkeypatch
):
    monkeypatch.setattr(
        ports, "listeners", lambda address, port: pytest.fail("Processes were searched.")
    )
    assert ports.port_problem(make_settings(MLFLOW_PORT=dead_port), "mlflow") is None
    assert recorded.lines == []


def test_port_problem_taken_port_names_process(make_settings, start_listener, recorded):
    port, pid = start_listener()
    problem = ports.port_problem(make_settings(MLFLOW_PORT=port), "mlflow")
    user = f"{psutil.Process(pid).name()} (process {pid})"
    assert problem.cause == f"Port {port} on 127.0.0.1 is already in use by {user}."
    assert problem.fix == "Stop that program, or set MLFLOW_PORT in .env, then run: inv up"
    assert (problem.code, problem.where) == ("port-taken", "mlflow")
    assert recorded.lines == []


def test_holder_names_folder_of_other_clone(start_listener, recorded):
    port, _ = start_listener(STACK_ROOT="/srv/other")
    assert ports.holder("127.0.0.1", port) == "another clone of this stack in /srv/other"


def test_port_problem_foreign_address_is_not_called_taken(make_settings):
    problem = ports.port_problem(make_settings(BIND_ADDRESS="192.0.2.1"), "status")
    assert " on 192.0.2.1 cannot be used (" in problem.cause
    assert problem.fix.startswith("Set BIND_ADDRESS or STATUS_PORT in .env")


def test_listeners_wildcard_address_includes_specific_listener(listener):
    assert ports.listeners("0.0.0.0", listener)
    assert ports.listeners("127.0.0.1", listener)
    assert not ports.listeners("127.0.0.2", listener)


def test_listeners_specific_address_includes_wildcard_listener():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ports.listeners("127.0.0.1", server.getsockname()[1])


def test_listeners_ignores_connections(listener, dead_port):
    with socket.create_connection(("127.0.0.1", listener)) as client:
        assert ports.listeners("127.0.0.1", client.getsockname()[1]) == []


def test_holder_names_container_of_forwarded_port(recorded, monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda address, port: [7])
    monkeypatch.setattr(ports, "process", lambda pid: DOCKER_PROXY)
    recorded.outputs = {"--filter publish=8080": CONTAINER}
    description = "container x-web-1 (project folder /srv/x/orchestration)"
    assert ports.holder("127.0.0.1", 8080) == description


def test_holder_names_forwarder_without_container(recorded, monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda address, port: [7])
    monkeypatch.setattr(ports, "process", lambda pid: DOCKER_PROXY)
    assert ports.holder("127.0.0.1", 8080) == "docker-proxy (process 7)"


@pytest.mark.parametrize(
    ("pids", "container", "description"),
    [
        ([None], CONTAINER, "container x-web-1 (project folder /srv/x/orchestration)"),
        ([None], "lone\t\n", "container lone"),
        ([None], "", "another user's process"),
        ([], "", ""),
    ],
)
def test_holder_invisible_process_falls_back_to_container(
    recorded, monkeypatch, pids, container, description
):
    monkeypatch.setattr(ports, "listeners", lambda address, port: pids)
    recorded.outputs = {"docker ps": container}
    assert ports.holder("127.0.0.1", 8080) == description


def test_holder_exited_process_is_unknown(recorded, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    monkeypatch.setattr(ports, "listeners", lambda address, port: [process.pid])
    assert ports.process(process.pid) is None
    assert ports.holder("127.0.0.1", 8080) == "another user's process"


def test_container_is_empty_if_docker_does_not_answer(recorded):
    recorded.failures = {"docker ps": "Timed out after 5 s: docker ps"}
    assert ports.container(8080) == ""


def test_container_ignores_docker_warnings(recorded):
    recorded.outputs = {"docker ps": f"WARNING: config is odd\n{CONTAINER}"}
    assert ports.container(8080).startswith("container x-web-1 ")


def test_listeners_without_permission_is_empty(monkeypatch):
    def deny(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", deny)
    assert ports.listeners("127.0.0.1", 1) == []
