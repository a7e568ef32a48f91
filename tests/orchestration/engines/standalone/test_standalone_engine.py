"""The standalone engine against a supervisord of a few lines, and once against the real one."""

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
from orchestration.engines.base import ONE_SHOTS, image_of, runtime_module
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
STARTED_BY_UP = [("startProcess", name, False) for name in (*SERVICES, "watchdog")]
INIT_JOBS = [f"stack_runtime.{name}" for name in init_jobs.MODULES.values()]
STARTED = 1_790_000_000
LOAD = functools.cache(yaml.safe_load)


class Requests(SimpleXMLRPCRequestHandler):
    """XML-RPC over a socket in the file system."""

    rpc_paths = ()
    disable_nagle_algorithm = False


class Server(socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    """Hands each question to one supervisord."""

    logRequests = False
    _send_traceback_header = False

    def __init__(self, path, supervisord):
        SimpleXMLRPCDispatcher.__init__(self)
        socketserver.UnixStreamServer.__init__(self, path, Requests)
        self.register_instance(supervisord)


class Supervisord:
    """Answers where supervisord would; each fault is an attribute."""

    def __init__(self, address):
        self.path = Path(address.removeprefix("unix://"))
        self.asked, self.faults, self.processes, self.server = [], {}, [], None
        # One that is gone already: nobody waits for its end.
        with subprocess.Popen(["true"]) as ended:
            self.pid = ended.pid
        self.ending = lambda: None

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
            self.asked.append((method, *arguments))
        for question in ("*", method, " ".join(map(str, (method, *arguments)))):
            if question in self.faults:
                raise self.faults[question]
        if method == "shutdown":
            self.faults["*"] = SHUTTING_DOWN
            self.ending()
            return True
        return {"getPID": self.pid, "getAllProcessInfo": self.processes}.get(method, True)

    def shows(self, **states):
        """It tells of these services; of the others that they run."""
        self.processes = [
            process(name, states.get(name.replace("-", "_"), "RUNNING")) for name in SERVICES
        ]
        return self


def process(name, state="RUNNING", *, pid=0, start=STARTED, status=0):
    """What supervisord tells of a program, cut to what is read."""
    return {
        "name": name, "statename": state, "pid": pid, "start": start, "exitstatus": status,
    }  # fmt: skip


class Machine:
    """What would be run: supervisord is a stand-in, one-shots print a line or fail."""

    def __init__(self, state, supervisord):
        self.state, self.supervisord = state, supervisord
        self.commands, self.failing, self.deaf = [], {}, False

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
            if not self.deaf:
                self.supervisord.start()
            data = self.state.folder / "postgres" / "PG_VERSION"
            data.write_text("16\n", encoding="utf-8")
        if name in self.failing:
            raise StackError(self.failing[name])
        return runner.Completed(0, f"{name} says so\n")

    def name(self, command):
        return command.argv[-1] if "-m" in command.argv else Path(command.argv[0]).stem

    def ran(self):
        """The names of what was run since this was asked last."""
        names = [self.name(command) for command in self.commands]
        self.commands.clear()
        return names


@pytest.fixture
def state(tmp_path_factory, monkeypatch):
    """The state folder of every engine, in a path that is short enough for sockets."""
    folder = State(tmp_path_factory.mktemp("s"))
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: folder))
    return folder


@pytest.fixture
def make_engine(clone, state, make_settings, monkeypatch):
    """Engines of a clone with the real files and short locks, for a normal user."""
    person = os.getuid()
    monkeypatch.setattr(standalone_engine.os, "getuid", lambda: person or 1234)
    monkeypatch.setattr(standalone_environment, "postgres_user", lambda: "person")
    # The compose file is read once for all tests.
    monkeypatch.setattr(compose_file, "yaml", SimpleNamespace(safe_load=LOAD))
    for name in ("docker-compose.yaml", "supervisord.conf"):
        shutil.copy(ROOT / "orchestration" / name, clone / "orchestration")
    locks = [lock for names in virtualenvs.LOCKS.values() for lock in names]
    sources = [f"install/{lock}" for lock in (*locks, "base/postgres.lock")]
    for source in (*sources, *virtualenvs.POSTGRES_FILES.values()):
        (clone / source).parent.mkdir(parents=True, exist_ok=True)
        (clone / source).write_text("of today\n", encoding="utf-8")
    return lambda **values: StandaloneEngine(make_settings(**values))


@pytest.fixture
def alone(make_engine):
    """An engine with nothing set by hand."""
    return make_engine()


@pytest.fixture
def supervisord(state):
    """Not started yet."""
    stand_in = Supervisord(state.supervisor)
    yield stand_in
    stand_in.stop()


@pytest.fixture
def machine(state, supervisord, monkeypatch):
    """Nothing is run but the stand-ins."""
    paper = Machine(state, supervisord)
    monkeypatch.setattr(runner, "run", paper.run)
    return paper


@pytest.fixture
def orphan(state):
    """Leave a process behind as a killed supervisord would."""
    left = []

    def leave(name):
        marks = {"SUPERVISOR_SERVER_URL": state.supervisor, "SUPERVISOR_PROCESS_NAME": name}
        left.append(subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]} | marks))
        return left[-1]

    yield leave
    for child in left:
        child.kill()
        child.wait()


# Whether it can work here


@pytest.fixture
def linux(monkeypatch):
    """A machine that has all it takes."""
    monkeypatch.setattr(standalone_engine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(standalone_engine, "python_problem", lambda settings: [])


def test_on_linux_with_a_python_there_is_no_problem(alone, linux):
    assert alone.problems() == []


def test_another_system_is_a_problem(alone, linux, monkeypatch):
    monkeypatch.setattr(standalone_engine.platform, "system", lambda: "Darwin")
    [problem] = alone.problems()
    assert (problem.code, problem.fix) == ("engine-unfit", "Use Docker.")
    assert "Darwin" in problem.cause


@pytest.mark.parametrize(("excess", "told"), [(0, []), (1, [1]), (30, [30])])
def test_a_path_too_long_for_sockets_is_told_by_how_much(alone, linux, excess, told):
    # 107 bytes, and supervisord binds its socket beside its place first, with its pid behind it.
    fits = 107 - len("/run/supervisor.sock.12345678")
    alone.state = State(Path("/" + "f" * (fits - 1 + excess)))
    assert [one.cause for one in alone.problems()] == [
        f"{alone.state.folder} is {n} bytes too long for sockets." for n in told
    ]


def test_a_missing_python_is_told_unless_the_environment_is_there(alone, linux, monkeypatch, state):
    monkeypatch.setattr(standalone_engine, "python_problem", lambda settings: [MISSING])
    assert alone.problems() == [MISSING]
    state.python("airflow").parent.mkdir(parents=True)
    state.python("airflow").touch()
    assert alone.problems() == []


def test_problems_are_told_together(alone, linux, monkeypatch):
    monkeypatch.setattr(standalone_engine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(standalone_engine, "python_problem", lambda settings: [MISSING])
    alone.state = State(Path("/" + "f" * 200))
    assert len(alone.problems()) == 3


def test_data_survives_where_a_database_was_completed(alone, state):
    assert alone.surviving_data() == []
    (state.folder / "postgres").mkdir()
    assert alone.surviving_data() == []
    (state.folder / "postgres" / "PG_VERSION").write_text("16\n")
    assert alone.surviving_data() == [str(state.folder / "postgres")]


def test_it_is_built_when_its_environments_are(alone, machine):
    assert not alone.is_built()
    alone.build()
    assert not alone.is_built()
    alone.activate()
    assert alone.is_built()


def test_postgres_belongs_to_whatever_is_built(alone, machine):
    alone.build(["mlflow"])
    alone.activate(["mlflow"])
    environments = alone.environments
    in_use = {name for name in ("airflow", "mlflow", "status", "postgres") if (
        environments.in_use(name))}  # fmt: skip
    assert in_use == {"mlflow", "postgres"}


# What was built: looked at, adopted, tidied


def test_dags_are_imported_in_what_was_built_last(alone, recorded, clone):
    recorded.failures = {"airflow.parse_dags": "\n".join(f"dags/{n}.py: error" for n in range(20))}
    alone.environments.candidate("airflow").mkdir(parents=True)
    assert alone.import_errors().splitlines()[-1] == "dags/19.py: error"
    assert len(alone.import_errors().splitlines()) == runner.TAIL_LINES
    command = recorded.commands[-1]
    assert command.argv == (
        f"{alone.environments.candidate('airflow')}/bin/python",
        *runtime_module("airflow.parse_dags")[1:],
        f"{alone.settings.project_dir}/dags",
    )
    assert command.env == services_environment(alone.settings)


def test_dags_that_import_are_no_error_whatever_they_print(alone, recorded):
    recorded.outputs = {"airflow.parse_dags": "3 DAGs parsed"}
    assert alone.import_errors() == ""


def changed(alone, clone, *names):
    """Adopt other environments than those in use; the folders of before."""
    before = {name: alone.environments.in_use(name) for name in names}
    for name in names:
        lock = virtualenvs.LOCKS[name][0] if name != "postgres" else "base/postgres.lock"
        (clone / "install" / lock).write_text("of tomorrow\n", encoding="utf-8")
    alone.build()
    alone.activate()
    return before


def test_what_a_service_was_started_from_is_kept_until_it_is_swapped(
    alone, machine, supervisord, state, clone
):
    alone.build()
    alone.activate()
    alone.up()
    (old,) = changed(alone, clone, "mlflow").values()
    alone.prune()
    assert (state.folder / "envs" / old).exists()
    alone.replace("mlflow")
    alone.prune()
    assert not (state.folder / "envs" / old).exists()
    assert alone.is_built()


def test_before_the_first_start_only_what_is_in_use_is_kept(alone, machine, state, clone):
    alone.build()
    alone.activate()
    (old,) = changed(alone, clone, "mlflow").values()
    alone.prune()
    assert not (state.folder / "envs" / old).exists()


# swap, restart, run


def test_a_service_is_stopped_and_started(alone, supervisord, state):
    state.run.mkdir()
    supervisord.start()
    alone.replace("mlflow")
    assert supervisord.asked == [("stopProcess", "mlflow"), ("startProcess", "mlflow", False)]
    supervisord.asked.clear()
    alone.restart(["status", "mlflow"])
    assert supervisord.asked == [
        ("stopProcess", "status"),
        ("startProcess", "status", False),
        ("stopProcess", "mlflow"),
        ("startProcess", "mlflow", False),
    ]


def test_services_are_stopped_and_first_what_would_take_it_for_a_fault(alone, supervisord):
    supervisord.start()
    alone.stop(["airflow-scheduler", "mlflow", "mlflow-migrate"])
    stopped = [("stopProcess", n) for n in ("watchdog", "airflow-scheduler", "mlflow")]
    assert supervisord.asked == stopped


def test_another_project_runs_from_the_same_environments(alone, state, make_settings, monkeypatch):
    (state.folder / "envs").mkdir()
    (state.folder / "envs/mark").touch()
    monkeypatch.setattr(State, "of", classmethod(lambda cls, chosen: State(state.folder / "other")))
    other = make_settings(COMPOSE_PROJECT_NAME="other")
    for _ in range(2):
        lent = alone.create_sandbox(other)
    assert lent.settings is other
    assert (state.folder / "other/envs/mark").exists()
    alone.remove_sandbox(other)
    assert not (state.folder / "other").exists()
    assert (state.folder / "envs/mark").exists()


def test_one_that_does_not_run_is_just_started(alone, supervisord):
    supervisord.start()
    supervisord.faults["stopProcess mlflow"] = Fault(70, "NOT_RUNNING: mlflow")
    alone.restart(["mlflow"])
    assert supervisord.asked[-1] == ("startProcess", "mlflow", False)


def test_one_that_cannot_be_stopped_is_named(alone, supervisord):
    supervisord.start()
    supervisord.faults["stopProcess mlflow"] = Fault(10, "BAD_NAME: mlflow")
    with pytest.raises(StackError) as failed:
        alone.restart(["mlflow"])
    assert str(failed.value) == "mlflow does not stop: BAD_NAME: mlflow"


@pytest.mark.parametrize("name", ONE_SHOTS)
def test_a_one_shot_is_run_to_its_end(alone, machine, supervisord, state, name):
    state.logs.mkdir()
    supervisord.start()
    alone.replace(name)
    (ran,) = machine.ran()
    assert ran == f"stack_runtime.{init_jobs.MODULES[name]}"
    assert supervisord.asked == []
    machine.failing = {ran: "ended with 1:\nno such column"}
    with pytest.raises(StackError, match=f"{name} failed: ended with 1:\nno such column"):
        alone.replace(name)


@pytest.fixture
def renewed_when_told(supervisord):
    """A scheduler that ends its tasks when it is told to, and comes back as another process."""
    supervisord.shows().processes[2] = process(SCHEDULER, pid=7)
    supervisord.start()

    def answered(method, arguments, dispatch=supervisord._dispatch):
        if method.endswith("signalProcess"):
            supervisord.processes[2] = process(SCHEDULER, pid=8)
        return dispatch(method, arguments)

    supervisord._dispatch = answered


@pytest.mark.usefixtures("renewed_when_told")
def test_the_scheduler_ends_its_tasks_while_the_watchdog_rests(alone, supervisord):
    alone.replace(SCHEDULER)
    looked = ("getAllProcessInfo",)
    assert [asked for asked in supervisord.asked if asked != looked] == [
        ("stopProcess", "watchdog"),
        ("signalProcess", SCHEDULER, "TERM"),
        ("startProcess", "watchdog", False),
    ]


@pytest.mark.usefixtures("renewed_when_told")
def test_tasks_are_finished_by_a_scheduler_that_then_stays_stopped(alone, supervisord):
    alone.finish_tasks()
    assert [asked for asked in supervisord.asked if asked != ("getAllProcessInfo",)] == [
        ("stopProcess", "watchdog"),
        ("signalProcess", SCHEDULER, "TERM"),
        ("stopProcess", SCHEDULER),
    ]


def test_a_scheduler_that_does_not_end_is_told_and_the_watchdog_runs_again(
    alone, supervisord, clock, monkeypatch
):
    monkeypatch.setattr(wait, "time", clock)
    supervisord.shows().processes[2] = process(SCHEDULER, pid=7)
    supervisord.start()
    monkeypatch.setattr(standalone_engine, "TASK_SECONDS", 5)
    with pytest.raises(StackError) as failed:
        alone.replace(SCHEDULER)
    assert str(failed.value) == (
        "airflow-scheduler has not ended after 5 s: inv restart -s airflow-scheduler"
    )
    assert 5 <= sum(clock.slept) < 6
    assert supervisord.asked[-1] == ("startProcess", "watchdog", False)


def test_what_a_service_was_started_with_is_that_of_its_process(alone, supervisord, orphan):
    supervisord.shows().processes[2] = process(SCHEDULER, pid=orphan("airflow-scheduler").pid)
    supervisord.start()
    assert alone.environment(SCHEDULER)["SUPERVISOR_PROCESS_NAME"] == "airflow-scheduler"
    assert alone.environment("mlflow") == {}
    assert alone.environment("no-such") == {}


def test_postgres_writes_over_what_it_was_started_with(alone, supervisord, orphan):
    supervisord.shows().processes[0] = process("postgres", pid=orphan("postgres").pid)
    supervisord.start()
    assert alone.environment("postgres") == {}


def test_what_is_intended_is_the_environment_of_up_without_the_persons_own(alone):
    given, whole = alone.intended("mlflow"), services_environment(alone.settings)
    assert given.items() <= whole.items()
    assert whole.keys() - given.keys() == {*alone.settings.environment, "PATH", "STACK_PYTHON"}
    assert given["AIRFLOW__API__PORT"] == alone.settings["AIRFLOW_PORT"]


def test_the_end_of_a_log_may_be_asked_for_from_a_moment_on(alone, state):
    state.logs.mkdir()
    lines = [f"2026-01-02 03:0{minute}:00 line {minute}" for minute in range(5)]
    (state.logs / "mlflow.log").write_text("\n".join(lines) + "\n")
    assert alone.tail("mlflow", 2) == "\n".join(lines[-2:])
    since = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert alone.tail("mlflow", 2, since) == lines[-1]


def test_a_scheduler_that_does_not_run_is_started(alone, supervisord, state):
    supervisord.shows().processes[2] = process(SCHEDULER, "FATAL")
    supervisord.start()
    alone.replace(SCHEDULER)
    assert ("startProcess", SCHEDULER, False) in supervisord.asked
    assert not [asked for asked in supervisord.asked if asked[0] == "signalProcess"]


@pytest.mark.parametrize(
    ("service", "image"),
    [("airflow-apiserver", "airflow"), ("mlflow-migrate", "mlflow"), ("status", "status")],
)
def test_a_command_finds_the_programs_of_the_services_environment(
    alone, recorded, state, clone, service, image, monkeypatch
):
    monkeypatch.setattr(runner, "attach", lambda command: recorded.attach(command) or 7)
    assert alone.run(service, ["airflow", "dags list", "$x"]) == 7
    (command,) = recorded.commands
    assert command.argv == ["airflow", "dags list", "$x"]
    assert command.cwd == clone
    first, *others = command.env["PATH"].split(":")
    assert first == f"{state.folder}/envs/{image}/bin"
    rest = services_environment(alone.settings)
    assert ":".join(others) == rest["PATH"]
    assert {**command.env, "PATH": rest["PATH"]} == rest


def test_a_command_for_the_database_finds_its_programs(alone, recorded):
    assert alone.run("postgres", ["psql"]) == 0
    assert recorded.commands[0].env == services_environment(alone.settings)


# up


def test_up_starts_the_database_then_the_one_shots_then_every_service(alone, machine, supervisord):
    alone.up()
    first, *one_shots = machine.ran()
    assert first == "supervisord"
    assert sorted(one_shots) == INIT_JOBS
    assert supervisord.asked == STARTED_BY_UP


def test_up_starts_only_what_is_asked_for(alone, machine, supervisord):
    alone.up(["postgres", "mlflow"])
    assert machine.ran() == ["supervisord"]
    assert supervisord.asked[-2:] == [
        ("startProcess", "postgres", False),
        ("startProcess", "mlflow", False),
    ]


def test_supervisord_and_the_one_shots_live_in_the_services_environment(alone, machine, clone):
    alone.up()
    environment = services_environment(alone.settings)
    assert [command.env for command in machine.commands] == [environment] * 3
    daemon, *one_shots = machine.commands
    configuration = str(clone / "orchestration" / "supervisord.conf")
    assert daemon.argv == ("supervisord", "--configuration", configuration)
    assert daemon.cwd == clone
    assert {command.argv for command in one_shots} == {
        (
            str(alone.state.python(image_of(name))),
            *runtime_module(init_jobs.MODULES[name])[1:],
        )
        for name in ONE_SHOTS
    }


def test_folders_are_the_persons_own_but_sockets_can_be_reached(alone, machine, state):
    alone.up()
    modes = {folder.name: folder.stat().st_mode & 0o777 for folder in state.data}
    assert modes == {name: 0o711 if name == "run" else 0o700 for name in modes}


def test_for_root_postgres_owns_its_folders(alone, machine, state, monkeypatch):
    owned = []
    monkeypatch.setattr(standalone_engine.os, "getuid", lambda: 0)
    monkeypatch.setattr(
        standalone_engine.shutil, "chown", lambda *arguments: owned.append(arguments)
    )
    alone.up()
    user = "mlops-postgres"
    assert owned == [(state.folder / name, user, user) for name in ("postgres", "sockets")]


def test_again_with_nothing_changed_only_what_stopped_is_started(alone, machine, supervisord):
    alone.up()
    machine.ran()
    supervisord.asked.clear()
    alone.up()
    assert machine.ran() == []
    assert {method for method, *_ in supervisord.asked} == {"startProcess"}


def test_a_changed_setting_restarts_all(alone, make_engine, machine, supervisord):
    alone.up()
    machine.ran()
    settings = dict(alone.settings.values)
    changed = make_engine(**settings | {"MLFLOW_PORT": "5999"})
    supervisord.asked.clear()
    changed.up()
    assert supervisord.asked[0] == ("shutdown",)
    assert machine.ran()[0] == "supervisord"
    supervisord.asked.clear()
    changed.up()
    assert machine.ran() == []


def test_another_shell_restarts_nothing(alone, machine, supervisord):
    alone.up()
    supervisord.asked.clear()
    shell_of_systemd = {"PATH": "/usr/bin:/bin", "TERM": "dumb"}
    StandaloneEngine(replace(alone.settings, environment=shell_of_systemd)).up()
    assert ("shutdown",) not in supervisord.asked
    assert machine.ran().count("supervisord") == 1


def test_one_that_runs_and_nobody_knows_in_which_environment_is_restarted(
    alone, machine, supervisord, state
):
    alone.up()
    machine.ran()
    (state.run / "environment.sha256").unlink()
    alone.up()
    assert ("shutdown",) in supervisord.asked
    assert "supervisord" in machine.ran()


def test_what_an_earlier_supervisord_left_is_ended_first(alone, machine, orphan):
    left = orphan("mlflow")
    alone.up()
    assert left.poll() is not None


def test_while_supervisord_answers_nothing_is_ended(alone, machine, orphan):
    alone.up()
    child = orphan("mlflow")
    alone.up()
    assert child.poll() is None


@pytest.mark.parametrize("lost", ["postgres/PG_VERSION", "run/initialised"])
def test_the_one_shots_run_again_for_new_data(alone, machine, state, lost):
    alone.up()
    machine.ran()
    (state.folder / lost).unlink()
    alone.up()
    assert sorted(machine.ran()) == INIT_JOBS


@pytest.mark.parametrize("name", ["airflow", "mlflow"])
def test_the_one_shots_run_again_for_other_locks(alone, machine, clone, name):
    alone.build()
    alone.activate()
    alone.up()
    changed(alone, clone, name)
    machine.ran()
    alone.up()
    # What runs has its own files still: supervisord and the other services go on.
    assert sorted(machine.ran()) == INIT_JOBS


def test_the_database_that_began_with_supervisord_goes_on(alone, machine, supervisord):
    alone.build()
    alone.activate()
    alone.up()
    assert ("stopProcess", "postgres") not in supervisord.asked


@pytest.mark.parametrize("name", ["airflow", "mlflow", "status", "postgres"])
def test_a_changed_environment_restarts_only_what_runs_from_it(
    alone, machine, supervisord, clone, name
):
    alone.build()
    alone.activate()
    alone.up()
    changed(alone, clone, name)
    supervisord.asked.clear()
    alone.up()
    stopped = [service for method, service, *_ in supervisord.asked if method == "stopProcess"]
    assert stopped == [s for s in SERVICES if s.partition("-")[0] == name]
    supervisord.asked.clear()
    alone.up()
    assert supervisord.asked == STARTED_BY_UP


@pytest.mark.parametrize("name", ONE_SHOTS)
def test_a_one_shot_that_fails_is_named_and_tried_again(alone, machine, supervisord, name):
    machine.failing = {f"stack_runtime.{init_jobs.MODULES[name]}": "ended with 1:\nno such column"}
    with pytest.raises(StackError) as failed:
        alone.up()
    assert str(failed.value) == f"{name} failed: ended with 1:\nno such column"
    assert supervisord.asked == []
    machine.failing = {}
    machine.ran()
    alone.up()
    assert sorted(machine.ran()) == INIT_JOBS


def test_what_a_one_shot_said_is_its_log(alone, machine):
    alone.up()
    said = [alone.tail(name, 5) for name in ONE_SHOTS]
    assert said == [f"{module} says so" for module in INIT_JOBS]


def test_a_one_shot_does_not_last_for_ever(alone, machine, monkeypatch):
    limits = []
    monkeypatch.setattr(
        runner, "run", lambda command, **options: limits.append(options) or machine.run(command)
    )
    alone.up()
    assert limits[1:] == [{"timeout": 180}] * 2


def test_a_supervisord_that_never_answers_is_told_with_its_log(
    alone, machine, state, clock, monkeypatch
):
    monkeypatch.setattr(wait, "time", clock)
    machine.deaf = True
    with pytest.raises(StackError) as failed:
        alone.up()
    assert str(failed.value) == f"supervisord did not start: {state.logs / 'supervisord.log'}"
    assert (
        supervisord_module.START_SECONDS <= sum(clock.slept) < supervisord_module.START_SECONDS + 1
    )


def test_a_service_that_runs_already_is_no_error(alone, machine, supervisord):
    supervisord.faults["startProcess postgres False"] = Fault(60, "ALREADY_STARTED: postgres")
    alone.up()
    assert supervisord.asked == STARTED_BY_UP


def test_a_service_that_cannot_be_started_is_named(alone, machine, supervisord):
    supervisord.faults["startProcess mlflow False"] = Fault(20, "NO_FILE: python")
    with pytest.raises(StackError) as failed:
        alone.up()
    assert str(failed.value) == "mlflow does not start: NO_FILE: python"


# down


@pytest.fixture
def full(state):
    """A state folder with a file in each of its folders."""
    for name in ("envs/airflow/bin", "pg/init", *(folder.name for folder in state.data)):
        (state.folder / name).mkdir(parents=True)
        (state.folder / name / "file").touch()
    (state.folder / "airflow.made-from").touch()
    return lambda: {path.name for path in state.folder.iterdir()}


def test_down_keeps_all_that_is_on_disk(alone, full):
    before = full()
    alone.down(volumes=False)
    assert full() == before


def test_down_with_volumes_removes_the_data_and_nothing_else(alone, full, state):
    alone.down(volumes=True)
    assert full() == {"envs", "pg", "airflow.made-from"}
    assert (state.folder / "envs/airflow/bin/file").exists()


def test_down_where_nothing_was_ever_up_is_no_error(alone):
    alone.down(volumes=True)


def test_down_asks_supervisord_and_waits_for_its_end(alone, supervisord):
    with subprocess.Popen(["sleep", "60"]) as daemon:
        supervisord.pid = daemon.pid

        def end():
            daemon.kill()
            daemon.wait()

        supervisord.ending = threading.Timer(0.3, end).start
        supervisord.start()
        alone.down(volumes=False)
        assert supervisord.asked == [("shutdown",)]
        assert not psutil.pid_exists(daemon.pid)


def test_down_does_not_wait_for_ever(alone, supervisord, clock, monkeypatch):
    monkeypatch.setattr(wait, "time", clock)
    supervisord.pid = os.getpid()
    monkeypatch.setattr(orphans, "family", lambda pid: iter([psutil.Process(pid)]))
    supervisord.start()
    alone.down(volumes=False)
    assert supervisord_module.STOP_SECONDS <= sum(clock.slept) < supervisord_module.STOP_SECONDS + 1


def test_down_ends_what_a_killed_supervisord_left(alone, orphan):
    left = orphan("postgres")
    alone.down(volumes=False)
    assert left.poll() is not None


# ps, memory, logs


@pytest.mark.parametrize(
    ("theirs", "ours"),
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
def test_supervisords_states_are_told_in_dockers_words(alone, supervisord, theirs, ours):
    supervisord.shows(mlflow=theirs).start()
    states = {service.name: service.state for service in alone.ps()}
    assert states == dict.fromkeys(SERVICES, "running") | {"mlflow": ours}


def test_ps_tells_of_every_service_in_order_and_not_of_the_watchdog(alone, supervisord):
    supervisord.shows().processes.insert(0, process("watchdog"))
    supervisord.start()
    assert [service.name for service in alone.ps()] == list(SERVICES)


def test_ps_tells_since_when_and_the_last_exit_code(alone, supervisord):
    supervisord.shows().processes[0] = process("postgres", "EXITED", status=3)
    supervisord.processes[1] = process("airflow-apiserver", "STOPPED", start=0)
    supervisord.start()
    postgres, never, *_ = alone.ps()
    assert (postgres.since, postgres.exit_code) == (datetime.fromtimestamp(STARTED, UTC), 3)
    assert never.since is None


def test_without_supervisord_services_are_absent_or_orphaned(alone, orphan):
    assert [service.state for service in alone.ps()] == ["absent"] * len(SERVICES)
    orphan("mlflow")
    orphan("status")
    states = {service.name: service.state for service in alone.ps()}
    assert states == dict.fromkeys(SERVICES, "absent") | {
        "mlflow": "orphaned",
        "status": "orphaned",
    }


def test_restarts_are_counted_since_supervisord_was_started_last(alone, supervisord, state):
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
        + f"{day} stopped: status (terminated by SIGTERM)\n"
        + f"{day} spawned: 'mlflow' with pid 20\n",
        encoding="utf-8",
    )
    supervisord.shows().start()
    restarts = {service.name: service.restarts for service in alone.ps()}
    assert restarts == dict.fromkeys(SERVICES, 0) | {"airflow-dag-processor": 2}


def test_without_a_log_nothing_was_restarted(alone, supervisord):
    supervisord.shows().start()
    assert {service.restarts for service in alone.ps()} == {0}


def test_memory_is_that_of_each_process_that_lives(alone, supervisord, monkeypatch):
    supervisord.shows().processes[0] = process("postgres", pid=os.getpid())
    supervisord.start()
    monkeypatch.setattr(orphans, "memory", lambda pid: pid * 10)
    assert alone.memory() == {"postgres": os.getpid() * 10}


def test_without_supervisord_nobody_holds_memory(alone):
    assert alone.memory() == {}


def test_all_services_are_named_one_shots_included(alone):
    assert list(alone.services()) == [*SERVICES, "airflow-init", "mlflow-migrate"]


def test_logs_are_those_of_the_services_asked_for_or_of_all(alone, state, monkeypatch):
    asked = []
    monkeypatch.setattr(
        standalone_engine.log_files,
        "show",
        lambda files, **options: asked.append((files, options)) or 7,
    )
    options = {"tail": 5, "since": "10m", "follow": True}
    assert alone.logs(["mlflow"], **options) == 7
    assert alone.logs([], **options) == 7
    one, every = asked
    assert one == ({"mlflow": state.logs / "mlflow.log"}, options)
    assert list(every[0]) == list(alone.services())


def test_the_tail_is_the_end_of_one_log(alone, state):
    state.logs.mkdir()
    (state.logs / "mlflow.log").write_text("a\nb\nc\n", encoding="utf-8")
    assert alone.tail("mlflow", 2) == "b\nc"
    assert alone.tail("status", 2) == ""


# What supervisord answers


def test_one_that_is_on_its_way_out_is_no_answer(alone, supervisord):
    supervisord.shows().start()
    supervisord.faults["*"] = SHUTTING_DOWN
    assert {service.state for service in alone.ps()} == {"absent"}
    assert alone.memory() == {}
    alone.down(volumes=False)


def test_up_starts_a_new_one_where_the_last_is_on_its_way_out(alone, machine, supervisord):
    supervisord.start()
    supervisord.faults["*"] = SHUTTING_DOWN
    alone.up()
    assert machine.ran()[0] == "supervisord"


def test_a_socket_that_nobody_listens_at_is_no_answer(alone, supervisord, state):
    supervisord.start()
    supervisord.server.shutdown()
    supervisord.server.server_close()
    supervisord.server = None
    assert (state.run / "supervisor.sock").exists()
    assert {service.state for service in alone.ps()} == {"absent"}


def test_another_fault_is_an_error_of_ours(alone, supervisord):
    supervisord.start()
    supervisord.faults["getAllProcessInfo"] = Fault(1, "UNKNOWN_METHOD")
    with pytest.raises(Fault, match="UNKNOWN_METHOD"):
        alone.ps()


# The real supervisord, with services that only sleep

SLEEPING = """
[unix_http_server]
file = %(ENV_STACK_STATE)s/run/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
pidfile = %(ENV_STACK_STATE)s/run/supervisord.pid
logfile = %(ENV_STACK_STATE)s/logs/supervisord.log
"""
SLEEPER = """
[program:{name}]
command = {command}
autostart = {first}
autorestart = true
startsecs = 0
stdout_logfile = NONE
stderr_logfile = NONE
"""


# TERM lets the task in hand end first: until a file tells so.
TASK = """
trap 'echo asked > {folder}/asked
while [ ! -e {folder}/ended ]; do sleep 0.05; done; exit 0' TERM
echo ready > {folder}/ready
while :; do sleep 0.05; done
"""


def use(state, name, what):
    """Have an environment in use, with the interpreter of these tests."""
    folder = state.folder / "envs" / f"{name}-{what}"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    link = state.folder / ("pg" if name == "postgres" else f"envs/{name}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


@pytest.fixture
def sleeping(make_engine, clone, state, monkeypatch):
    """An engine whose services sleep and whose one-shots print their name."""
    # Whatever collects ended processes here may be in no hurry.
    monkeypatch.setattr(supervisord_module, "STOP_SECONDS", 2)
    monkeypatch.setattr(orphans.end, "__defaults__", (1.0,))
    for name, module in init_jobs.MODULES.items():
        path = f"orchestration/config/stack_runtime/{module.replace('.', '/')}.py"
        (clone / path).parent.mkdir(parents=True)
        (clone / path).write_text(f"print('{name} ran')", encoding="utf-8")
    for name in virtualenvs.NAMES:
        use(state, name, "of-today")
    commands = {SCHEDULER: f"bash {clone}/scheduler"}
    (clone / "scheduler").write_text(TASK.format(folder=clone), encoding="utf-8")
    programs = [
        SLEEPER.format(name=name, first=name == "postgres", command=commands.get(name, "sleep 60"))
        for name in (*SERVICES, "watchdog")
    ]
    (clone / "orchestration" / "supervisord.conf").write_text("".join([SLEEPING, *programs]))
    beside = Path(sys.executable).parent
    engine = make_engine(PATH=f"{beside}:{os.environ['PATH']}")
    yield engine
    pid = state.run / "supervisord.pid"
    with suppress(psutil.NoSuchProcess):
        if pid.exists():
            psutil.Process(int(pid.read_text())).kill()
    for process in orphans.left_by(state.supervisor):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def until(told, seconds=20):
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := told()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    return found


def children(engine):
    """The process ids of the services and the watchdog by name, once all have been started."""

    def pids():
        known = engine.supervisord.processes()
        return {name: info["pid"] for name, info in known.items() if info["pid"]}

    until(lambda: pids().keys() == {*SERVICES, "watchdog"})
    return pids()


def test_a_real_supervisord_is_brought_up_watched_and_taken_down(sleeping, state):
    # It answers where the engine asks, and its children carry that address.
    sleeping.up()
    pids = children(sleeping)
    assert {service.state for service in sleeping.ps()} <= {"starting", "running"}
    assert {service.restarts for service in sleeping.ps()} == {0}
    assert sleeping.memory().keys() == {*SERVICES, "watchdog"}
    assert all(sleeping.memory().values())
    assert sleeping.tail("mlflow-migrate", 1) == "mlflow-migrate ran"

    os.kill(pids["mlflow"], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        restarts = {service.name: service.restarts for service in sleeping.ps()}
        if restarts["mlflow"]:
            break
        time.sleep(0.05)
    assert restarts == dict.fromkeys(SERVICES, 0) | {"mlflow": 1}

    sleeping.down(volumes=False)
    assert orphans.left_by(state.supervisor) == {}
    assert {service.state for service in sleeping.ps()} == {"absent"}


def test_after_a_real_supervisord_was_killed_up_leaves_nothing_twice(sleeping, state):
    sleeping.up()
    before = children(sleeping)
    killed = psutil.Process(int((state.run / "supervisord.pid").read_text()))
    killed.kill()
    deadline = time.monotonic() + 5
    while sleeping.supervisord.answers() and time.monotonic() < deadline:
        time.sleep(0.02)
    # One that was forked a moment ago does not carry the address yet.
    until(lambda: {service.state for service in sleeping.ps()} == {"orphaned"})
    sleeping.up()
    after = {pid for name, pid in children(sleeping).items() if name != SCHEDULER}
    deadline = time.monotonic() + 5
    while after - (left := of_this_stack(state)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == after
    assert not left & set(before.values())


def of_this_stack(state):
    found = orphans.left_by(state.supervisor)
    return {process.pid for process, name in found.items() if name != SCHEDULER}


def test_a_real_supervisord_restarts_what_it_is_told_and_counts_no_restart(sleeping):
    sleeping.up()
    before = children(sleeping)
    sleeping.restart(["mlflow", "status"])
    after = children(sleeping)
    assert {name for name in after if after[name] != before[name]} == {"mlflow", "status"}
    assert {service.restarts for service in sleeping.ps()} == {0}


def test_a_changed_environment_really_restarts_only_what_runs_from_it(sleeping, state):
    sleeping.up()
    before = children(sleeping)
    use(state, "mlflow", "of-tomorrow")
    sleeping.up()
    after = children(sleeping)
    assert {name for name in after if after[name] != before[name]} == {"mlflow"}
    noted = json.loads((state.run / "started-from.json").read_text())
    assert noted["mlflow"] == "mlflow-of-tomorrow"
    assert noted["status"] == "status-of-today"


@pytest.fixture
def swapping(sleeping, clone):
    """The scheduler was asked to end and has a task in hand; the error of its swap is noted."""
    sleeping.up()
    before = children(sleeping)
    until((clone / "ready").exists)
    failed = []

    def replace():
        try:
            sleeping.replace(SCHEDULER)
        except StackError as error:
            failed.append(error)

    thread = threading.Thread(target=replace)
    thread.start()
    until((clone / "asked").exists)
    yield SimpleNamespace(thread=thread, before=before, failed=failed)
    (clone / "ended").touch()
    thread.join(10)


def test_a_real_scheduler_ends_by_itself_and_is_started_again(sleeping, swapping, state, clone):
    use(state, "airflow", "of-tomorrow")
    time.sleep(0.5)
    known = sleeping.supervisord.processes()
    assert known[SCHEDULER]["pid"] == swapping.before[SCHEDULER]
    assert known["watchdog"]["pid"] == 0
    assert swapping.thread.is_alive()
    noted = json.loads((state.run / "started-from.json").read_text())
    assert noted[SCHEDULER] == "airflow-of-today"

    (clone / "ended").touch()
    swapping.thread.join(10)
    after = children(sleeping)
    assert swapping.failed == []
    assert {n for n in after if after[n] != swapping.before[n]} == {SCHEDULER, "watchdog"}
    assert {service.restarts for service in sleeping.ps()} == {0}
    noted = json.loads((state.run / "started-from.json").read_text())
    assert noted[SCHEDULER] == "airflow-of-tomorrow"
    assert noted["airflow-apiserver"] == "airflow-of-today"


@pytest.fixture
def impatient(monkeypatch):
    """A task has less than a second to end."""
    monkeypatch.setattr(standalone_engine, "TASK_SECONDS", 0.4)


def test_the_real_watchdog_runs_again_also_where_the_scheduler_did_not_end(
    impatient, sleeping, swapping, state
):
    swapping.thread.join(10)
    (error,) = swapping.failed
    assert "airflow-scheduler has not ended" in str(error)
    after = children(sleeping)
    assert {n for n in after if after[n] != swapping.before[n]} == {"watchdog"}
    noted = json.loads((state.run / "started-from.json").read_text())
    assert noted[SCHEDULER] == "airflow-of-today"
