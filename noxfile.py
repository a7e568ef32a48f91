"""The checks. `nox -l` is the menu; `nox` alone runs what makes a change safe to push."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "dag_lint", "tests", "docs", "smoke"]
nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False

SHELL = [str(path) for name in ("install", "orchestration") for path in Path(name).rglob("*.sh")]
DOCKERFILES = [str(path) for path in sorted(Path("install").rglob("*.dockerfile"))]
NO_DOCKER = "no Docker engine answers: ./install/1st_run_install.sh --with-docker nox"
AIRFLOW_LOCKS = ["install/airflow.lock", "install/requirements.lock"]


def airflow_environment(session: nox.Session) -> None:
    """Airflow as the image holds it, in this session's own environment, from the same locks."""
    session.install("--require-hashes", *[f"-r{lock}" for lock in AIRFLOW_LOCKS])


def docker_answers(session: nox.Session) -> bool:
    """Whether a Docker engine answers; in CI one that does not is a failure."""
    answers = (
        shutil.which("docker")
        and not subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    )
    if not answers and os.environ.get("CI"):
        session.error(NO_DOCKER)
    return bool(answers)


def engine_at_hand(session: nox.Session) -> str:
    """Docker where it answers, else standalone."""
    return "docker" if docker_answers(session) else "standalone"


@nox.session
def lint(session: nox.Session) -> None:
    """Python, shell, Dockerfiles, YAML and the compose file."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("shellcheck", *SHELL)
    session.run("hadolint", "--config", "install/hadolint.yaml", *DOCKERFILES)
    session.run("yamllint", "--strict", "-c", "install/yamllint.yaml", "orchestration", "install")


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def dag_lint(session: nox.Session) -> None:
    """DAG files: Airflow's lint rules, then each parsed by real Airflow (folders as arguments)."""
    folders = session.posargs or ["dags"]
    session.run("ruff", "check", "--preview", "--select=AIR", "--ignore=AIR321", *folders)
    airflow_environment(session)
    for folder in folders:
        session.run("python", "orchestration/config/parse_dags.py", folder)


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Unit tests; no Docker, no network beyond this machine."""
    # By the interpreter that runs nox: the session's own environment has a pytest too.
    ours = ["tests/orchestration", "tests/status"]
    at_once = ["-n", "logical"]
    session.run(sys.executable, "-m", "pytest", *at_once, *ours, *session.posargs, external=True)
    airflow_environment(session)
    session.install("--require-hashes", "-rinstall/pytest.lock")
    # By file: what a file prepares once is dear here.
    at_once += ["--dist", "loadfile"]
    session.run("python", "-m", "pytest", *at_once, "tests/ml", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """What README, CONTRIBUTING and the readmes say against the code."""
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def image_imports(session: nox.Session) -> None:
    """In the built Airflow image, without network: DAGs import, packages agree, versions match."""
    if not docker_answers(session):
        session.skip(NO_DOCKER)
    session.run("pytest", "tests/image", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """The real stack from a fresh copy of this repository, on the engine at hand."""
    run_smoke(session, engine_at_hand(session))


@nox.session
def smoke_standalone(session: nox.Session) -> None:
    """The same without Docker, even where an engine answers; as root also as a normal user."""
    run_smoke(session, "standalone")


@nox.session
def backfill(session: nox.Session) -> None:
    """By hand: the pipelines through all of 2013 (`-- standalone`, `-- --keep docs`)."""
    asked = [word for word in session.posargs if word in ("docker", "standalone")]
    engine = asked[0] if asked else engine_at_hand(session)
    run_in_order(session, engine, ["test_backfill"])


def run_smoke(session: nox.Session, engine: str) -> None:
    """The tests of a first day, then what only this engine has, in their order."""
    last = ["test_normal_user"] * (engine == "standalone")
    names = ["test_both", "test_pipelines", "test_changes", f"test_{engine}", *last]
    run_in_order(session, engine, names)


def run_in_order(session: nox.Session, engine: str, names: list[str]) -> None:
    """Run files of tests/smoke as they stand, on an engine."""
    paths = [f"tests/smoke/{name}.py" for name in names]
    told = ["-p", "no:randomly", "--durations=12", f"--engine={engine}"]
    more = [word for word in session.posargs if word not in ("docker", "standalone")]
    session.run("pytest", *told, *paths, *more)
