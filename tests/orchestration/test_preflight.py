"""Test the checks before an install: resources, ports, and data whose .env is lost."""

import os
import socket
from contextlib import ExitStack
from dataclasses import replace
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
    """Port settings with free ports, none of which is that of `listener`."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return dict(zip(PORTS.values(), (p.getsockname()[1] for p in probes), strict=True))


@pytest.fixture
def stopped(engine):
    """An engine without a running service."""
    engine.ps_result = [Service("postgres", "exited"), Service("mlflow", "absent")]
    return engine


def problem(cause):
    return Problem("unfit", cause, "Fix it.", "machine")


# check


def test_check_good_machine_has_no_problem(figures, make_settings, stopped, free_ports):
    assert preflight.check(make_settings(**free_ports), stopped, fresh_env=True) == ([], [])


def test_check_reports_all_problems_at_once(
    figures, make_settings, stopped, free_ports, listener, monkeypatch, clone
):
    figures.memory, figures.free, figures.cpus, stopped.volumes = 1.0, 0.5, 0, ["x_postgres"]
    figures.now = EARLIEST - timedelta(days=1)
    stopped.host_facts = Host(
        problems=(problem("AIRFLOW_UID=0"),), folders=(clone,), clock_ahead=60.0
    )
    monkeypatch.setattr(permissions, "unwritable", lambda folder: problem("not writable"))
    settings = make_settings(**free_ports | {"AIRFLOW_PORT": listener})
    problems, _ = preflight.check(settings, stopped, fresh_env=True)
    expected = [
        "of memory", "CPUs", "of disk", "AIRFLOW_UID=0", "not writable", "clock shows",
        "engine's clock", f"Port {listener}", "x_postgres",
    ]  # fmt: skip
    pairs = zip(expected, problems, strict=True)
    assert [text for text, one in pairs if text not in one.cause] == []
    assert all(one.fix for one in problems)


def test_check_unusable_engine_is_not_asked_further(figures, make_settings, monkeypatch):
    figures.free, figures.now = 1.0, EARLIEST - timedelta(days=1)
    monkeypatch.setattr(permissions, "unwritable", lambda folder: problem("not writable"))
    no_engine = problem("No Docker engine answers.")

    class UnusableEngine:
        def problems(self):
            return [no_engine]

    problems, advice = preflight.check(make_settings(), UnusableEngine(), fresh_env=True)
    assert advice == []
    engine, disk, folder, clock = problems
    assert engine == no_engine
    assert (disk.code, folder.cause, clock.code) == ("disk-full", "not writable", "clock-skewed")


def test_check_asks_the_engine_once(figures, make_settings, stopped, free_ports):
    calls = []
    unfit = problem("unfit")
    stopped.host = lambda: calls.append("host") or Host(problems=(unfit,), index="mirror.example")
    problems, [advice] = preflight.check(make_settings(**free_ports), stopped, fresh_env=False)
    assert problems == [unfit]
    assert "mirror.example does not answer" in advice.cause
    assert calls == ["host"]


def test_check_changes_nothing(figures, make_settings, stopped, free_ports, clone):
    before = {path: path.stat().st_mtime_ns for path in clone.rglob("*")}
    preflight.check(make_settings(**free_ports), stopped, fresh_env=True)
    assert {path: path.stat().st_mtime_ns for path in clone.rglob("*")} == before
    assert stopped.calls == []


# advice


def test_advice_memory_below_recommendation(figures):
    figures.memory = 5.0
    [advice] = preflight.advice(Host())
    assert advice.cause == "This machine has 5.0 GiB of memory. 8 GiB are recommended."


@pytest.mark.parametrize(
    ("cpus", "engine_cpus", "is_advised"), [(1, None, True), (4, 1, True), (2, 2, False)]
)
def test_advice_single_cpu_of_machine_or_engine(figures, cpus, engine_cpus, is_advised):
    figures.cpus, host = cpus, Host(cpus=engine_cpus)
    assert [one.code for one in preflight.advice(host)] == ["cpus-short"] * is_advised
    assert resources.resource_problems(host) == []


def test_advice_unreachable_index(figures):
    [advice] = preflight.advice(Host(index="mirror.example"))
    assert "mirror.example does not answer" in advice.cause
    assert "PYPI_INDEX_URL" in advice.fix


# foreign_ports


def test_foreign_ports_equal_ports_are_a_problem(make_settings, stopped, free_ports):
    same = dict.fromkeys(free_ports, free_ports["MLFLOW_PORT"])
    [problem] = preflight.foreign_ports(make_settings(**same), stopped)
    assert "must differ" in problem.cause


def test_foreign_ports_taken_port_names_process_and_setting(
    make_settings, stopped, free_ports, listener
):
    settings = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    [problem] = preflight.foreign_ports(settings, stopped)
    assert f"(process {os.getpid()})" in problem.cause
    assert "MLFLOW_PORT" in problem.fix


def test_foreign_ports_foreign_address_is_a_problem_for_each_page(make_settings, stopped):
    problems = preflight.foreign_ports(make_settings(BIND_ADDRESS="192.0.2.1"), stopped)
    assert len(problems) == 3
    assert all("on 192.0.2.1 cannot be used" in problem.cause for problem in problems)


def test_foreign_ports_ignores_ports_of_running_stack(make_settings, engine, free_ports, listener):
    settings = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    assert preflight.foreign_ports(settings, engine) == []


@pytest.mark.parametrize("variable", ["port 5000/tcp", "MLFLOW_PORT"], ids=["docker", "process"])
def test_foreign_ports_of_a_running_stack_include_a_changed_port(
    make_settings, engine, free_ports, listener, variable
):
    settings = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    engine.current_environments["mlflow"] = {variable: "1"}
    engine.intended_environments["mlflow"] = {variable: "1"}
    assert preflight.foreign_ports(settings, engine) == []
    engine.intended_environments["mlflow"] = {variable: "2"}
    [problem] = preflight.foreign_ports(settings, engine)
    assert (problem.code, problem.where) == ("port-taken", "mlflow")


def test_foreign_ports_of_a_running_stack_include_a_stopped_page(
    make_settings, engine, free_ports, listener
):
    settings = make_settings(**free_ports | {"STATUS_PORT": listener})
    engine.ps_result = [
        replace(one, state="exited") if one.name == "status" else one for one in engine.ps_result
    ]
    [problem] = preflight.foreign_ports(settings, engine)
    assert (problem.code, problem.where) == ("port-taken", "status")


# A lost .env


def test_check_data_without_keys_is_rejected_with_both_fixes(
    figures, make_settings, stopped, free_ports
):
    stopped.volumes = ["x_postgres", "x_redis"]
    [lost], _ = preflight.check(make_settings(**free_ports), stopped, fresh_env=True)
    assert lost.code == "env-lost"
    assert "x_postgres, x_redis" in lost.cause
    assert "backup" in lost.fix
    assert lost.fix.endswith("inv down --volumes --yes")


def test_check_data_with_keys_has_no_problem(figures, make_settings, stopped, free_ports):
    stopped.volumes = ["x_postgres"]
    problems, _ = preflight.check(make_settings(**free_ports), stopped, fresh_env=False)
    assert problems == []
