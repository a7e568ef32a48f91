"""Search for every generated secret outside the places that docs/security.md lists."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from orchestration.engines.standalone.environment import PG_BIN
from orchestration.settings.model import SECRETS
from tests.e2e import access, arguments, evidence
from tests.e2e.secret_search import SecretSearch

COMMANDS = (
    ("inv", "up", "--no-proof"),
    ("inv", "trigger", "canary", "--wait"),
    ("inv", "health", "--json", "--deep"),
    ("inv", "doctor", "--json"),
    ("inv", "logs", "--tail", "2000"),
    ("inv", "backup"),
    ("inv", "clean", "--dry-run"),
)
TASK_SECRETS = {
    "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_WEB_SECRET_KEY", "AIRFLOW_DB_PASSWORD",
    "REDIS_PASSWORD", "MLFLOW_WORKER_PASSWORD",
}  # fmt: skip
FIRST_ACCOUNT = "_AIRFLOW_WWW_USER_PASSWORD"
# The secrets in each container's environment, which root of this machine can read.
ENVIRONMENTS = {
    "postgres": {"POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD"},
    "redis": {"REDIS_PASSWORD", "STATUS_PASSWORD"},
    "airflow-init": TASK_SECRETS | {FIRST_ACCOUNT, "POSTGRES_PASSWORD", "STATUS_PASSWORD"},
    "airflow-apiserver": TASK_SECRETS,
    "airflow-scheduler": TASK_SECRETS,
    "airflow-dag-processor": TASK_SECRETS,
    "airflow-triggerer": TASK_SECRETS,
    "airflow-worker": TASK_SECRETS,
    "mlflow-migrate": {
        "MLFLOW_DB_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_WORKER_PASSWORD",
        "POSTGRES_PASSWORD", "STATUS_PASSWORD",
    },
    "mlflow": {
        "MLFLOW_DB_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_WEB_SECRET_KEY", "STATUS_PASSWORD",
    },
    "status": {"STATUS_PASSWORD"},
}  # fmt: skip
# Routes of the pages, which the API documentation lacks.
UNDOCUMENTED = (
    "/",
    "/ui/config",
    "/ui/auth/menus",
    "/ui/connections/hook_meta",
    "/ui/dependencies",
)
# One service of each image, whose files are all searched. In the others, packages are skipped.
ALL_FILES = ("postgres", "redis", "airflow-scheduler", "mlflow", "status")
KERNEL = ("proc", "sys", "dev")


@pytest.fixture(scope="module")
def secrets(stack):
    values = {name: stack.setting(name) for name in SECRETS}
    assert all(len(value) >= 20 for value in values.values())
    return values


@pytest.fixture(scope="module")
def search(secrets):
    return SecretSearch(secrets)


@pytest.fixture(scope="module")
def activity(stack):
    """Run commands. Return the output of each, and the command lines of all processes meanwhile."""
    # Airflow 3.0.1 logged its signing key when it refused such a token.
    invalid = {"Authorization": "Bearer x"}
    url = f"{stack.url('AIRFLOW_PORT')}/execution/variables/x"
    assert requests.get(url, headers=invalid, timeout=60).status_code == 403
    with arguments.record() as command_lines:
        done = {" ".join(argv): stack.run(*argv) for argv in COMMANDS}
    return {name: run.stdout + run.stderr for name, run in done.items()}, command_lines


@pytest.fixture(scope="module")
def containers(stack, engine):
    """Return the output of `docker inspect` for each container, by service."""
    if engine != "docker":
        pytest.skip("The standalone engine has no containers.")
    ids = stack.containers("--all", "--quiet").split()
    details = json.loads(stack.run_ok("docker", "inspect", *ids))
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in details}


def test_search_finds_each_form_of_each_secret(search, secrets, stack, tmp_path):
    for number, form in enumerate(search.names):
        (tmp_path / str(number)).write_bytes(b"\0before" + form.encode() + b"after\n")
    assert len(search.in_files(tmp_path)) == len(search.names)
    names = {line.rpartition(" ")[2] for line in search.in_files(stack.folder / ".env")}
    assert names == set(secrets)


def test_output_of_commands_has_no_secret(search, activity):
    outputs, _ = activity
    assert not set().union(*(search.in_text(name, text) for name, text in outputs.items()))


def test_process_arguments_and_titles_have_no_secret(search, activity, stack):
    _, command_lines = activity
    # Both the first start and the commands of this file were recorded.
    assert {"trigger", "backup"} <= {word for line in command_lines for word in line.split("\0")}
    assert any("up" in line.split("\0") for line in stack.arguments)
    assert not search.in_text("arguments", "\n".join({*command_lines, *stack.arguments}))


def test_clone_has_secrets_only_in_env_file(search, activity, stack):
    """The clone contains task logs and backups, and all data of a user's standalone stack."""
    assert {line.partition(":")[0] for line in search.in_files(stack.folder, exclude=["envs"])} == {
        str(stack.folder / ".env")
    }
    assert (stack.folder / ".env").stat().st_mode & 0o777 == 0o600


def test_files_tracked_by_git_have_no_secret(search, stack, tmp_path):
    git = ["git", f"--git-dir={tmp_path}/git", f"--work-tree={stack.folder}"]
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "git"], check=True)
    subprocess.run([*git, "-c", "core.bare=false", "add", "--all"], check=True, cwd=stack.folder)
    files = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True).stdout
    assert "orchestration/docker-compose.yaml" in files.splitlines()
    assert ".env" not in files.splitlines()
    assert not search.in_output("git", *git, "cat-file", "--batch-all-objects", "--batch")


def test_standalone_files_have_no_secret(search, activity, stack, engine):
    if engine == "docker":
        pytest.skip("This test is for the standalone engine.")
    assert (stack.state_folder() / "logs/supervisord.log").exists()
    assert not search.in_files(stack.state_folder(), exclude=["envs"])
    for process in stack.processes():
        assert Path(f"/proc/{process.pid}/environ").stat().st_mode & 0o077 == 0


def test_container_logs_have_no_secret(search, activity, containers):
    ids = {service: details["Id"] for service, details in containers.items()}
    matches = [search.in_output(service, "docker", "logs", ids[service]) for service in ids]
    assert not set().union(*matches)


def test_container_environment_has_only_needed_secrets(secrets, containers):
    assert set(containers) == set(ENVIRONMENTS)
    for service, details in containers.items():
        environment = "\n".join(details["Config"]["Env"])
        # Skip names that are not among this stack's generated secrets.
        expected = ENVIRONMENTS[service] & set(secrets)
        assert {name for name in secrets if secrets[name] in environment} == expected, service


def test_docker_inspect_has_secrets_only_in_environment(search, containers):
    for service, details in containers.items():
        details["Config"].pop("Env")
        assert not search.in_text(service, json.dumps(details))


def test_images_and_their_history_have_no_secret(search, containers):
    for image in {details["Image"] for details in containers.values()}:
        assert not search.in_output(image, "docker", "image", "inspect", image)
        assert not search.in_output(image, "docker", "history", "--no-trunc", image)


@pytest.mark.parametrize("service", sorted(set(ENVIRONMENTS) - {"airflow-init", "mlflow-migrate"}))
def test_container_files_and_volumes_have_no_secret(search, activity, containers, service):
    if service in ALL_FILES:
        matches = search.in_container(containers[service]["Id"], "/", exclude=KERNEL)
    else:
        paths = ("/etc", "/home", "/opt", "/tmp", "/var", "/run")
        matches = search.in_container(containers[service]["Id"], *paths, exclude=[".local"])
    assert not matches


def test_database_dump_has_no_secret(search, stack, engine):
    """Backups contain the same dump, but compressed, so that they cannot be searched."""
    if engine == "docker":
        command = 'PGPASSWORD="$POSTGRES_PASSWORD" exec pg_dumpall -h 127.0.0.1 -U postgres'
        argv = ["docker", "exec", stack.container("postgres"), "bash", "-c", command]
        assert not search.in_output("pg_dumpall", *argv)
        return
    state = stack.state_folder()
    argv = [f"{state / PG_BIN}/pg_dumpall", "-h", f"{state}/sockets", "-U", "postgres"]
    environment = {**os.environ, "PGPASSWORD": stack.setting("POSTGRES_PASSWORD")}
    assert not search.in_output("pg_dumpall", *argv, env=environment)


def test_evidence_of_failed_test_has_no_secret(search, stack, engine, tmp_path):
    folder = evidence.collect(tmp_path / "kept", engine, "made up", [stack])
    assert len(list(folder.rglob("*.log"))) >= 7
    assert not search.in_files(folder)


def test_status_page_has_no_secret(search, stack):
    for path in ("/", "/status.json", "/metrics"):
        text = requests.get(stack.url("STATUS_PORT") + path, timeout=30).text
        assert not search.in_text(path, text)


def test_airflow_shows_administrator_no_secret(search, stack):
    """Request every route without parameters: configuration, variables, connections, logs."""
    base, session = stack.url("AIRFLOW_PORT"), stack.session()
    paths = session.get(f"{base}/openapi.json", timeout=30).json()["paths"]
    documented = [path for path in paths if "get" in paths[path] and "{" not in path]
    assert {"/api/v2/config", "/api/v2/variables", "/api/v2/connections"} <= set(documented)
    routes = [(path, "GET") for path in (*UNDOCUMENTED, *documented)]
    responses = access.responses(base, routes, session)
    matches = [search.in_text(path, response.text) for path, _, response in responses]
    assert not set().union(*matches)
    assert session.get(f"{base}/api/v2/config", timeout=30).status_code == 403
