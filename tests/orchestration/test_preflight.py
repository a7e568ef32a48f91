"""What is looked at before anything is changed, all at once; the ports, and a lost .env."""

import os
import socket
from contextlib import ExitStack
from datetime import timedelta

import pytest

from orchestration import preflight
from orchestration.engines.base import Service
from orchestration.errors import Problem
from orchestration.host import permissions, resources
from orchestration.host.minimums import EARLIEST
from orchestration.host.resources import Host
from orchestration.settings.validation import PORTS


@pytest.fixture
def free_ports(listener):
    """Settings of ports that nobody listens on, and none is the stranger's: it is held already."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return dict(zip(PORTS.values(), (p.getsockname()[1] for p in probes), strict=True))


@pytest.fixture
def stopped(engine):
    """An engine without a running service."""
    engine.listed = [Service("postgres", "exited"), Service("mlflow", "absent")]
    return engine


def problem(cause):
    return Problem("unfit", cause, "Fix it.", "machine")


# All of it


def test_a_good_machine_has_no_problem(figures, make_settings, stopped, free_ports):
    assert preflight.check(make_settings(**free_ports), stopped, fresh_env=True) == ([], [])


def test_all_problems_are_told_at_once(
    figures, make_settings, stopped, free_ports, listener, monkeypatch, clone
):
    figures.memory, figures.free, figures.cpus, stopped.volumes = 1.0, 0.5, 0, ["x_postgres"]
    figures.now = EARLIEST - timedelta(days=1)
    stopped.stands_on = Host(problems=(problem("AIRFLOW_UID=0"),), places=(clone,), ahead=60.0)
    monkeypatch.setattr(permissions, "unwritable", lambda folder: problem("not writable"))
    chosen = make_settings(**free_ports | {"AIRFLOW_PORT": listener})
    told, _ = preflight.check(chosen, stopped, fresh_env=True)
    expected = [
        "of memory", "CPUs", "of disk", "AIRFLOW_UID=0", "not writable", "clock shows",
        "engine's clock", f"Port {listener}", "x_postgres",
    ]  # fmt: skip
    assert [text for text, one in zip(expected, told, strict=True) if text not in one.cause] == []
    assert all(one.fix for one in told)


def test_an_engine_that_cannot_work_is_not_asked_further(figures, make_settings, monkeypatch):
    figures.free, figures.now = 1.0, EARLIEST - timedelta(days=1)
    monkeypatch.setattr(permissions, "unwritable", lambda folder: problem("not writable"))
    silent = problem("No Docker engine answers.")

    class Silent:
        def problems(self):
            return [silent]

    told, advice = preflight.check(make_settings(), Silent(), fresh_env=True)
    assert advice == []
    engine, disk, folder, clock = told
    assert engine == silent
    assert (disk.code, folder.cause, clock.code) == ("disk-full", "not writable", "clock-skewed")


def test_problems_and_advice_ask_the_engine_once(figures, make_settings, stopped, free_ports):
    asked = []
    unfit = problem("unfit")
    stopped.host = lambda: asked.append("host") or Host(problems=(unfit,), index="mirror.example")
    told, [advice] = preflight.check(make_settings(**free_ports), stopped, fresh_env=False)
    assert told == [unfit]
    assert "mirror.example does not answer" in advice.cause
    assert asked == ["host"]


def test_looking_changes_nothing(figures, make_settings, stopped, free_ports, clone):
    before = {path: path.stat().st_mtime_ns for path in clone.rglob("*")}
    preflight.check(make_settings(**free_ports), stopped, fresh_env=True)
    assert {path: path.stat().st_mtime_ns for path in clone.rglob("*")} == before
    assert stopped.asked == []


# Advice


def test_memory_below_what_is_advised_is_worth_a_line(figures):
    figures.memory = 5.0
    [advice] = preflight.advice(Host())
    assert advice.cause == "This machine has 5.0 GiB of memory. 8 GiB are recommended."


@pytest.mark.parametrize(("here", "there", "told"), [(1, None, True), (4, 1, True), (2, 2, False)])
def test_a_single_processor_here_or_there_is_worth_a_line(figures, here, there, told):
    figures.cpus, host = here, Host(cpus=there)
    assert [one.code for one in preflight.advice(host)] == ["cpus-short"] * told
    assert resources.resource_problems(host) == []


def test_an_index_that_does_not_answer_is_worth_a_line(figures):
    [advice] = preflight.advice(Host(index="mirror.example"))
    assert "mirror.example does not answer" in advice.cause
    assert "PYPI_INDEX_URL" in advice.fix


# Ports


def test_ports_that_are_the_same_are_told(make_settings, stopped, free_ports):
    same = dict.fromkeys(free_ports, free_ports["MLFLOW_PORT"])
    [problem] = preflight.foreign_ports(make_settings(**same), stopped)
    assert "must differ" in problem.cause


def test_a_taken_port_is_told_with_its_holder_and_its_setting(
    make_settings, stopped, free_ports, listener
):
    chosen = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    [problem] = preflight.foreign_ports(chosen, stopped)
    assert f"(process {os.getpid()})" in problem.cause
    assert "MLFLOW_PORT" in problem.fix


def test_an_address_of_another_machine_is_told_with_its_setting(make_settings, stopped):
    told = preflight.foreign_ports(make_settings(BIND_ADDRESS="192.0.2.1"), stopped)
    assert len(told) == 3
    assert all("on 192.0.2.1 cannot be used" in problem.cause for problem in told)


def test_ports_of_a_running_stack_are_its_own(make_settings, engine, free_ports, listener):
    chosen = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    assert preflight.foreign_ports(chosen, engine) == []


# A lost .env


def test_data_without_its_keys_is_refused_with_both_ways_out(
    figures, make_settings, stopped, free_ports
):
    stopped.volumes = ["x_postgres", "x_redis"]
    [lost], _ = preflight.check(make_settings(**free_ports), stopped, fresh_env=True)
    assert lost.code == "env-lost"
    assert "x_postgres, x_redis" in lost.cause
    assert "backup" in lost.fix
    assert lost.fix.endswith("inv down --volumes --yes")


def test_data_with_its_keys_is_no_problem(figures, make_settings, stopped, free_ports):
    stopped.volumes = ["x_postgres"]
    told, _ = preflight.check(make_settings(**free_ports), stopped, fresh_env=False)
    assert told == []
