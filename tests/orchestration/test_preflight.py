"""What is looked at before anything is changed, against real sockets and a machine of paper."""

import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from orchestration import preflight
from orchestration.engine import Service
from orchestration.preflight import GIB


@pytest.fixture
def machine(monkeypatch):
    """A machine with plenty of everything; its figures can be set."""
    machine = SimpleNamespace(memory=16.0, free=100.0)
    monkeypatch.setattr(preflight, "memory_gib", lambda: machine.memory)
    usage = SimpleNamespace(disk_usage=lambda root: SimpleNamespace(free=machine.free * GIB))
    monkeypatch.setattr(preflight, "shutil", usage)
    return machine


@pytest.fixture
def listener():
    """A stranger's port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_ports():
    """Settings of ports that nobody listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return dict(zip(preflight.PORTS, (p.getsockname()[1] for p in probes), strict=True))


@pytest.fixture
def stopped(engine):
    """An engine without a running service."""
    engine.listed = [Service("postgres", "exited"), Service("mlflow", "absent")]
    return engine


def test_a_good_machine_has_no_problem(machine, make_settings, stopped, free_ports):
    assert preflight.problems(make_settings(**free_ports), stopped, fresh_env=True) == []
    assert list(preflight.advice()) == []


@pytest.mark.parametrize(("memory", "enough"), [(3.7, False), (3.85, True), (4.0, True)])
def test_memory_below_what_is_needed_is_a_problem(machine, tmp_path, memory, enough):
    machine.memory = memory
    wrong = preflight.resource_problems(tmp_path)
    assert wrong == ([] if enough else ["3.7 GiB of memory: the stack needs 4 GiB"])


def test_memory_below_what_is_advised_is_worth_a_line(machine):
    machine.memory = 5.0
    assert list(preflight.advice()) == ["5.0 GiB of memory: 8 GiB are advised"]


def test_a_full_disk_is_a_problem_with_its_folder(machine, tmp_path):
    machine.free = 1.25
    assert preflight.resource_problems(tmp_path) == [
        f"1.2 GiB of disk free in {tmp_path}: the stack needs 6 GiB"
    ]


def test_this_machines_memory_is_a_sane_number():
    assert 0.1 < preflight.memory_gib() < 100_000


def test_a_port_that_somebody_listens_on_is_taken(listener, dead_port):
    assert preflight.unusable("127.0.0.1", listener) == "is taken"
    assert preflight.unusable("127.0.0.1", dead_port) == ""


def test_an_address_of_another_machine_is_not_called_taken():
    assert "cannot be used" in preflight.unusable("192.0.2.1", 8080)


def test_ports_that_are_the_same_are_told(make_settings, stopped, free_ports):
    same = dict.fromkeys(free_ports, free_ports["MLFLOW_PORT"])
    [problem] = preflight.foreign_ports(make_settings(**same), stopped)
    assert "must differ" in problem


def test_a_taken_port_is_told_with_its_setting(make_settings, stopped, free_ports, listener):
    chosen = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    [problem] = preflight.foreign_ports(chosen, stopped)
    assert problem.startswith(f"port {listener} on 127.0.0.1 is taken: ")
    assert problem.endswith("or set MLFLOW_PORT in .env")


def test_ports_of_a_running_stack_are_its_own(make_settings, engine, free_ports, listener):
    chosen = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    assert preflight.foreign_ports(chosen, engine) == []


def test_all_problems_are_told_at_once(machine, make_settings, stopped, free_ports, listener):
    machine.memory, machine.free, stopped.volumes = 1.0, 1.0, ["x_postgres"]
    chosen = make_settings(**free_ports | {"AIRFLOW_PORT": listener})
    memory, disk, port, lost = preflight.problems(chosen, stopped, fresh_env=True)
    assert "of memory" in memory
    assert "of disk" in disk
    assert f"port {listener}" in port
    assert "x_postgres" in lost


def test_an_engine_that_cannot_work_is_not_asked_further(machine, make_settings):
    machine.free = 1.0

    class Silent:
        def problems(self):
            return ["no engine answers: start it"]

    told = preflight.problems(make_settings(), Silent(), fresh_env=True)
    assert told[0] == "no engine answers: start it"
    assert "of disk" in told[1]


def test_data_without_its_keys_is_refused_with_both_ways_out(
    machine, make_settings, stopped, free_ports
):
    stopped.volumes = ["x_postgres", "x_redis"]
    [lost] = preflight.problems(make_settings(**free_ports), stopped, fresh_env=True)
    assert "x_postgres, x_redis" in lost
    assert "backup" in lost
    assert lost.endswith("inv down --volumes --yes")


def test_data_with_its_keys_is_no_problem(machine, make_settings, stopped, free_ports):
    stopped.volumes = ["x_postgres"]
    assert preflight.problems(make_settings(**free_ports), stopped, fresh_env=False) == []
