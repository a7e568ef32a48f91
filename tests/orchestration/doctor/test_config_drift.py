"""Test the comparison of running services with .env, which never prints a value."""

import shutil
import socket

import pytest

from orchestration.doctor import config_drift
from orchestration.doctor.config_drift import EXECUTION_URL
from orchestration.settings import compose_file
from orchestration.settings.validation import PORTS

JWT, WEB, FERNET = (variable for variable, *_ in config_drift.SHARED)
SECRET, OTHER = "made-up-secret", "another-made-up-secret"  # pragma: allowlist secret
URL = "http://airflow-apiserver:8080"
AIRFLOW = {
    JWT: SECRET,
    WEB: SECRET,
    "AIRFLOW__API__SECRET_KEY": SECRET,
    FERNET: SECRET,
    EXECUTION_URL: f"{URL}/execution/",
    "AIRFLOW_PUBLIC_URL": "http://127.0.0.1:8080",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow:{SECRET}@postgres/a",
    "user": "1000:0",
}
STACK = {
    "airflow-apiserver": AIRFLOW,
    "airflow-scheduler": AIRFLOW,
    "airflow-worker": AIRFLOW,
    "mlflow": {"MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1:*", "port 5000/tcp": "127.0.0.1:5000"},
    "status": {
        "AIRFLOW_URL": URL,
        "AIRFLOW_PORT": "8080",
        "MLFLOW_PORT": "5000",
        "port 8081/tcp": "127.0.0.1:8081",
    },
}


@pytest.fixture(autouse=True)
def free_ports(monkeypatch):
    """Report the default ports as free, although a stack of this machine may use them."""
    real = config_drift.port_problem

    def port_problem(settings, service):
        is_default = settings[PORTS[service]] in ("8080", "5000", "8081", "8090", "9081")
        return None if is_default else real(settings, service)

    monkeypatch.setattr(config_drift, "port_problem", port_problem)


@pytest.fixture
def find_problems(make_settings, clone, engine, repo):
    """Compare a stack in which some services have other current or intended variables."""
    shutil.copy(repo / "orchestration/docker-compose.yaml", clone / "orchestration")

    def find_problems(current=(), intended=(), **chosen):
        for services, changes in (
            (engine.current_environments, current),
            (engine.intended_environments, intended),
        ):
            services |= {name: {**STACK[name], **dict(changes).get(name, {})} for name in STACK}
            for name, variables in services.items():
                services[name] = {key: v for key, v in variables.items() if v is not None}
        problems = list(config_drift.problems(make_settings(**chosen), engine, list(STACK)))
        assert SECRET not in str(problems)
        assert OTHER not in str(problems)
        return problems

    return find_problems


def test_problems_of_an_up_to_date_stack_are_none(find_problems):
    assert find_problems() == []


def test_problems_without_known_environments_are_none(make_settings, engine):
    assert list(config_drift.problems(make_settings(), engine, ["mlflow"])) == []


@pytest.mark.parametrize(("variable", "code", "effect"), config_drift.SHARED)
@pytest.mark.parametrize("value", [OTHER, None])
def test_problems_key_differs_names_the_service(find_problems, variable, code, effect, value):
    [problem] = find_problems(current={"airflow-worker": {variable: value}})
    assert (problem.code, problem.where, problem.fix) == (code, "airflow-worker", "inv up")
    assert variable in problem.cause
    assert effect in problem.cause


def test_problems_key_in_an_override_is_to_be_removed(find_problems):
    override = {"airflow-scheduler": {JWT: OTHER}}
    [problem] = find_problems(current=override, intended=override)
    assert (problem.code, problem.where) == ("jwt-secret-differs", "airflow-scheduler")
    assert problem.fix == f"Remove {JWT} from {config_drift.OVERRIDE}, then run: inv up"


def test_problems_wrong_execution_url_names_the_service(find_problems):
    [problem] = find_problems(
        current={"airflow-worker": {EXECUTION_URL: "http://localhost:8080/execution/"}}
    )
    assert (problem.code, problem.where, problem.fix) == (
        "execution-api-url",
        "airflow-worker",
        "inv up",
    )


def test_problems_execution_url_in_an_override_is_to_be_removed(find_problems):
    override = {"airflow-worker": {EXECUTION_URL: "http://localhost:8080/"}}
    [problem] = find_problems(current=override, intended=override)
    assert problem.fix == f"Remove {EXECUTION_URL} from {config_drift.OVERRIDE}, then run: inv up"


def test_problems_new_port_of_the_api_server_is_not_applied(find_problems):
    """Without containers the address contains the port, which can be changed in .env."""
    moved = {
        "airflow-scheduler": {EXECUTION_URL: "http://127.0.0.1:8090/execution/"},
        "airflow-worker": {EXECUTION_URL: "http://127.0.0.1:8090/execution/"},
        "airflow-apiserver": {EXECUTION_URL: "http://127.0.0.1:8090/execution/"},
        "status": {"AIRFLOW_URL": "http://127.0.0.1:8090", "AIRFLOW_PORT": "8090"},
    }
    [problem] = find_problems(current=moved)
    assert problem.code == "settings-not-applied"
    assert problem.cause.endswith(": AIRFLOW_PORT.")


def test_problems_without_containers_the_limit_of_tasks_is_a_setting(find_problems):
    changed = {"airflow-scheduler": {"AIRFLOW__CORE__PARALLELISM": "3"}}
    [problem] = find_problems(intended=changed, STACK_ENGINE="standalone")
    assert problem.cause.endswith(": WORKER_CONCURRENCY.")


@pytest.mark.parametrize(
    ("changes", "setting", "where"),
    [
        (
            {name: {JWT: OTHER} for name in STACK if name.startswith("airflow-")},
            "AIRFLOW_JWT_SECRET",
            "airflow-apiserver, airflow-scheduler, airflow-worker",
        ),
        # The link also contains BIND_ADDRESS, but other variables show that it did not change.
        (
            {"status": {"AIRFLOW_PORT": "8090"}, "airflow-worker": {
                "AIRFLOW_PUBLIC_URL": "http://127.0.0.1:8090"}},
            "AIRFLOW_PORT",
            "airflow-worker, status",
        ),
        ({"status": {"port 8081/tcp": "127.0.0.1:9081"}}, "STATUS_PORT", "status"),
        ({"airflow-worker": {"user": "0:0"}}, "AIRFLOW_UID", "airflow-worker"),
        # No setting is behind it: the compose file or its override was edited.
        ({"airflow-worker": {"user": None, "MINE": "1"}}, "MINE", "airflow-worker"),
    ],
)  # fmt: skip
def test_problems_not_applied_names_the_setting(find_problems, changes, setting, where):
    unused = {"airflow-worker": {"user": None}} if setting == "MINE" else {}
    [problem] = find_problems(intended=changes, current=unused)
    assert (problem.code, problem.fix, problem.where) == ("settings-not-applied", "inv up", where)
    assert problem.cause == f"The running services do not use the current value of: {setting}."


def test_problems_ignores_variables_of_the_image(find_problems):
    assert find_problems(current={"mlflow": {"PATH": "/usr/bin", "LANG": "C.UTF-8"}}) == []


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        (FERNET, OTHER, "AIRFLOW_FERNET_KEY"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", OTHER, "AIRFLOW_DB_PASSWORD"),
    ],
)
def test_problems_edited_data_key_is_to_be_put_back(find_problems, variable, value, setting):
    edited = {name: {variable: value} for name in STACK if name.startswith("airflow-")}
    [problem] = find_problems(intended=edited)
    assert problem.code == "data-key-edited"
    assert setting in problem.cause
    assert problem.fix.startswith(f"Put the previous {setting} back in .env")


def test_problems_added_fernet_key_is_to_be_applied(find_problems):
    added = {name: {FERNET: f"{OTHER},{SECRET}"} for name in STACK if name.startswith("airflow-")}
    [problem] = find_problems(intended=added)
    assert problem.code == "settings-not-applied"
    assert problem.cause.endswith(": AIRFLOW_FERNET_KEY.")


def test_problems_changed_port_that_is_taken_is_not_to_be_applied(find_problems):
    # A stack that was started with ports of a shell runs next to another clone.
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        intended = {
            "mlflow": {
                "port 5000/tcp": f"127.0.0.1:{port}",
                "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}",
            },
            # The Compose file does not contain the address that a process gets.
            "status": {"MLFLOW_PORT": str(port), "MLFLOW_URL": f"http://127.0.0.1:{port}"},
        }
        problems = find_problems(intended=intended, MLFLOW_PORT=port)
    [problem] = problems
    assert (problem.code, problem.where) == ("port-taken", "mlflow")
    assert problem.fix.startswith("Stop that program, or set MLFLOW_PORT in .env")


def test_references_of_the_compose_file(make_settings, clone, repo):
    shutil.copy(repo / "orchestration/docker-compose.yaml", clone / "orchestration")
    references = compose_file.references(make_settings())
    assert references[JWT] == {"AIRFLOW_JWT_SECRET"}
    assert references["AIRFLOW__CELERY__BROKER_URL"] == {"REDIS_PASSWORD"}
    assert references["port 8080/tcp"] == {"BIND_ADDRESS", "AIRFLOW_PORT"}
    assert references["user"] == {"AIRFLOW_UID"}
    assert EXECUTION_URL not in references


def test_references_with_tls_include_its_settings(make_settings, clone, repo):
    for name in ("docker-compose.yaml", "docker-compose.tls.yaml"):
        shutil.copy(repo / "orchestration" / name, clone / "orchestration")
    references = compose_file.references(make_settings(TLS="on"))
    assert {"PUBLIC_HOST", "TLS", "AIRFLOW_PORT"} <= references["AIRFLOW_PUBLIC_URL"]
    assert "PUBLIC_HOST" not in compose_file.references(make_settings())["AIRFLOW_PUBLIC_URL"]


def test_references_with_logs_in_a_bucket_include_its_setting(make_settings, clone, repo):
    for name in ("docker-compose.yaml", "docker-compose.s3.yaml", "docker-compose.logs.yaml"):
        shutil.copy(repo / "orchestration" / name, clone / "orchestration")
    references = compose_file.references(make_settings(AIRFLOW_LOGS_DESTINATION="s3://logs/of"))
    assert references["AWS_PROFILE"] == {"AWS_PROFILE", "AIRFLOW_LOGS_DESTINATION"}


def test_problems_log_bucket_not_applied_names_one_setting(find_problems, clone, repo):
    for name in ("docker-compose.s3.yaml", "docker-compose.logs.yaml"):
        shutil.copy(repo / "orchestration" / name, clone / "orchestration")
    names = [name for name in STACK if name.startswith("airflow-")]
    before = {name: {"AIRFLOW_LOGS_DESTINATION": ""} for name in names}
    after = {name: {"AIRFLOW_LOGS_DESTINATION": "s3://logs/of"} for name in names}
    after["airflow-worker"] |= {"AWS_ACCESS_KEY_ID": "key", "AWS_PROFILE": ""}
    [problem] = find_problems(before, after, AIRFLOW_LOGS_DESTINATION="s3://logs/of")
    assert problem.cause.endswith(": AIRFLOW_LOGS_DESTINATION.")
