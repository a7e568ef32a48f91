"""What runs compared with what .env says: by name, never by value."""

import shutil

import pytest

from orchestration.doctor import config_drift
from orchestration.doctor.config_drift import EXECUTION_URL
from orchestration.settings import compose_file

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


@pytest.fixture
def look(make_settings, clone, engine, repo):
    """Compare a stack in which some services were started with something else, or would be."""
    shutil.copy(repo / "orchestration/docker-compose.yaml", clone / "orchestration")

    def look(held=(), meant=(), **chosen):
        for services, changes in ((engine.held_by, held), (engine.meant_for, meant)):
            services |= {name: {**STACK[name], **dict(changes).get(name, {})} for name in STACK}
            for name, variables in services.items():
                services[name] = {key: v for key, v in variables.items() if v is not None}
        found = list(config_drift.findings(make_settings(**chosen), engine, list(STACK)))
        assert SECRET not in str(found)
        assert OTHER not in str(found)
        return found

    return look


def test_a_stack_that_runs_with_what_env_says_has_nothing(look):
    assert look() == []


def test_one_of_which_nothing_can_be_told_has_nothing(make_settings, engine):
    assert list(config_drift.findings(make_settings(), engine, ["mlflow"])) == []


@pytest.mark.parametrize(("variable", "name", "harm"), config_drift.SHARED)
@pytest.mark.parametrize("value", [OTHER, None])
def test_a_key_that_one_service_does_not_share_is_told_with_the_odd_one(
    look, variable, name, harm, value
):
    [found] = look(held={"airflow-worker": {variable: value}})
    assert (found.code, found.where, found.fix) == (name, "airflow-worker", "inv up")
    assert variable in found.cause
    assert harm in found.cause


def test_a_key_that_an_override_sets_apart_is_not_mended_by_up(look):
    apart = {"airflow-scheduler": {JWT: OTHER}}
    [found] = look(held=apart, meant=apart)
    assert (found.code, found.where) == ("jwt-secret-differs", "airflow-scheduler")
    assert found.fix == f"Remove {JWT} from {config_drift.OVERRIDE}, then run: inv up"


def test_an_execution_url_that_is_not_the_api_servers_is_told(look):
    [found] = look(held={"airflow-worker": {EXECUTION_URL: "http://localhost:8080/execution/"}})
    assert (found.code, found.where, found.fix) == ("execution-api-url", "airflow-worker", "inv up")


def test_an_execution_url_of_an_override_is_to_be_taken_out(look):
    wrong = {"airflow-worker": {EXECUTION_URL: "http://localhost:8080/"}}
    [found] = look(held=wrong, meant=wrong)
    assert found.fix == f"Remove {EXECUTION_URL} from {config_drift.OVERRIDE}, then run: inv up"


def test_an_execution_url_that_moved_with_the_api_server_is_not_wrong(look):
    """Without containers it holds the port, which may have been changed and not applied yet."""
    moved = {
        "airflow-scheduler": {EXECUTION_URL: "http://127.0.0.1:8090/execution/"},
        "airflow-worker": {EXECUTION_URL: "http://127.0.0.1:8090/execution/"},
        "airflow-apiserver": {EXECUTION_URL: "http://127.0.0.1:8090/execution/"},
        "status": {"AIRFLOW_URL": "http://127.0.0.1:8090", "AIRFLOW_PORT": "8090"},
    }
    [found] = look(held=moved)
    assert found.code == "settings-not-applied"
    assert found.cause.endswith(": AIRFLOW_PORT.")


@pytest.mark.parametrize(
    ("changes", "setting", "where"),
    [
        (
            {name: {JWT: OTHER} for name in STACK if name.startswith("airflow-")},
            "AIRFLOW_JWT_SECRET",
            "airflow-apiserver, airflow-scheduler, airflow-worker",
        ),
        # It stands in links beside BIND_ADDRESS, which other variables show to be as it was.
        (
            {"status": {"AIRFLOW_PORT": "8090"}, "airflow-worker": {
                "AIRFLOW_PUBLIC_URL": "http://127.0.0.1:8090"}},
            "AIRFLOW_PORT",
            "airflow-worker, status",
        ),
        ({"status": {"port 8081/tcp": "127.0.0.1:9081"}}, "STATUS_PORT", "status"),
        ({"airflow-worker": {"user": "0:0"}}, "AIRFLOW_UID", "airflow-worker"),
        # No setting stands behind it: the compose file or its override was edited.
        ({"airflow-worker": {"user": None, "MINE": "1"}}, "MINE", "airflow-worker"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_applied_is_told_by_its_name(look, changes, setting, where):
    unused = {"airflow-worker": {"user": None}} if setting == "MINE" else {}
    [found] = look(meant=changes, held=unused)
    assert (found.code, found.fix, found.where) == ("settings-not-applied", "inv up", where)
    assert found.cause == f"The running services do not use the current value of: {setting}."


def test_what_the_image_alone_sets_does_not_count(look):
    assert look(held={"mlflow": {"PATH": "/usr/bin", "LANG": "C.UTF-8"}}) == []


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        (FERNET, OTHER, "AIRFLOW_FERNET_KEY"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", OTHER, "AIRFLOW_DB_PASSWORD"),
    ],
)
def test_a_key_of_the_data_is_not_to_be_applied(look, variable, value, setting):
    edited = {name: {variable: value} for name in STACK if name.startswith("airflow-")}
    [found] = look(meant=edited)
    assert found.code == "data-key-edited"
    assert setting in found.cause
    assert found.fix.startswith(f"Put the previous {setting} back in .env")


def test_a_fernet_key_that_was_put_before_the_old_one_is_to_be_applied(look):
    added = {name: {FERNET: f"{OTHER},{SECRET}"} for name in STACK if name.startswith("airflow-")}
    [found] = look(meant=added)
    assert found.code == "settings-not-applied"
    assert found.cause.endswith(": AIRFLOW_FERNET_KEY.")


def test_references_are_read_from_the_compose_file(make_settings, clone, repo):
    shutil.copy(repo / "orchestration/docker-compose.yaml", clone / "orchestration")
    behind = compose_file.references(make_settings())
    assert behind[JWT] == {"AIRFLOW_JWT_SECRET"}
    assert behind["AIRFLOW__CELERY__BROKER_URL"] == {"REDIS_PASSWORD"}
    assert behind["port 8080/tcp"] == {"BIND_ADDRESS", "AIRFLOW_PORT"}
    assert behind["user"] == {"AIRFLOW_UID"}
    assert EXECUTION_URL not in behind


def test_with_tls_its_own_settings_stand_behind_links(make_settings, clone, repo):
    for name in ("docker-compose.yaml", "docker-compose.tls.yaml"):
        shutil.copy(repo / "orchestration" / name, clone / "orchestration")
    behind = compose_file.references(make_settings(TLS="on"))
    assert {"PUBLIC_HOST", "TLS", "AIRFLOW_PORT"} <= behind["AIRFLOW_PUBLIC_URL"]
    assert "PUBLIC_HOST" not in compose_file.references(make_settings())["AIRFLOW_PUBLIC_URL"]


def test_with_logs_in_a_bucket_its_setting_stands_behind_keys_that_airflow_gets(
    make_settings, clone, repo
):
    for name in ("docker-compose.yaml", "docker-compose.s3.yaml", "docker-compose.logs.yaml"):
        shutil.copy(repo / "orchestration" / name, clone / "orchestration")
    behind = compose_file.references(make_settings(AIRFLOW_LOGS_DESTINATION="s3://logs/of"))
    assert behind["AWS_PROFILE"] == {"AWS_PROFILE", "AIRFLOW_LOGS_DESTINATION"}


def test_logs_in_a_bucket_that_are_not_applied_are_one_setting_and_not_all_of_its_keys(
    look, clone, repo
):
    for name in ("docker-compose.s3.yaml", "docker-compose.logs.yaml"):
        shutil.copy(repo / "orchestration" / name, clone / "orchestration")
    names = [name for name in STACK if name.startswith("airflow-")]
    before = {name: {"AIRFLOW_LOGS_DESTINATION": ""} for name in names}
    after = {name: {"AIRFLOW_LOGS_DESTINATION": "s3://logs/of"} for name in names}
    after["airflow-worker"] |= {"AWS_ACCESS_KEY_ID": "key", "AWS_PROFILE": ""}
    [found] = look(before, after, AIRFLOW_LOGS_DESTINATION="s3://logs/of")
    assert found.cause.endswith(": AIRFLOW_LOGS_DESTINATION.")
