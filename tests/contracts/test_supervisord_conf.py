"""Check supervisord.conf, as supervisord reads it, against the code and docker-compose.yaml."""

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from supervisor.datatypes import RestartUnconditionally
from supervisor.options import ServerOptions, UnhosedConfigParser

from orchestration.engines import base as engine_base
from orchestration.engines.standalone import engine as standalone_engine
from orchestration.engines.standalone import init_jobs
from orchestration.engines.standalone import supervisor as supervisord_module
from orchestration.engines.standalone.environment import State, services_environment
from orchestration.host.drafts import load_or_draft
from orchestration.project import Project
from orchestration.settings.model import SECRETS
from tests.support.repository import ROOT

FILE = ROOT / "orchestration" / "supervisord.conf"
COMPOSE = ROOT / "orchestration" / "docker-compose.yaml"
TEXT = FILE.read_text(encoding="utf-8")
COMPOSE_SERVICES = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
REFERENCED = set(re.findall(r"%\(ENV_(\w+)\)s", TEXT))
# The standalone engine has no queue and no proxy, and `inv up` runs its init jobs.
COMPOSE_ONLY = {"redis", "airflow-worker", "airflow-init", "mlflow-migrate", "tls"}

PARSER = UnhosedConfigParser()
PARSER.read_string(TEXT)
SECTIONS = {
    name.partition(":")[2]: dict(PARSER.items(name))
    for name in PARSER.sections()
    if name.startswith(("program:", "eventlistener:"))
}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Return the state folder as it is when supervisord starts."""
    folder = State(tmp_path_factory.mktemp("state"))
    folder.run.mkdir()
    folder.logs.mkdir()
    return folder


@pytest.fixture(scope="module")
def environment(state, tmp_path_factory):
    """Return supervisord's environment; PostgreSQL's user is the current one."""
    root = tmp_path_factory.mktemp("clone")
    (root / "orchestration").mkdir()
    shutil.copy(COMPOSE, root / "orchestration")
    shutil.copy(ROOT / ".env.example", root)
    settings = load_or_draft(Project(root, {"PATH": os.environ["PATH"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "of", classmethod(lambda cls, settings: state))
        variables = services_environment(settings)
    return variables | {"STACK_POSTGRES_USER": pwd.getpwuid(os.getuid()).pw_name}


@pytest.fixture(scope="module")
def programs(environment):
    """Return every program as supervisord parses the file, without starting it."""
    options = ServerOptions()
    options.environ_expansions = {f"ENV_{name}": value for name, value in environment.items()}
    options.realize(["--configuration", str(FILE)], progname="supervisord")
    assert options.parse_warnings == []
    return {p.name: p for group in options.process_group_configs for p in group.process_configs}


def each(names):
    return pytest.mark.parametrize("name", sorted(names))


def test_programs_are_the_services_and_the_watchdog(programs):
    assert programs.keys() == {*standalone_engine.SERVICES, "watchdog"}


def test_compose_has_five_more_services():
    assert COMPOSE_SERVICES.keys() - set(standalone_engine.SERVICES) == COMPOSE_ONLY
    assert set(standalone_engine.SERVICES) <= COMPOSE_SERVICES.keys()


def test_init_jobs_are_the_same_in_both_engines():
    assert standalone_engine.INIT_JOBS is engine_base.INIT_JOBS
    assert set(engine_base.INIT_JOBS) <= COMPOSE_ONLY
    for name, module in init_jobs.MODULES.items():
        assert COMPOSE_SERVICES[name]["command"] == [*engine_base.runtime_module(module)]


def test_services_begin_with_the_database():
    assert standalone_engine.SERVICES[0] == "postgres"
    assert len(standalone_engine.SERVICES) == len(set(standalone_engine.SERVICES))


def test_scheduler_stops_before_the_services_that_tasks_need(programs):
    last = sorted(programs, key=lambda name: programs[name].priority)
    assert last[:3] == ["postgres", "mlflow", "airflow-apiserver"]
    assert programs["airflow-scheduler"].priority > programs["airflow-apiserver"].priority


def test_only_the_database_and_the_watchdog_start_automatically(programs):
    assert {name for name, p in programs.items() if p.autostart} == {"postgres", "watchdog"}


@each(SECTIONS)
def test_every_program_is_always_restarted(programs, name):
    assert programs[name].autorestart is RestartUnconditionally
    assert programs[name].startretries >= 100_000


@each(SECTIONS.keys() - {"postgres", "watchdog"})
def test_child_processes_are_stopped_except_running_tasks(programs, name):
    assert programs[name].killasgroup
    assert programs[name].stopasgroup == (name != "airflow-scheduler")


def test_database_stops_without_waiting_for_clients(programs):
    postgres = programs["postgres"]
    assert postgres.stopsignal == signal.SIGINT
    assert not postgres.stopasgroup
    # If its whole group was killed, it could lose data that is not written yet.
    assert not postgres.killasgroup


@each(SECTIONS.keys() - {"watchdog"})
def test_grace_period_is_at_least_that_of_compose(programs, name):
    grace = int(COMPOSE_SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace <= programs[name].stopwaitsecs < supervisord_module.STOP_SECONDS


def test_only_the_database_has_its_own_user(programs):
    assert programs["postgres"].uid == os.getuid()
    assert SECTIONS["postgres"]["user"] == "%(ENV_STACK_POSTGRES_USER)s"
    assert [name for name, section in SECTIONS.items() if "user" in section] == ["postgres"]


@each(standalone_engine.SERVICES)
def test_every_service_has_one_rotated_log(programs, state, name):
    program = programs[name]
    assert program.stdout_logfile == str(state.logs / f"{name}.log")
    assert program.redirect_stderr
    assert 2**20 <= program.stdout_logfile_maxbytes <= 20 * 2**20
    assert program.stdout_logfile_backups >= 1


def test_watchdog_logs_its_standard_error(programs, state):
    # Its standard output is used for the event protocol of supervisord.
    watchdog = programs["watchdog"]
    assert not watchdog.redirect_stderr
    assert watchdog.stderr_logfile == str(state.logs / "watchdog.log")
    assert 0 < watchdog.stderr_logfile_maxbytes <= 20 * 2**20
    assert watchdog.stderr_logfile_backups >= 1


def test_supervisord_log_is_rotated_in_the_logs_folder():
    own = dict(PARSER.items("supervisord"))
    assert own["logfile"] == "%(ENV_STACK_STATE)s/logs/supervisord.log"
    assert own["logfile_maxbytes"] == "5MB"
    assert int(own["logfile_backups"]) >= 1
    assert "nodaemon" not in own


def test_supervisord_listens_where_the_engine_connects(state):
    server = dict(PARSER.items("unix_http_server"))
    address = f"unix://{server['file'] % {'ENV_STACK_STATE': state.folder}}"
    assert address == state.supervisor
    url = dict(PARSER.items("supervisorctl"))["serverurl"]
    assert url % {"ENV_STACK_STATE": state.folder} == state.supervisor
    assert int(server["chmod"], 8) & 0o077 == 0
    assert not [name for name in PARSER.sections() if name.startswith("inet_http_server")]


@each(REFERENCED)
def test_engine_sets_every_variable_of_the_file(environment, name):
    assert environment[name]


def test_file_contains_no_secret():
    assert not [name for name in SECRETS if name in TEXT]
    assert not [name for name in REFERENCED if "PASSWORD" in name or "_KEY" in name]
    assert not [name for name, section in SECTIONS.items() if "environment" in section]
    assert "environment" not in dict(PARSER.items("supervisord"))
    assert "password" not in TEXT.lower()


def test_commands_contain_no_secret(programs, environment):
    secrets = [environment[name] for name in SECRETS if environment.get(name)]
    assert len(secrets) >= 4
    commands = " ".join(program.command for program in programs.values())
    assert not [value for value in secrets if value in commands]


@each(SECTIONS)
def test_commands_use_full_paths(programs, state, name):
    words = shlex.split(programs[name].command)
    if not name.startswith("airflow-"):
        assert words[:4] == ["sh", "-c", 'unset $STACK_AIRFLOW_ONLY; exec "$@"', "sh"]
        words = words[4:]
    if name == "postgres":
        assert words == ["bash", f"{state.folder}/pg/entrypoint.sh", "postgres"]
    elif name == "watchdog":
        assert Path(words[0]).exists()
    else:
        environment = engine_base.image_of(name)
        assert environment
        assert words[0].startswith(f"{state.folder}/envs/{environment}/bin/")


@each(SECTIONS)
def test_scripts_and_modules_of_commands_exist(name):
    for script in re.findall(r"%\(ENV_STACK_ROOT\)s/([\w/.]+)", SECTIONS[name]["command"]):
        assert (ROOT / script).is_file()
    for module in re.findall(r" -m ([\w.]+)", SECTIONS[name]["command"]):
        if module.partition(".")[0] in sys.stdlib_module_names:
            continue
        path = f"{module.replace('.', '/')}.py"
        assert (ROOT / path).is_file() or (ROOT / "orchestration/config" / path).is_file()


@each(name for name in SECTIONS if name.startswith("airflow-"))
def test_airflow_commands_are_those_of_compose(programs, name):
    path, *words = shlex.split(programs[name].command)
    command = (Path(path).name, *[word for word in words if word != "--skip-serve-logs"])
    assert command[:4] == engine_base.runtime_module("airflow.service")
    assert [*command] == COMPOSE_SERVICES[name]["command"]


def test_only_airflow_gets_the_connections_of_the_file(programs, environment):
    mine = {"AIRFLOW_CONN_A": "made-up", "AIRFLOW__CORE__X": "1", "KEPT": "2"}
    shell = os.environ | mine | {"STACK_AIRFLOW_ONLY": "AIRFLOW_CONN_A AIRFLOW__CORE__X"}
    for name in ("postgres", "mlflow", "status", "watchdog"):
        start = shlex.split(programs[name].command)[:4]
        output = subprocess.check_output([*start, "env"], env=shell, text=True)
        names = {line.partition("=")[0] for line in output.splitlines()}
        assert not {"AIRFLOW_CONN_A", "AIRFLOW__CORE__X"} & names
        assert "KEPT" in names
    none = subprocess.run([*start, "env"], env=os.environ | {"STACK_AIRFLOW_ONLY": ""}, check=False)
    assert none.returncode == 0


def test_watchdog_gets_an_event_every_five_seconds():
    assert SECTIONS["watchdog"]["events"] == "TICK_5"


def test_commands_quote_paths_with_spaces(programs, environment):
    for name, program in programs.items():
        spaced = program.command
        for variable in ("STACK_STATE", "STACK_ROOT", "STACK_PYTHON"):
            spaced = spaced.replace(environment[variable], f"/a b{environment[variable]}")
        assert "/a b" in spaced, name
        assert "/a" not in shlex.split(spaced), name
