"""Every generated secret, looked for where it must not be; docs/security.md says where it may."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from orchestration.engines.standalone.environment import PG_BIN
from orchestration.settings.model import SECRETS
from tests.e2e import arguments, doors, evidence
from tests.e2e.searching import Hunt

VERBS = (
    ("inv", "up", "--no-proof"),
    ("inv", "trigger", "canary", "--wait"),
    ("inv", "health", "--json", "--deep"),
    ("inv", "doctor", "--json"),
    ("inv", "logs", "--tail", "2000"),
    ("inv", "backup"),
    ("inv", "clean", "--dry-run"),
)
OF_TASKS = {
    "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_WEB_SECRET_KEY", "AIRFLOW_DB_PASSWORD",
    "REDIS_PASSWORD", "MLFLOW_WORKER_PASSWORD",
}  # fmt: skip
FIRST_ACCOUNT = "_AIRFLOW_WWW_USER_PASSWORD"
# What is in the environment of each container, where root of this machine sees it: no more.
HELD = {
    "postgres": {"POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD"},
    "redis": {"REDIS_PASSWORD", "STATUS_PASSWORD"},
    "airflow-init": OF_TASKS | {FIRST_ACCOUNT, "POSTGRES_PASSWORD", "STATUS_PASSWORD"},
    "airflow-apiserver": OF_TASKS,
    "airflow-scheduler": OF_TASKS,
    "airflow-dag-processor": OF_TASKS,
    "airflow-triggerer": OF_TASKS,
    "airflow-worker": OF_TASKS,
    "mlflow-migrate": {
        "MLFLOW_DB_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_WORKER_PASSWORD",
        "POSTGRES_PASSWORD", "STATUS_PASSWORD",
    },
    "mlflow": {
        "MLFLOW_DB_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_WEB_SECRET_KEY", "STATUS_PASSWORD",
    },
    "status": {"STATUS_PASSWORD"},
}  # fmt: skip
# Of pages and what they ask, which the description of the API leaves out.
UNTOLD = ("/", "/ui/config", "/ui/auth/menus", "/ui/connections/hook_meta", "/ui/dependencies")
# One for each image, read to its last file; of the others what is not packages.
WHOLE = ("postgres", "redis", "airflow-scheduler", "mlflow", "status")
KERNEL = ("proc", "sys", "dev")


@pytest.fixture(scope="module")
def secrets(stack):
    found = {name: stack.setting(name) for name in SECRETS}
    assert all(len(value) >= 20 for value in found.values())
    return found


@pytest.fixture(scope="module")
def hunt(secrets):
    return Hunt(secrets)


@pytest.fixture(scope="module")
def worked(stack):
    """What verbs printed, by verb, and every argument list that was seen meanwhile."""
    # Airflow 3.0.1 had its signing key logged for it.
    wrong = {"Authorization": "Bearer x"}
    task = f"{stack.url('AIRFLOW_PORT')}/execution/variables/x"
    assert requests.get(task, headers=wrong, timeout=60).status_code == 403
    with arguments.seen() as seen:
        done = {argv: stack.run(*argv) for argv in VERBS}
    return {" ".join(argv): one.stdout + one.stderr for argv, one in done.items()}, seen


@pytest.fixture(scope="module")
def containers(stack, engine):
    """What Docker tells of each container, by service."""
    if engine != "docker":
        pytest.skip("there are no containers")
    names = stack.containers("--all", "--quiet").split()
    told = json.loads(stack.well("docker", "inspect", *names))
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in told}


def test_the_search_finds_what_is_there(hunt, secrets, stack, tmp_path):
    """Each form of each secret, in a file and in a text; .env itself is the last proof."""
    for number, form in enumerate(hunt.names):
        (tmp_path / str(number)).write_bytes(b"\0before" + form.encode() + b"after\n")
    assert len(hunt.below(tmp_path)) == len(hunt.names)
    named = {line.rpartition(" ")[2] for line in hunt.below(stack.folder / ".env")}
    assert named == set(secrets)


def test_no_verb_prints_one(hunt, worked):
    printed, _ = worked
    assert not set().union(*(hunt.in_text(verb, text) for verb, text in printed.items()))


def test_no_process_shows_one_in_its_arguments_or_its_title(hunt, worked, stack):
    _, seen = worked
    # Of the first start, and of what has been done here.
    assert {"trigger", "backup"} <= {word for line in seen for word in line.split("\0")}
    assert any("up" in line.split("\0") for line in stack.arguments)
    assert not hunt.in_text("arguments", "\n".join({*seen, *stack.arguments}))


def test_the_clone_holds_them_in_its_env_file_alone(hunt, worked, stack):
    """Task logs, backups, and without Docker everything else of a person's own stack."""
    assert {line.partition(":")[0] for line in hunt.below(stack.folder, leaving=["envs"])} == {
        str(stack.folder / ".env")
    }
    assert (stack.folder / ".env").stat().st_mode & 0o777 == 0o600


def test_git_would_keep_none(hunt, stack, tmp_path):
    git = ["git", f"--git-dir={tmp_path}/git", f"--work-tree={stack.folder}"]
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "git"], check=True)
    subprocess.run([*git, "-c", "core.bare=false", "add", "--all"], check=True, cwd=stack.folder)
    listed = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True).stdout
    assert "orchestration/docker-compose.yaml" in listed.splitlines()
    assert ".env" not in listed.splitlines()
    assert not hunt.in_output("git", *git, "cat-file", "--batch-all-objects", "--batch")


def test_neither_logs_nor_files_of_the_standalone_engine_hold_one(hunt, worked, stack, engine):
    if engine == "docker":
        pytest.skip("there are containers")
    assert (stack.state_folder() / "logs/supervisord.log").exists()
    assert not hunt.below(stack.state_folder(), leaving=["envs"])
    for process in stack.processes():
        assert Path(f"/proc/{process.pid}/environ").stat().st_mode & 0o077 == 0


def test_containers_log_none(hunt, worked, containers):
    found = [hunt.in_output(name, "docker", "logs", one["Id"]) for name, one in containers.items()]
    assert not set().union(*found)


def test_a_container_is_given_those_that_it_needs(secrets, containers):
    assert set(containers) == set(HELD)
    for service, told in containers.items():
        given = "\n".join(told["Config"]["Env"])
        # Those that a part of the stack does not have yet are looked for as soon as it has.
        expected = HELD[service] & set(secrets)
        assert {name for name in secrets if secrets[name] in given} == expected, service


def test_docker_tells_none_but_in_the_environment(hunt, containers):
    for service, told in containers.items():
        told["Config"].pop("Env")
        assert not hunt.in_text(service, json.dumps(told))


def test_images_and_what_made_them_hold_none(hunt, containers):
    for image in {one["Image"] for one in containers.values()}:
        assert not hunt.in_output(image, "docker", "image", "inspect", image)
        assert not hunt.in_output(image, "docker", "history", "--no-trunc", image)


@pytest.mark.parametrize("service", sorted(set(HELD) - {"airflow-init", "mlflow-migrate"}))
def test_no_file_in_a_container_or_its_volumes_holds_one(hunt, worked, containers, service):
    if service in WHOLE:
        found = hunt.in_container(containers[service]["Id"], "/", leaving=KERNEL)
    else:
        paths = ("/etc", "/home", "/opt", "/tmp", "/var", "/run")
        found = hunt.in_container(containers[service]["Id"], *paths, leaving=[".local"])
    assert not found


def test_the_databases_hold_hashes_alone(hunt, stack, engine):
    """So no dump of a backup can hold more, whatever it is compressed with."""
    if engine == "docker":
        asked = 'PGPASSWORD="$POSTGRES_PASSWORD" exec pg_dumpall -h 127.0.0.1 -U postgres'
        argv = ["docker", "exec", stack.container("postgres"), "bash", "-c", asked]
        assert not hunt.in_output("pg_dumpall", *argv)
        return
    state = stack.state_folder()
    argv = [f"{state / PG_BIN}/pg_dumpall", "-h", f"{state}/sockets", "-U", "postgres"]
    given = {**os.environ, "PGPASSWORD": stack.setting("POSTGRES_PASSWORD")}
    assert not hunt.in_output("pg_dumpall", *argv, env=given)


def test_the_evidence_of_a_failed_test_holds_none(hunt, stack, engine, tmp_path):
    folder = evidence.leave(tmp_path / "kept", engine, "made up", [stack])
    assert len(list(folder.rglob("*.log"))) >= 7
    assert not hunt.below(folder)


def test_the_status_page_tells_none(hunt, stack):
    for path in ("/", "/status.json", "/metrics"):
        text = requests.get(stack.url("STATUS_PORT") + path, timeout=30).text
        assert not hunt.in_text(path, text)


def test_airflow_tells_none_even_to_its_administrator(hunt, stack):
    """By every address that needs no name: configuration, variables, connections, logs, pages."""
    base, session = stack.url("AIRFLOW_PORT"), stack.session()
    paths = session.get(f"{base}/openapi.json", timeout=30).json()["paths"]
    named = [path for path in paths if "get" in paths[path] and "{" not in path]
    assert {"/api/v2/config", "/api/v2/variables", "/api/v2/connections"} <= set(named)
    asked = [(path, "GET") for path in (*UNTOLD, *named)]
    found = [hunt.in_text(p, answer.text) for p, _, answer in doors.answers(base, asked, session)]
    assert not set().union(*found)
    assert session.get(f"{base}/api/v2/config", timeout=30).status_code == 403
