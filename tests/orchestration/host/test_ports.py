"""Free and taken ports: real sockets and processes, and a fake docker command."""

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
def stranger():
    """Starts a process that listens, with these variables, and tells its port and id."""
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


def test_a_free_port_can_be_used_and_nobody_is_looked_for(
    make_settings, dead_port, recorded, monkeypatch
):
    monkeypatch.setattr(ports, "listeners", lambda address, port: pytest.fail("looked"))
    assert ports.port_problem(make_settings(MLFLOW_PORT=dead_port), "mlflow") is None
    assert recorded.lines == []


def test_a_taken_port_is_told_with_the_process_that_holds_it(make_settings, stranger, recorded):
    port, pid = stranger()
    problem = ports.port_problem(make_settings(MLFLOW_PORT=port), "mlflow")
    user = f"{psutil.Process(pid).name()} (process {pid})"
    assert problem.cause == f"Port {port} on 127.0.0.1 is already in use by {user}."
    assert problem.fix == "Stop that program, or set MLFLOW_PORT in .env, then run: inv up"
    assert (problem.code, problem.where) == ("port-taken", "mlflow")
    assert recorded.lines == []


def test_another_clones_service_is_told_with_its_folder(stranger, recorded):
    port, _ = stranger(STACK_ROOT="/srv/other")
    assert ports.holder("127.0.0.1", port) == "another clone of this stack in /srv/other"


def test_an_address_of_another_machine_is_not_called_taken(make_settings):
    problem = ports.port_problem(make_settings(BIND_ADDRESS="192.0.2.1"), "status")
    assert " on 192.0.2.1 cannot be used (" in problem.cause
    assert problem.fix.startswith("Set BIND_ADDRESS or STATUS_PORT in .env")


def test_listening_everywhere_meets_who_listens_on_one_address(listener):
    assert ports.listeners("0.0.0.0", listener)
    assert ports.listeners("127.0.0.1", listener)
    assert not ports.listeners("127.0.0.2", listener)


def test_who_listens_everywhere_is_met_on_one_address():
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ports.listeners("127.0.0.1", server.getsockname()[1])


def test_a_connection_to_a_port_is_no_listener(listener, dead_port):
    with socket.create_connection(("127.0.0.1", listener)) as client:
        assert ports.listeners("127.0.0.1", client.getsockname()[1]) == []


def test_a_port_that_docker_forwards_is_told_with_its_container(recorded, monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda address, port: [7])
    monkeypatch.setattr(ports, "process", lambda pid: DOCKER_PROXY)
    recorded.outputs = {"--filter publish=8080": CONTAINER}
    told = ports.holder("127.0.0.1", 8080)
    assert told == "container x-web-1 (project folder /srv/x/orchestration)"


def test_a_forwarder_that_docker_does_not_know_is_told_itself(recorded, monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda address, port: [7])
    monkeypatch.setattr(ports, "process", lambda pid: DOCKER_PROXY)
    assert ports.holder("127.0.0.1", 8080) == "docker-proxy (process 7)"


@pytest.mark.parametrize(
    ("seen", "container", "told"),
    [
        ([None], CONTAINER, "container x-web-1 (project folder /srv/x/orchestration)"),
        ([None], "lone\t\n", "container lone"),
        ([None], "", "another user's process"),
        ([], "", ""),
    ],
)
def test_a_holder_that_cannot_be_seen_is_told_as_far_as_it_goes(
    recorded, monkeypatch, seen, container, told
):
    monkeypatch.setattr(ports, "listeners", lambda address, port: seen)
    recorded.outputs = {"docker ps": container}
    assert ports.holder("127.0.0.1", 8080) == told


def test_a_holder_that_ended_meanwhile_is_nobody(recorded, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(ports, "listeners", lambda address, port: [ended.pid])
    assert ports.process(ended.pid) is None
    assert ports.holder("127.0.0.1", 8080) == "another user's process"


def test_a_docker_that_does_not_answer_is_no_answer(recorded):
    recorded.failures = {"docker ps": "no answer within 5 s"}
    assert ports.container(8080) == ""


def test_warnings_of_docker_are_not_taken_for_a_container(recorded):
    recorded.outputs = {"docker ps": f"WARNING: config is odd\n{CONTAINER}"}
    assert ports.container(8080).startswith("container x-web-1 ")


def test_a_system_that_shows_no_connections_shows_no_listener(monkeypatch):
    def refused(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refused)
    assert ports.listeners("127.0.0.1", 1) == []
