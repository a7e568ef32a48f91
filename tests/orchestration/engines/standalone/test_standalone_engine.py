"""Test the standalone engine with a fake supervisord, and at the end with the real one."""

import functools
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import psutil
import pytest
import yaml

from orchestration.dependencies.python import MISSING
from orchestration.engines.base import INIT_JOBS, RECOVERY_SECONDS, image_of, runtime_module
from orchestration.engines.standalone import engine as standalone_engine
from orchestration.engines.standalone import environment as standalone_environment
from orchestration.engines.standalone import init_jobs, orphans, virtualenvs
from orchestration.engines.standalone import supervisor as supervisord_module
from orchestration.engines.standalone.engine import SCHEDULER, SERVICES, StandaloneEngine
from orchestration.engines.standalone.environment import State, services_environment
from orchestration.errors import StackError
from orchestration.process import runner, wait
from orchestration.settings import compose_file
from tests.support.repository import ROOT

SHUTTING_DOWN = Fault(6, "SHUTDOWN_STATE")
# The status page runs during the init jobs.
STARTED_FIRST = [("startProcess", "status", False)]
STARTED_BY_UP = [
    *STARTED_FIRST,
    *(("startProcess", name, False) for name in (*SERVICES, "watchdog")),
]
INIT_MODULES = [f"stack_runtime.{name}" for name in init_jobs.MODULES.values()]
STARTED = 1_790_000_000
LOAD = functools.cache(yaml.safe_load)


class Requests(SimpleXMLRPCRequestHandler):
    """XML-RPC over a socket in the file system."""

    rpc_paths = ()
    disable_nagle_algorithm = False


class Server(socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    """Passes each call to a fake supervisord."""

    logRequests = False
    _send_traceback_header = False

    def __init__(self, path, supervisord):
        SimpleXMLRPCDispatcher.__init__(self)
        socketserver.UnixStreamServer.__init__(self, path, Requests)
        self.register_instance(supervisord)


class FakeSupervisord:
    """Answers at the address of supervisord; `faults` contains the calls that fail."""

    def __init__(self, address):
        self.path = Path(address.removeprefix("unix://"))
        self.calls, self.faults, self.processes, self.server = [], {}, [], None
        # A process that has exited, so that nothing waits for it.
        with subprocess.Popen(["true"]) as finished:
            self.pid = finished.pid
        self.on_shutdown = lambda: None

    def start(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.server = Server(str(self.path), self)
        threading.Thread(target=self.server.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.path.unlink(missing_ok=True)
            self.server = None

    def _dispatch(self, method, arguments):
        method = method.removeprefix("supervisor.")
        if method != "getPID":
            self.calls.append((method, *arguments))
        for call in ("*", method, " ".join(map(str, (method, *arguments)))):
            if call in self.faults:
                raise self.faults[call]
        if method == "shutdown":
            self.faults["*"] = SHUTTING_DOWN
            self.on_shutdown()
            return True
        return {"getPID": self.pid, "getAllProcessInfo": self.processes}.get(method, True)

    def set_states(self, **states):
        """Report these states; the other services run."""
        self.processes = [
            process(name, states.get(name.replace("-", "_"), "RUNNING")) for name in SERVICES
        ]
        return self


def process(name, state="RUNNING", *, pid=0, start=STARTED, status=0):
    """Return the part of a program's process info that the engine reads."""
    return {
        "name": name, "statename": state, "pid": pid, "start": start, "exitstatus": status,
    }  # fmt: skip


class FakeMachine:
    """Runs no command: supervisord is a fake, init jobs print a line or fail."""

    def __init__(self, state, supervisord):
        self.state, self.supervisord = state, supervisord
        self.commands, self.failures, self.silent = [], {}, False

    def run(self, command, **options):
        self.commands.append(command)
        name = self.name(command)
        targets = [word[9:] for word in command.argv if word.startswith("--target=")]
        if command.argv[0] == "cp" or command.argv[:2] == ("uv", "venv"):
            targets.append(command.argv[-1])
        for target in targets:
            Path(target).mkdir(parents=True)
        if name == "supervisord":
            self.supervisord.stop()
            self.supervisord.faults.pop("*", None)
            if not self.silent:
                self.supervisord.start()
            data = self.state.folder / "postgres" / "PG_VERSION"
            data.write_text("16\n", encoding="utf-8")
        if name in self.failures:
            raise StackError(self.failures[name])
        return runner.Completed(0, f"output of {name}\n")

    def name(self, command):
        return command.argv[-1] if "-m" in command.argv else Path(command.argv[0]).stem

    def pop_names(self):
        """Return the names of the commands run since the last call."""
        names = [self.name(command) for command in self.commands]
        self.commands.clear()
        return names


@pytest.fixture
def state(tmp_path_factory, monkeypatch):
    """Return the state folder of every engine, with a path short enough for sockets."""
    folder = State(tmp_path_factory.mktemp("s"))
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: folder))
    return folder


@pytest.fixture
def make_engine(clone, state, make_settings, monkeypatch):
    """Return a function that makes engines for a clone with real files and short locks."""
    user = os.getuid()
    monkeypatch.setattr(standalone_engine.os, "getuid", lambda: user or 1234)
    monkeypatch.setattr(standalone_environment, "postgres_user", lambda: "user")
    # The Compose file is read once for all tests.
    monkeypatch.setattr(compose_file, "yaml", SimpleNamespace(safe_load=LOAD))
    for name in ("docker-compose.yaml", "supervisord.conf"):
        shutil.copy(ROOT / "orchestration" / name, clone / "orchestration")
    locks = [lock for names in virtualenvs.LOCKS.values() for lock in names]
    sources = [f"install/{lock}" for lock in (*locks, "base/postgres.lock")]
    for source in (*sources, *virtualenvs.POSTGRES_FILES.values()):
        (clone / source).parent.mkdir(parents=True, exist_ok=True)
        (clone / source).write_text("version 1\n", encoding="utf-8")
    return lambda **values: StandaloneEngine(make_settings(**values))


@pytest.fixture
def standalone(make_engine):
    """Return an engine with default settings."""
    return make_engine()


@pytest.fixture
def supervisord(state):
    """Return a fake supervisord that is not started yet."""
    fake = FakeSupervisord(state.supervisor)
    yield fake
    fake.stop()


@pytest.fixture
def machine(state, supervisord, monkeypatch):
    """Replace the command runner by a fake machine."""
    fake = FakeMachine(state, supervisord)
    monkeypatch.setattr(runner, "run", fake.run)
    return fake


@pytest.fixture
def orphan(state):
    """Return a function that starts a process like one of a killed supervisord."""
    processes = []

    def start(name):
        variables = {"SUPERVISOR_SERVER_URL": state.supervisor, "SUPERVISOR_PROCESS_NAME": name}
        environment = {"PATH": os.environ["PATH"]} | variables
        processes.append(subprocess.Popen(["sleep", "60"], env=environment))
        return processes[-1]

    yield start
    for child in processes:
        child.kill()
        child.wait()


# Requirements


@pytest.fixture
def linux(monkeypatch):
    """Fake a machine without problems."""
    monkeypatch.setattr(standalone_engine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(standalone_engine, "python_problem", lambda settings: [])


def test_problems_on_linux_with_python_are_empty(standalone, linux):
    assert standalone.problems() == []


def test_problems_include_another_operating_system(standalone, linux, monkeypatch):
    monkeypatch.setattr(standalone_engine.platform, "system", lambda: "Darwin")
    [problem] = standalone.problems()
    assert (problem.code, problem.fix) == ("engine-unfit", "Use Docker.")
    assert "Darwin" in problem.cause


@pytest.mark.parametrize(("excess", "expected"), [(0, []), (1, [1]), (30, [30])])
def test_problems_include_a_path_too_long_for_sockets(standalone, linux, excess, expected):
    # The limit is 107 bytes. supervisord first binds a socket with its pid at the end of the name.
    limit = 107 - len("/run/supervisor.sock.12345678")
    standalone.state = State(Path("/" + "f" * (limit - 1 + excess)))
    assert [problem.cause for problem in standalone.problems()] == [
        f"The path {standalone.state.folder} is {n} bytes too long for sockets." for n in expected
    ]


def test_problems_include_a_missing_python_unless_built(standalone, linux, monkeypatch, state):
    monkeypatch.setattr(standalone_engine, "python_problem", lambda settings: [MISSING])
    assert standalone.problems() == [MISSING]
    state.python("airflow").parent.mkdir(parents=True)
    state.python("airflow").touch()
    assert standalone.problems() == []


def test_problems_are_reported_together(standalone, linux, monkeypatch):
    monkeypatch.setattr(standalone_engine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(standalone_engine, "python_problem", lambda settings: [MISSING])
    standalone.state = State(Path("/" + "f" * 200))
    assert len(standalone.problems()) == 3


def test_surviving_data_is_a_complete_database(standalone, state):
    assert standalone.surviving_data() == []
    (state.folder / "postgres").mkdir()
    assert standalone.surviving_data() == []
    (state.folder / "postgres" / "PG_VERSION").write_text("16\n")
    assert standalone.surviving_data() == [str(state.folder / "postgres")]


def test_is_built_after_build_and_activate(standalone, machine):
    assert not standalone.is_built()
    standalone.build()
    assert not standalone.is_built()
    standalone.activate()
    assert standalone.is_built()


def test_build_always_includes_postgres(standalone, machine):
    standalone.build(["mlflow"])
    standalone.activate(["mlflow"])
    environments = standalone.environments
    in_use = {name for name in ("airflow", "mlflow", "status", "postgres") if (
        environments.in_use(name))}  # fmt: skip
    assert in_use == {"mlflow", "postgres"}


# Builds


def test_import_errors_come_from_the_newest_build(standalone, recorded, clone):
    recorded.failures = {"airflow.parse_dags": "\n".join(f"dags/{n}.py: error" for n in range(20))}
    standalone.environments.candidate("airflow").mkdir(parents=True)
    assert standalone.import_errors().splitlines()[-1] == "dags/19.py: error"
    assert len(standalone.import_errors().splitlines()) == runner.TAIL_LINES
    command = recorded.commands[-1]
    assert command.argv == (
        f"{standalone.environments.candidate('airflow')}/bin/python",
        *runtime_module("airflow.parse_dags")[1:],
        f"{standalone.settings.project_dir}/dags",
    )
    assert command.env == services_environment(standalone.settings)


def test_import_errors_are_empty_if_the_dags_import(standalone, recorded):
    recorded.outputs = {"airflow.parse_dags": "3 DAGs parsed"}
    assert standalone.import_errors() == ""


def test_package_errors_come_from_the_newest_build(standalone, recorded):
    recorded.failures = {"airflow.import_packages": "lightgbm: OSError"}
    assert standalone.package_errors(["lightgbm"]) == "lightgbm: OSError"
    assert recorded.commands[-1].argv[1:] == (
        *runtime_module("airflow.import_packages")[1:], "lightgbm",
    )  # fmt: skip


def test_build_prints_apt_command_of_missing_debian_packages(standalone, machine, clone, capsys):
    (clone / "install" / "packages.txt").write_text("libgomp1\n")
    standalone.build()
    assert "Run: sudo apt-get install --no-install-recommends libgomp1" in capsys.readouterr().out


def test_include_is_a_package_of_the_services(standalone, recorded, state, clone):
    standalone.import_errors()
    (clone / "include").mkdir(exist_ok=True)
    (clone / "include" / "shared.py").touch()
    path = services_environment(standalone.settings)["PYTHONPATH"].split(":")
    assert path == [str(clone / "orchestration/config"), str(state.folder / "airflow")]
    assert (state.folder / "airflow" / "include" / "shared.py").exists()


def test_outdated_are_services_and_init_jobs_of_changed_environments(
    standalone, machine, supervisord, clone
):
    standalone.build()
    standalone.activate()
    standalone.up()
    names = [*standalone.services()]
    assert standalone.outdated(names) == []
    change_locks(standalone, clone, "mlflow")
    assert sorted(standalone.outdated(names)) == ["mlflow", "mlflow-migrate"]


def change_locks(standalone, clone, *names):
    """Build and activate new environments; return the previous folders."""
    before = {name: standalone.environments.in_use(name) for name in names}
    for name in names:
        lock = virtualenvs.LOCKS[name][0] if name != "postgres" else "base/postgres.lock"
        (clone / "install" / lock).write_text("version 2\n", encoding="utf-8")
    standalone.build()
    standalone.activate()
    return before


def test_prune_keeps_the_environment_of_a_service_until_it_is_replaced(
    standalone, machine, supervisord, state, clone
):
    standalone.build()
    standalone.activate()
    standalone.up()
    (old,) = change_locks(standalone, clone, "mlflow").values()
    standalone.prune()
    assert (state.folder / "envs" / old).exists()
    standalone.replace("mlflow")
    standalone.prune()
    assert not (state.folder / "envs" / old).exists()
    assert standalone.is_built()


def test_prune_before_the_first_start_keeps_only_active_folders(standalone, machine, state, clone):
    standalone.build()
    standalone.activate()
    (old,) = change_locks(standalone, clone, "mlflow").values()
    standalone.prune()
    assert not (state.folder / "envs" / old).exists()


# replace, restart, run


def test_replace_and_restart_stop_and_start_services(standalone, supervisord, state):
    state.run.mkdir()
    supervisord.start()
    standalone.replace("mlflow")
    assert supervisord.calls == [("stopProcess", "mlflow"), ("startProcess", "mlflow", False)]
    supervisord.calls.clear()
    standalone.restart(["status", "mlflow"])
    assert supervisord.calls == [
        ("stopProcess", "status"),
        ("startProcess", "status", False),
        ("stopProcess", "mlflow"),
        ("startProcess", "mlflow", False),
    ]


def test_stop_stops_the_watchdog_first(standalone, supervisord):
    supervisord.start()
    standalone.stop(["airflow-scheduler", "mlflow", "mlflow-migrate"])
    stopped = [("stopProcess", n) for n in ("watchdog", "airflow-scheduler", "mlflow")]
    assert supervisord.calls == stopped


def test_sandbox_uses_the_same_environments(standalone, state, make_settings, monkeypatch):
    (state.folder / "envs").mkdir()
    (state.folder / "envs/mark").touch()
    monkeypatch.setattr(State, "of", classmethod(lambda cls, chosen: State(state.folder / "other")))
    other = make_settings(COMPOSE_PROJECT_NAME="other")
    for _ in range(2):
        sandbox = standalone.create_sandbox(other)
    assert sandbox.settings is other
    assert (state.folder / "other/envs/mark").exists()
    standalone.remove_sandbox(other)
    assert not (state.folder / "other").exists()
    assert (state.folder / "envs/mark").exists()


def test_restart_starts_a_stopped_service(standalone, supervisord):
    supervisord.start()
    supervisord.faults["stopProcess mlflow"] = Fault(70, "NOT_RUNNING: mlflow")
    standalone.restart(["mlflow"])
    assert supervisord.calls[-1] == ("startProcess", "mlflow", False)


def test_restart_reports_a_service_that_cannot_be_stopped(standalone, supervisord):
    supervisord.start()
    supervisord.faults["stopProcess mlflow"] = Fault(10, "BAD_NAME: mlflow")
    with pytest.raises(StackError) as raised:
        standalone.restart(["mlflow"])
    assert str(raised.value) == (
        "supervisord could not stop mlflow: BAD_NAME: mlflow.\nRun: inv doctor"
    )


@pytest.mark.parametrize("name", INIT_JOBS)
def test_replace_runs_an_init_job(standalone, machine, supervisord, state, name):
    state.logs.mkdir()
    supervisord.start()
    standalone.replace(name)
    (module,) = machine.pop_names()
    assert module == f"stack_runtime.{init_jobs.MODULES[name]}"
    assert supervisord.calls == []
    machine.failures = {module: "exited with code 1:\nno such column"}
    with pytest.raises(StackError, match=f"{name} failed.\nexited with code 1:\nno such column"):
        standalone.replace(name)


@pytest.fixture
def restarts_on_term(supervisord):
    """Fake a scheduler that exits after TERM and is restarted as another process."""
    supervisord.set_states().processes[2] = process(SCHEDULER, pid=7)
    supervisord.start()

    def answer(method, arguments, dispatch=supervisord._dispatch):
        if method.endswith("signalProcess"):
            supervisord.processes[2] = process(SCHEDULER, pid=8)
        return dispatch(method, arguments)

    supervisord._dispatch = answer


@pytest.mark.usefixtures("restarts_on_term")
def test_replace_stops_the_watchdog_until_the_scheduler_is_new(standalone, supervisord):
    standalone.replace(SCHEDULER)
    assert [call for call in supervisord.calls if call != ("getAllProcessInfo",)] == [
        ("stopProcess", "watchdog"),
        ("signalProcess", SCHEDULER, "TERM"),
        ("startProcess", "watchdog", False),
    ]


@pytest.mark.usefixtures("restarts_on_term")
def test_finish_tasks_leaves_the_scheduler_stopped(standalone, supervisord):
    standalone.finish_tasks()
    assert [call for call in supervisord.calls if call != ("getAllProcessInfo",)] == [
        ("stopProcess", "watchdog"),
        ("signalProcess", SCHEDULER, "TERM"),
        ("stopProcess", SCHEDULER),
    ]


def test_replace_starts_the_watchdog_also_after_a_timeout(
    standalone, supervisord, clock, monkeypatch
):
    monkeypatch.setattr(wait, "time", clock)
    supervisord.set_states().processes[2] = process(SCHEDULER, pid=7)
    supervisord.start()
    monkeypatch.setattr(standalone_engine, "TASK_SECONDS", 5)
    with pytest.raises(StackError) as raised:
        standalone.replace(SCHEDULER)
    assert str(raised.value) == (
        "airflow-scheduler did not exit within 5 s.\nRun: inv restart -s airflow-scheduler"
    )
    assert 5 <= sum(clock.slept) < 6
    assert supervisord.calls[-1] == ("startProcess", "watchdog", False)


def test_environment_is_that_of_the_process(standalone, supervisord, orphan):
    supervisord.set_states().processes[2] = process(SCHEDULER, pid=orphan("airflow-scheduler").pid)
    supervisord.start()
    assert standalone.environment(SCHEDULER)["SUPERVISOR_PROCESS_NAME"] == "airflow-scheduler"
    assert standalone.environment("mlflow") == {}
    assert standalone.environment("no-such") == {}


def test_environment_of_postgres_is_empty(standalone, supervisord, orphan):
    supervisord.set_states().processes[0] = process("postgres", pid=orphan("postgres").pid)
    supervisord.start()
    assert standalone.environment("postgres") == {}


def test_intended_environment_excludes_the_variables_of_the_shell(standalone):
    intended, whole = (
        standalone.intended_environment("mlflow"),
        services_environment(standalone.settings),
    )
    assert intended.items() <= whole.items()
    assert whole.keys() - intended.keys() == {
        *standalone.settings.environment,
        "PATH",
        "STACK_PYTHON",
        "NO_PROXY",
        "no_proxy",
    }
    assert intended["AIRFLOW__API__PORT"] == standalone.settings["AIRFLOW_PORT"]


def test_tail_can_start_at_a_time(standalone, state):
    state.logs.mkdir()
    lines = [f"2026-01-02 03:0{minute}:00 line {minute}" for minute in range(5)]
    (state.logs / "mlflow.log").write_text("\n".join(lines) + "\n")
    assert standalone.tail("mlflow", 2) == "\n".join(lines[-2:])
    since = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert standalone.tail("mlflow", 2, since) == lines[-1]


def test_replace_starts_a_stopped_scheduler(standalone, supervisord, state):
    supervisord.set_states().processes[2] = process(SCHEDULER, "FATAL")
    supervisord.start()
    standalone.replace(SCHEDULER)
    assert ("startProcess", SCHEDULER, False) in supervisord.calls
    assert not [call for call in supervisord.calls if call[0] == "signalProcess"]


@pytest.mark.parametrize(
    ("service", "image"),
    [("airflow-apiserver", "airflow"), ("mlflow-migrate", "mlflow"), ("status", "status")],
)
def test_run_finds_the_programs_of_the_service(
    standalone, recorded, state, clone, service, image, monkeypatch
):
    monkeypatch.setattr(runner, "attach", lambda command: recorded.attach(command) or 7)
    assert standalone.run(service, ["airflow", "dags list", "$x"]) == 7
    (command,) = recorded.commands
    assert command.argv == ["airflow", "dags list", "$x"]
    assert command.cwd == clone
    first, *others = command.env["PATH"].split(":")
    assert first == f"{state.folder}/envs/{image}/bin"
    rest = services_environment(standalone.settings)
    assert ":".join(others) == rest["PATH"]
    assert {**command.env, "PATH": rest["PATH"]} == rest


def test_run_finds_the_programs_of_the_database(standalone, recorded):
    assert standalone.run("postgres", ["psql"]) == 0
    assert recorded.commands[0].env == services_environment(standalone.settings)


# up


def test_up_runs_the_init_jobs_and_starts_every_service(standalone, machine, supervisord):
    standalone.up()
    first, *modules = machine.pop_names()
    assert first == "supervisord"
    assert sorted(modules) == INIT_MODULES
    assert supervisord.calls == STARTED_BY_UP


def test_up_starts_only_the_given_services(standalone, machine, supervisord):
    standalone.up(["postgres", "mlflow"])
    assert machine.pop_names() == ["supervisord"]
    assert supervisord.calls[-2:] == [
        ("startProcess", "postgres", False),
        ("startProcess", "mlflow", False),
    ]


def test_up_runs_supervisord_and_init_jobs_in_the_same_environment(standalone, machine, clone):
    standalone.up()
    environment = services_environment(standalone.settings)
    assert [command.env for command in machine.commands] == [environment] * 3
    daemon, *jobs = machine.commands
    configuration = str(clone / "orchestration" / "supervisord.conf")
    assert daemon.argv == ("supervisord", "--configuration", configuration)
    assert daemon.cwd == clone
    assert {command.argv for command in jobs} == {
        (
            str(standalone.state.python(image_of(name))),
            *runtime_module(init_jobs.MODULES[name])[1:],
        )
        for name in INIT_JOBS
    }


def test_up_makes_private_folders_except_the_one_of_sockets(standalone, machine, state):
    standalone.up()
    modes = {folder.name: folder.stat().st_mode & 0o777 for folder in state.data}
    assert modes == {name: 0o711 if name == "run" else 0o700 for name in modes}


def test_up_as_root_gives_postgres_its_folders(standalone, machine, state, monkeypatch):
    chowns = []
    monkeypatch.setattr(standalone_engine.os, "getuid", lambda: 0)
    monkeypatch.setattr(
        standalone_engine.shutil, "chown", lambda *arguments: chowns.append(arguments)
    )
    standalone.up()
    user = "mlops-postgres"
    assert chowns == [(state.folder / name, user, user) for name in ("postgres", "sockets")]


def test_up_again_only_starts_stopped_services(standalone, machine, supervisord):
    standalone.up()
    machine.pop_names()
    supervisord.calls.clear()
    standalone.up()
    assert machine.pop_names() == []
    assert {method for method, *_ in supervisord.calls} == {"startProcess"}


def test_up_after_a_changed_setting_restarts_everything(
    standalone, make_engine, machine, supervisord
):
    standalone.up()
    machine.pop_names()
    settings = dict(standalone.settings.values)
    other = make_engine(**settings | {"MLFLOW_PORT": "5999"})
    supervisord.calls.clear()
    other.up()
    assert supervisord.calls[0] == ("shutdown",)
    assert machine.pop_names()[0] == "supervisord"
    supervisord.calls.clear()
    other.up()
    assert machine.pop_names() == []


def test_up_from_another_shell_restarts_nothing(standalone, machine, supervisord):
    standalone.up()
    supervisord.calls.clear()
    shell_of_systemd = {"PATH": "/usr/bin:/bin", "TERM": "dumb"}
    StandaloneEngine(replace(standalone.settings, environment=shell_of_systemd)).up()
    assert ("shutdown",) not in supervisord.calls
    assert machine.pop_names().count("supervisord") == 1


def test_up_restarts_a_supervisord_of_unknown_environment(standalone, machine, supervisord, state):
    standalone.up()
    machine.pop_names()
    (state.run / "environment.sha256").unlink()
    standalone.up()
    assert ("shutdown",) in supervisord.calls
    assert "supervisord" in machine.pop_names()


def test_up_stops_orphans_first(standalone, machine, orphan):
    process = orphan("mlflow")
    standalone.up()
    assert process.poll() is not None


def test_up_stops_no_process_while_supervisord_answers(standalone, machine, orphan):
    standalone.up()
    child = orphan("mlflow")
    standalone.up()
    assert child.poll() is None


@pytest.mark.parametrize("lost", ["postgres/PG_VERSION", "run/initialised"])
def test_up_runs_init_jobs_again_for_new_data(standalone, machine, state, lost):
    standalone.up()
    machine.pop_names()
    (state.folder / lost).unlink()
    standalone.up()
    assert sorted(machine.pop_names()) == INIT_MODULES


@pytest.mark.parametrize("name", ["airflow", "mlflow"])
def test_up_runs_init_jobs_again_for_new_locks(standalone, machine, clone, name):
    standalone.build()
    standalone.activate()
    standalone.up()
    change_locks(standalone, clone, name)
    machine.pop_names()
    standalone.up()
    # supervisord and the other services keep running from their own folders.
    assert sorted(machine.pop_names()) == INIT_MODULES


def test_up_after_killed_supervisord_runs_init_jobs_again(standalone, machine, supervisord):
    standalone.up()
    machine.pop_names()
    # As after a power failure: they wait until the database has recovered.
    supervisord.stop()
    standalone.up()
    assert sorted(machine.pop_names()) == [*INIT_MODULES, "supervisord"]


def test_up_does_not_restart_the_database_it_has_started(standalone, machine, supervisord):
    standalone.build()
    standalone.activate()
    standalone.up()
    assert ("stopProcess", "postgres") not in supervisord.calls


@pytest.mark.parametrize("name", ["airflow", "mlflow", "status", "postgres"])
def test_up_restarts_only_services_of_a_changed_environment(
    standalone, machine, supervisord, clone, name
):
    standalone.build()
    standalone.activate()
    standalone.up()
    change_locks(standalone, clone, name)
    supervisord.calls.clear()
    standalone.up()
    stopped = [service for method, service, *_ in supervisord.calls if method == "stopProcess"]
    assert stopped == [s for s in SERVICES if s.partition("-")[0] == name]
    supervisord.calls.clear()
    standalone.up()
    assert supervisord.calls == STARTED_BY_UP


@pytest.mark.parametrize("name", INIT_JOBS)
def test_up_reports_a_failed_init_job_and_runs_it_again(standalone, machine, supervisord, name):
    machine.failures = {
        f"stack_runtime.{init_jobs.MODULES[name]}": "exited with code 1:\nno such column"
    }
    with pytest.raises(StackError) as raised:
        standalone.up()
    assert str(raised.value) == f"The init job {name} failed.\nexited with code 1:\nno such column"
    assert supervisord.calls == STARTED_FIRST
    machine.failures = {}
    machine.pop_names()
    standalone.up()
    assert sorted(machine.pop_names()) == INIT_MODULES


def test_up_writes_the_output_of_init_jobs_to_their_logs(standalone, machine):
    standalone.up()
    output = [standalone.tail(name, 5) for name in INIT_JOBS]
    assert output == [f"output of {module}" for module in INIT_MODULES]


def test_up_limits_the_time_of_init_jobs(standalone, machine, monkeypatch):
    limits = []
    monkeypatch.setattr(
        runner, "run", lambda command, **options: limits.append(options) or machine.run(command)
    )
    standalone.up()
    assert limits[1:] == [{"timeout": 180 + RECOVERY_SECONDS}] * 2


def test_up_reports_a_supervisord_that_does_not_answer(
    standalone, machine, state, clock, monkeypatch
):
    monkeypatch.setattr(wait, "time", clock)
    machine.silent = True
    with pytest.raises(StackError) as raised:
        standalone.up()
    assert str(raised.value) == (
        f"supervisord did not start.\nSee {state.logs / 'supervisord.log'}."
    )
    assert (
        supervisord_module.START_SECONDS <= sum(clock.slept) < supervisord_module.START_SECONDS + 1
    )


def test_up_ignores_a_service_that_already_runs(standalone, machine, supervisord):
    supervisord.faults["startProcess postgres False"] = Fault(60, "ALREADY_STARTED: postgres")
    standalone.up()
    assert supervisord.calls == STARTED_BY_UP


def test_up_reports_a_service_that_cannot_be_started(standalone, machine, supervisord):
    supervisord.faults["startProcess mlflow False"] = Fault(20, "NO_FILE: python")
    with pytest.raises(StackError) as raised:
        standalone.up()
    assert str(raised.value) == (
        "supervisord could not start mlflow: NO_FILE: python.\nRun: inv doctor"
    )


# down


@pytest.fixture
def file_names(state):
    """Put a file into each folder of the state; return a function that lists the state folder."""
    for name in ("envs/airflow/bin", "pg/init", *(folder.name for folder in state.data)):
        (state.folder / name).mkdir(parents=True)
        (state.folder / name / "file").touch()
    (state.folder / "airflow.made-from").touch()
    return lambda: {path.name for path in state.folder.iterdir()}


def test_down_keeps_all_files(standalone, file_names):
    before = file_names()
    standalone.down(volumes=False)
    assert file_names() == before


def test_down_with_volumes_deletes_only_the_data(standalone, file_names, state):
    standalone.down(volumes=True)
    assert file_names() == {"envs", "pg", "airflow.made-from"}
    assert (state.folder / "envs/airflow/bin/file").exists()


def test_down_without_a_stack_is_no_error(standalone):
    standalone.down(volumes=True)


def test_down_waits_until_supervisord_exits(standalone, supervisord):
    with subprocess.Popen(["sleep", "60"]) as daemon:
        supervisord.pid = daemon.pid

        def exit_later():
            daemon.kill()
            daemon.wait()

        supervisord.on_shutdown = threading.Timer(0.3, exit_later).start
        supervisord.start()
        standalone.down(volumes=False)
        assert supervisord.calls == [("shutdown",)]
        assert not psutil.pid_exists(daemon.pid)


def test_down_stops_waiting_after_a_limit(standalone, supervisord, clock, monkeypatch):
    monkeypatch.setattr(wait, "time", clock)
    supervisord.pid = os.getpid()
    monkeypatch.setattr(orphans, "process_tree", lambda pid: iter([psutil.Process(pid)]))
    supervisord.start()
    standalone.down(volumes=False)
    assert supervisord_module.STOP_SECONDS <= sum(clock.slept) < supervisord_module.STOP_SECONDS + 1


def test_down_stops_orphans(standalone, orphan):
    process = orphan("postgres")
    standalone.down(volumes=False)
    assert process.poll() is not None


# ps, memory, logs


@pytest.mark.parametrize(
    ("supervisord_state", "expected"),
    [
        ("STOPPED", "created"),
        ("STARTING", "starting"),
        ("RUNNING", "running"),
        ("BACKOFF", "restarting"),
        ("STOPPING", "stopping"),
        ("EXITED", "exited"),
        ("FATAL", "exited"),
        ("UNKNOWN", "exited"),
    ],
)
def test_ps_uses_the_state_names_of_docker(standalone, supervisord, supervisord_state, expected):
    supervisord.set_states(mlflow=supervisord_state).start()
    states = {service.name: service.state for service in standalone.ps()}
    assert states == dict.fromkeys(SERVICES, "running") | {"mlflow": expected}


def test_ps_lists_services_in_order_without_the_watchdog(standalone, supervisord):
    supervisord.set_states().processes.insert(0, process("watchdog"))
    supervisord.start()
    assert [service.name for service in standalone.ps()] == list(SERVICES)


def test_ps_reports_start_times_and_exit_codes(standalone, supervisord):
    supervisord.set_states().processes[0] = process("postgres", "EXITED", status=3)
    supervisord.processes[1] = process("airflow-apiserver", "STOPPED", start=0)
    supervisord.start()
    postgres, never, *_ = standalone.ps()
    assert (postgres.since, postgres.exit_code) == (datetime.fromtimestamp(STARTED, UTC), 3)
    assert never.since is None


def test_ps_without_supervisord_reports_absent_or_orphaned(standalone, orphan):
    assert [service.state for service in standalone.ps()] == ["absent"] * len(SERVICES)
    orphan("mlflow")
    orphan("status")
    states = {service.name: service.state for service in standalone.ps()}
    assert states == dict.fromkeys(SERVICES, "absent") | {
        "mlflow": "orphaned",
        "status": "orphaned",
    }


def test_ps_counts_restarts_since_supervisord_started(standalone, supervisord, state):
    state.logs.mkdir()
    day = "2026-11-22 10:00:00,000 INFO"
    (state.logs / "supervisord.log").write_text(
        f"{day} supervisord started with pid 7\n"
        + f"{day} exited: mlflow (exit status 1; not expected)\n" * 5
        + f"{day} supervisord started with pid 17\n"
        + f"{day} spawned: 'postgres' with pid 18\n"
        + f"{day} exited: airflow-dag-processor (terminated by SIGKILL; not expected)\n"
        + f"{day} exited: airflow-dag-processor (exit status 1; not expected)\n"
        + f"{day} exited: airflow-scheduler (exit status 0; expected)\n"
        + f"{day} exited: airflow-triggerer (exit status 0; expected)\n"
        + f"{day} stopped: status (terminated by SIGTERM)\n"
        + f"{day} spawned: 'mlflow' with pid 20\n",
        encoding="utf-8",
    )
    supervisord.set_states().start()
    restarts = {service.name: service.restarts for service in standalone.ps()}
    assert restarts == dict.fromkeys(SERVICES, 0) | {
        "airflow-dag-processor": 2,
        "airflow-triggerer": 1,
    }


def test_ps_without_a_log_reports_no_restarts(standalone, supervisord):
    supervisord.set_states().start()
    assert {service.restarts for service in standalone.ps()} == {0}


def test_memory_is_reported_for_running_processes(standalone, supervisord, monkeypatch):
    supervisord.set_states().processes[0] = process("postgres", pid=os.getpid())
    supervisord.start()
    monkeypatch.setattr(orphans, "memory", lambda pid: pid * 10)
    assert standalone.memory() == {"postgres": os.getpid() * 10}


def test_memory_without_supervisord_is_empty(standalone):
    assert standalone.memory() == {}


def test_services_include_init_jobs(standalone):
    assert list(standalone.services()) == [*SERVICES, "airflow-init", "mlflow-migrate"]


def test_logs_are_those_of_the_given_services_or_all(standalone, state, monkeypatch):
    requests = []
    monkeypatch.setattr(
        standalone_engine.log_files,
        "show",
        lambda files, **options: requests.append((files, options)) or 7,
    )
    options = {"tail": 5, "since": "10m", "follow": True}
    assert standalone.logs(["mlflow"], **options) == 7
    assert standalone.logs([], **options) == 7
    one, every = requests
    assert one == ({"mlflow": state.logs / "mlflow.log"}, options)
    assert list(every[0]) == list(standalone.services())


def test_tail_returns_the_end_of_a_log(standalone, state):
    state.logs.mkdir()
    (state.logs / "mlflow.log").write_text("a\nb\nc\n", encoding="utf-8")
    assert standalone.tail("mlflow", 2) == "b\nc"
    assert standalone.tail("status", 2) == ""


# Answers of supervisord


def test_ps_and_memory_ignore_a_supervisord_that_shuts_down(standalone, supervisord):
    supervisord.set_states().start()
    supervisord.faults["*"] = SHUTTING_DOWN
    assert {service.state for service in standalone.ps()} == {"absent"}
    assert standalone.memory() == {}
    standalone.down(volumes=False)


def test_up_replaces_a_supervisord_that_shuts_down(standalone, machine, supervisord):
    supervisord.start()
    supervisord.faults["*"] = SHUTTING_DOWN
    standalone.up()
    assert machine.pop_names()[0] == "supervisord"


def test_ps_ignores_a_socket_without_a_listener(standalone, supervisord, state):
    supervisord.start()
    supervisord.server.shutdown()
    supervisord.server.server_close()
    supervisord.server = None
    assert (state.run / "supervisor.sock").exists()
    assert {service.state for service in standalone.ps()} == {"absent"}


def test_ps_raises_unexpected_faults(standalone, supervisord):
    supervisord.start()
    supervisord.faults["getAllProcessInfo"] = Fault(1, "UNKNOWN_METHOD")
    with pytest.raises(Fault, match="UNKNOWN_METHOD"):
        standalone.ps()


# The real supervisord, with services that only sleep

CONFIGURATION = """
[unix_http_server]
file = %(ENV_STACK_STATE)s/run/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
pidfile = %(ENV_STACK_STATE)s/run/supervisord.pid
logfile = %(ENV_STACK_STATE)s/logs/supervisord.log
"""
PROGRAM = """
[program:{name}]
command = {command}
autostart = {first}
autorestart = true
startsecs = 0
stdout_logfile = NONE
stderr_logfile = NONE
"""


# After TERM this scheduler exits once its task has finished, which a file shows.
SCHEDULER_SCRIPT = """
trap 'echo term > {folder}/term
while [ ! -e {folder}/finished ]; do sleep 0.05; done; exit 0' TERM
echo ready > {folder}/ready
while :; do sleep 0.05; done
"""


def activate(state, name, version):
    """Activate an environment with the interpreter of these tests."""
    folder = state.folder / "envs" / f"{name}-{version}"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    link = state.folder / ("pg" if name == "postgres" else f"envs/{name}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


@pytest.fixture
def real_engine(make_engine, clone, state, monkeypatch):
    """Return an engine whose services sleep and whose init jobs print their name."""
    # Exited processes may stay zombies here, so the engine must not wait for them for long.
    monkeypatch.setattr(supervisord_module, "STOP_SECONDS", 2)
    monkeypatch.setattr(orphans.stop, "__defaults__", (1.0,))
    for name, module in init_jobs.MODULES.items():
        path = f"orchestration/config/stack_runtime/{module.replace('.', '/')}.py"
        (clone / path).parent.mkdir(parents=True)
        (clone / path).write_text(f"print('{name} ran')", encoding="utf-8")
    for name in virtualenvs.NAMES:
        activate(state, name, "v1")
    commands = {SCHEDULER: f"bash {clone}/scheduler"}
    (clone / "scheduler").write_text(SCHEDULER_SCRIPT.format(folder=clone), encoding="utf-8")
    programs = [
        PROGRAM.format(name=name, first=name == "postgres", command=commands.get(name, "sleep 60"))
        for name in (*SERVICES, "watchdog")
    ]
    (clone / "orchestration" / "supervisord.conf").write_text("".join([CONFIGURATION, *programs]))
    bin_folder = Path(sys.executable).parent
    engine = make_engine(PATH=f"{bin_folder}:{os.environ['PATH']}")
    yield engine
    pid = state.run / "supervisord.pid"
    with suppress(psutil.NoSuchProcess):
        if pid.exists():
            psutil.Process(int(pid.read_text())).kill()
    for process in orphans.find(state.supervisor):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def wait_for(condition, seconds=20):
    """Wait until a condition returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert result
    return result


def wait_for_pids(engine):
    """Return the process ids of the services and the watchdog by name, once all have started."""

    def pids():
        processes = engine.supervisord.processes()
        return {name: info["pid"] for name, info in processes.items() if info["pid"]}

    wait_for(lambda: pids().keys() == {*SERVICES, "watchdog"})
    return pids()


def test_real_supervisord_starts_restarts_and_stops_services(real_engine, state):
    real_engine.up()
    pids = wait_for_pids(real_engine)
    assert {service.state for service in real_engine.ps()} <= {"starting", "running"}
    assert {service.restarts for service in real_engine.ps()} == {0}
    assert real_engine.memory().keys() == {*SERVICES, "watchdog"}
    assert all(real_engine.memory().values())
    assert real_engine.tail("mlflow-migrate", 1) == "mlflow-migrate ran"

    os.kill(pids["mlflow"], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        restarts = {service.name: service.restarts for service in real_engine.ps()}
        if restarts["mlflow"]:
            break
        time.sleep(0.05)
    assert restarts == dict.fromkeys(SERVICES, 0) | {"mlflow": 1}

    real_engine.down(volumes=False)
    assert orphans.find(state.supervisor) == {}
    assert {service.state for service in real_engine.ps()} == {"absent"}


def test_up_after_a_killed_supervisord_leaves_no_duplicates(real_engine, state):
    real_engine.up()
    before = wait_for_pids(real_engine)
    psutil.Process(int((state.run / "supervisord.pid").read_text())).kill()
    deadline = time.monotonic() + 5
    while real_engine.supervisord.answers() and time.monotonic() < deadline:
        time.sleep(0.02)
    # A process that was just forked does not have the address in its environment yet.
    wait_for(lambda: {service.state for service in real_engine.ps()} == {"orphaned"})
    real_engine.up()
    after = {pid for name, pid in wait_for_pids(real_engine).items() if name != SCHEDULER}
    deadline = time.monotonic() + 5
    while after - (running := running_pids(state)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running == after
    assert not running & set(before.values())


def running_pids(state):
    processes = orphans.find(state.supervisor)
    return {process.pid for process, name in processes.items() if name != SCHEDULER}


def test_real_supervisord_does_not_count_requested_restarts(real_engine):
    real_engine.up()
    before = wait_for_pids(real_engine)
    real_engine.restart(["mlflow", "status"])
    after = wait_for_pids(real_engine)
    assert {name for name in after if after[name] != before[name]} == {"mlflow", "status"}
    assert {service.restarts for service in real_engine.ps()} == {0}


def test_real_supervisord_restarts_services_of_a_changed_environment(real_engine, state):
    real_engine.up()
    before = wait_for_pids(real_engine)
    activate(state, "mlflow", "v2")
    real_engine.up()
    after = wait_for_pids(real_engine)
    assert {name for name in after if after[name] != before[name]} == {"mlflow"}
    record = json.loads((state.run / "started-from.json").read_text())
    assert record["mlflow"] == "mlflow-v2"
    assert record["status"] == "status-v1"


@pytest.fixture
def replacement(real_engine, clone):
    """Start to replace a scheduler with a running task; return the thread and its errors."""
    real_engine.up()
    before = wait_for_pids(real_engine)
    wait_for((clone / "ready").exists)
    errors = []

    def replace():
        try:
            real_engine.replace(SCHEDULER)
        except StackError as error:
            errors.append(error)

    thread = threading.Thread(target=replace)
    thread.start()
    wait_for((clone / "term").exists)
    yield SimpleNamespace(thread=thread, before=before, errors=errors)
    (clone / "finished").touch()
    thread.join(10)


def test_real_scheduler_is_replaced_after_its_task(real_engine, replacement, state, clone):
    activate(state, "airflow", "v2")
    time.sleep(0.5)
    processes = real_engine.supervisord.processes()
    assert processes[SCHEDULER]["pid"] == replacement.before[SCHEDULER]
    assert processes["watchdog"]["pid"] == 0
    assert replacement.thread.is_alive()
    record = json.loads((state.run / "started-from.json").read_text())
    assert record[SCHEDULER] == "airflow-v1"

    (clone / "finished").touch()
    replacement.thread.join(10)
    after = wait_for_pids(real_engine)
    assert replacement.errors == []
    assert {n for n in after if after[n] != replacement.before[n]} == {SCHEDULER, "watchdog"}
    assert {service.restarts for service in real_engine.ps()} == {0}
    record = json.loads((state.run / "started-from.json").read_text())
    assert record[SCHEDULER] == "airflow-v2"
    assert record["airflow-apiserver"] == "airflow-v1"


@pytest.fixture
def short_grace(monkeypatch):
    """Give tasks less than a second to finish."""
    monkeypatch.setattr(standalone_engine, "TASK_SECONDS", 0.4)


def test_real_watchdog_is_restarted_also_after_a_timeout(
    short_grace, real_engine, replacement, state
):
    replacement.thread.join(10)
    (error,) = replacement.errors
    assert "airflow-scheduler did not exit" in str(error)
    after = wait_for_pids(real_engine)
    assert {n for n in after if after[n] != replacement.before[n]} == {"watchdog"}
    record = json.loads((state.run / "started-from.json").read_text())
    assert record[SCHEDULER] == "airflow-v1"
