"""Test the names in .env: mistakes, Airflow's own variables and those that the stack sets."""

import json
import shutil

import pytest
import yaml

from orchestration.errors import StackError
from orchestration.project import Project
from orchestration.settings import airflow_variables, compose_file
from tests.support.repository import ROOT

COMPOSE = ROOT / "orchestration"
DOCUMENT = yaml.safe_load((COMPOSE / "docker-compose.yaml").read_text("utf-8"))
MINE = {
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
    "AIRFLOW_CONN_WAREHOUSE": '{"conn_type": "postgres", "login": "made-up-$1"}',
    "AIRFLOW_VAR_REGION": "north",
}
LINES = "".join(f"{name}='{value}'\n" for name, value in MINE.items())


@pytest.fixture
def extend(installed):
    """Return a function that appends text to .env and loads the settings."""
    for file in COMPOSE.glob("docker-compose*.yaml"):
        shutil.copy(file, installed / "orchestration")
    before = (installed / ".env").read_text()

    def append(text, **environ):
        (installed / ".env").write_text(before + text)
        return Project(installed, environ).settings()

    append.line = len(before.splitlines()) + 1
    append.root = installed
    return append


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("AIRFLOW_PROT=9", "AIRFLOW_PROT: no setting of this name. Did you mean AIRFLOW_PORT?"),
        ("airflow_port=9", "airflow_port: no setting of this name. Did you mean AIRFLOW_PORT?"),
        ("FAVOURITE=blue", "FAVOURITE: no setting of this name"),
        ("MLFLOW_PORT =9", "a space before '=': write MLFLOW_PORT=value"),
        ("MINE\t=9", "a space before '=': write MINE=value"),
        ("AIRFLOW_VAR_region=x", "capital letters only: write AIRFLOW_VAR_REGION"),
        ("AIRFLOW_CONN=x", "AIRFLOW_CONN: no setting of this name"),
        ("AIRFLOW_CONN_=x", "write AIRFLOW__SECTION__KEY, AIRFLOW_CONN_ID or AIRFLOW_VAR_KEY"),
        ("AIRFLOW__CORE=x", "write AIRFLOW__SECTION__KEY, AIRFLOW_CONN_ID or AIRFLOW_VAR_KEY"),
        ("AIRFLOW__CELERY__WORKER_CONCURRENCY=4",
         "the stack sets it from WORKER_CONCURRENCY: change that instead"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD=x", "the stack sets it from AIRFLOW_DB_PASSWORD"),
        ("AIRFLOW__API__WORKERS=4", "the stack sets it to 1. One process, because uvicorn's"),
        ("AIRFLOW__CORE__LOAD_EXAMPLES=True", "the stack sets it to False"),
        ("AIRFLOW__CORE__DAGS_FOLDER=/x", "the stack sets it from AIRFLOW_PROJ_DIR"),
        ("AIRFLOW__CORE__MAX_MAP_LENGHT=9",
         "no such option. Did you mean AIRFLOW__CORE__MAX_MAP_LENGTH?"),
        ("AIRFLOW__COER__MAX_MAP_LENGTH=9", "Did you mean AIRFLOW__CORE__MAX_MAP_LENGTH?"),
        ("AIRFLOW__CORE__FAVOURITE=blue", "AIRFLOW__CORE__FAVOURITE: Airflow has no such option"),
        ("AIRFLOW__CORE__FAVOURITE_CMD=x", "Airflow has no such option"),
    ],
)  # fmt: skip
def test_line_without_effect_is_refused_with_its_number(extend, line, why):
    with pytest.raises(StackError) as error:
        extend(f"# note\n{line}\n")
    [problem] = error.value.problems
    first, reason = problem.cause.splitlines()
    assert first == ".env has lines without effect:"
    assert reason.startswith(f"  line {extend.line + 1}: ")
    assert why in reason
    assert problem.code == "env-unusable"


def test_repeated_name_is_refused_with_both_lines(extend):
    with pytest.raises(StackError) as error:
        extend("AIRFLOW_PORT=9\n")
    text = (extend.root / ".env").read_text().splitlines()
    first = next(number for number, line in enumerate(text, 1) if line == "AIRFLOW_PORT=8080")
    expected = f"  line {extend.line}: AIRFLOW_PORT is already set in line {first}: remove one"
    assert expected in str(error.value)


def test_all_lines_are_reported_at_once(extend):
    with pytest.raises(StackError) as error:
        extend("AIRFLOW_PROT=9\nAIRFLOW__API__WORKERS=4\nAIRFLOW_VAR_A=1\nAIRFLOW_VAR_A=2\n")
    assert len(error.value.problems[0].cause.splitlines()) == 4


def test_names_of_the_override_file_are_accepted(extend):
    override = extend.root / "orchestration/docker-compose.override.yaml"
    override.write_text("services: {airflow-worker: {environment: {GREETING: '${MY_GREETING}'}}}")
    assert extend("MY_GREETING=hello\n")["MY_GREETING"] == "hello"


# Variables of Airflow


def test_options_that_the_stack_sets_are_all_refused(extend):
    options = {
        name
        for file in COMPOSE.glob("docker-compose*.yaml")
        for body in yaml.safe_load(file.read_text().replace("!reset ", ""))["services"].values()
        for name in body.get("environment", {})
        if name.startswith("AIRFLOW__")
    }
    assert len(options) > 30
    for name in options:
        assert "the stack sets it" in airflow_variables.refusal(name, extend.root / "orchestration")


def test_each_refusal_names_the_settings_or_the_value(extend):
    owned = airflow_variables._owned(extend.root / "orchestration")
    assert all(reason.startswith((" from ", " to ")) for reason in owned.values())
    assert not [reason for reason in owned.values() if "${" in reason]


def test_variables_reach_only_airflows_services(extend):
    settings = extend(LINES)
    for service in DOCUMENT["services"]:
        variables = compose_file.variables(settings, service)
        passed = {name: variables[name] for name in MINE if name in variables}
        if service == "airflow-init":
            assert passed.keys() == {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG"}
        else:
            assert passed == (MINE if service.startswith("airflow-") else {})


def test_compose_file_contains_names_and_no_values(extend):
    settings = extend(LINES)
    compose_file.write_airflow_variables(settings)
    path = extend.root / "orchestration" / airflow_variables.FILE
    text = path.read_text()
    assert [*settings.compose_files][-1] == path.name
    assert all(f"${{{name}}}" in text for name in MINE)
    assert not [value for value in MINE.values() if value in text]
    services = json.loads(text.partition("\n")[2])["services"]
    assert services.keys() == {n for n in DOCUMENT["services"] if n.startswith("airflow-")}
    compose_file.write_airflow_variables(extend(""))
    assert not path.exists()


def test_workers_of_the_override_file_get_the_variables(extend):
    override = extend.root / "orchestration/docker-compose.override.yaml"
    override.write_text("services: {airflow-worker-gpu: {extends: {service: airflow-worker}}}")
    compose_file.write_airflow_variables(extend(LINES))
    text = (extend.root / "orchestration" / airflow_variables.FILE).read_text()
    assert json.loads(text.partition("\n")[2])["services"]["airflow-worker-gpu"]


def test_shell_overrides_a_variable_of_the_file_only(extend):
    settings = extend("AIRFLOW_VAR_A=1\n", AIRFLOW_VAR_A="2", AIRFLOW_VAR_B="3")
    assert settings["AIRFLOW_VAR_A"] == "2"
    assert settings.airflow_variables == ("AIRFLOW_VAR_A",)


def test_values_of_connections_are_secret(extend):
    assert MINE["AIRFLOW_CONN_WAREHOUSE"] in extend(LINES).secret_values()


def test_options_of_celery_need_docker(extend):
    option = "AIRFLOW__CELERY__TASK_TRACK_STARTED=False\n"
    extend(option).refuse_unsafe()
    with pytest.raises(StackError, match="TASK_TRACK_STARTED has no effect: without Docker"):
        extend(option, STACK_ENGINE="standalone").refuse_unsafe()


def test_references_name_the_variable_alone(extend):
    references = compose_file.references(extend(LINES))
    assert references["AIRFLOW_VAR_REGION"] == {"AIRFLOW_VAR_REGION"}


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW__MY_PLUGIN__ADDRESS",
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__HEALTH_CHECK_INTERVAL",
        "AIRFLOW__SMTP__SMTP_HOST_SECRET",
        "AIRFLOW__WEBSERVER__PAGE_SIZE",
    ],
)
def test_options_of_plugins_and_deprecated_ones_are_passed_on(extend, name):
    assert name in airflow_variables.names(extend(f"{name}=9\n").values)
