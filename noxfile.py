"""The checks. `nox -l` is the menu; `nox` alone runs what makes a change safe to push."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "dag_lint", "tests", "tests_ml", "docs", "smoke"]
nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False

SHELL = [str(path) for name in ("install", "orchestration") for path in Path(name).rglob("*.sh")]
SHELL += [".ci/run"]
YAML = ["orchestration", "install", "checks", ".github", ".pre-commit-config.yaml"]
COMPOSE_RULES = [
    "--config=checks/compose-lint.yaml", "--strict-config", "--fail-on=low", "--skip-suppressed",
    "--no-merge-overrides", "--no-env", "--quiet",
]  # fmt: skip
COMPOSE = [f"orchestration/docker-compose{of}.yaml" for of in ("", ".tls", ".s3", ".logs")]
NO_COMPOSE = "no Compose v2 is here: ./install/1st_run_install.sh --with-docker nox -s lint"
DOCKERFILES = [str(path) for path in sorted(Path("install").rglob("*.dockerfile"))]
DOCKERFILES += [".devcontainer/devcontainer.dockerfile"]
UNITS = [str(path) for path in sorted(Path("orchestration/systemd").iterdir())]
# `git grep` lists the tracked files, without links and files that were deleted.
LEAKS = "git grep -lzI '' | xargs -0 -n 64 -P 4 detect-secrets-hook --no-verify"
# What `nox -s lint`, the hook before a commit and CI run; `nox -s lint -- links` runs one.
LINT = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    # dags/ is on the path in the services alone.
    "layers": ["env", "PYTHONPATH=dags:orchestration/config", "lint-imports", "--no-cache"],
    "shellcheck": ["shellcheck", *SHELL],
    "hadolint": ["hadolint", "--config", "checks/hadolint.yaml", *DOCKERFILES],
    "yamllint": ["yamllint", "--strict", "-c", "checks/yamllint.yaml", *YAML],
    "compose-file": [],  # compose_file() below.
    "compose-lint": ["compose-lint", *COMPOSE_RULES, COMPOSE[0]],
    # Without the option systemd reports a misspelt key and exits with 0.
    "unit-files": ["systemd-analyze", "verify", "--recursive-errors=no", *UNITS],
    "links": ["python", "-m", "checks.links"],
    "leaks": ["bash", "-o", "pipefail", "-c", LEAKS],
}
NO_DOCKER = "no Docker engine answers: ./install/1st_run_install.sh --with-docker nox"
# The library is for the browser's driver.
CHROMIUM = ["--no-install-recommends", "chromium", "libatomic1"]
NO_CHROMIUM = f"no chromium is found: sudo apt-get install {' '.join(CHROMIUM)}"
AIRFLOW = Path(".nox/airflow")
AIRFLOW_LOCKS = ["install/airflow.lock", "install/requirements.lock"]
# Files of tests/e2e in the order in which they share one stack.
SMOKE = ["test_first_day"]
# What nobody may open, and what must be nowhere.
DOORS = ["test_doors", "test_doors_data", "test_doors_airflow", "test_doors_mlflow"]
DOORS += ["test_secrets_stay"]
STORIES = [*SMOKE, "test_second_day", *DOORS, "test_pipelines", "test_neighbours", "test_changes"]
# What `stories_standalone` leaves out: pipelines and routes are the same on both engines.
THE_SAME = ["test_pipelines", "test_neighbours", "test_doors_airflow", "test_doors_mlflow"]
# Slices of an afternoon; without Docker the first.
FAULTS = {"kills": "test_faults", "freezes": "test_frozen", "floods": "test_floods"}
FAULTS |= {"small": "test_small_machine"}
# Versions of Airflow besides the pinned one, and the day as of which they are resolved.
OTHER_VERSIONS = ("3.0.6", "3.3.2")
OTHER_VERSIONS_AS_OF = ("--exclude-newer=2026-11-29T00:00:00Z", "--python-version=3.11")
# The shortest of them, which every landing passes.
SHORT = ["test_faults::test_only_the_task_is_killed", "test_faults::test_the_scheduler_is_killed"]
ONLY_ON = {
    "docker": ["test_docker", "test_containers_inside", *SHORT],
    "standalone": ["test_standalone", "test_normal_user"],
}


def text(path: str) -> str:
    """A file's text."""
    return Path(path).read_text(encoding="utf-8")


def airflow_environment(session: nox.Session) -> Path:
    """Airflow as the image holds it, from the same locks; made once for all sessions."""
    locked, stamp = "".join(map(text, AIRFLOW_LOCKS)), AIRFLOW / "made-from"
    # Asking uv each time would take longer than a changed DAG.
    if not stamp.exists() or stamp.read_text() != locked:
        session.run("uv", "venv", "--quiet", "--clear", "--python=3.11", str(AIRFLOW))
        made = ["--quiet", f"--python={AIRFLOW}", "--require-hashes"]
        session.run("uv", "pip", "sync", *made, *AIRFLOW_LOCKS)
        stamp.write_text(locked)
    return AIRFLOW


def docker_answers(session: nox.Session) -> bool:
    """Whether a Docker engine answers; in CI one that does not is a failure."""
    answers = (
        shutil.which("docker")
        and not subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    )
    if not answers and os.environ.get("CI"):
        session.error(NO_DOCKER)
    return bool(answers)


def compose_file(session: nox.Session) -> None:
    """Let Compose read its files, with nothing set but what `.env.example` names."""
    if not (compose := compose_command()):
        session.log(f"compose-file: not checked: {NO_COMPOSE}")
        if os.environ.get("CI"):
            raise CommandFailed(NO_COMPOSE)
        return
    # What `inv install` would fill; "512m" is valid as a name, a password and a size.
    blank = re.findall(r"^(\w+)=(?:auto)?$", text(".env.example"), re.MULTILINE)
    required = re.findall(r"\$\{(\w+):\?", "".join(map(text, COMPOSE)))
    environment = dict.fromkeys({*blank} & {*required}, "512m")
    environment |= {
        name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ
    }
    stack, tls, s3, logs = ([f"--file={file}"] for file in COMPOSE)
    tls += ["--profile=tls"]
    for files in (stack, stack + tls, stack + s3, stack + tls + s3 + logs):
        argv = [*compose, "--env-file=.env.example", *files, "config", "--quiet"]
        # Compose only warns of a variable that is not set.
        if warning := session.run(*argv, env=environment, include_outer_env=False, silent=True):
            session.log(warning)
            raise CommandFailed(warning)


def compose_command() -> list[str]:
    """How Compose v2 is called on this machine; empty where it is missing."""
    for argv in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(argv[0]):
            version = [*argv, "version", "--short"]
            done = subprocess.run(version, capture_output=True, text=True, check=False)
            if not done.returncode and not done.stdout.startswith("1."):
                return argv
    return []


@nox.session
def lint(session: nox.Session) -> None:
    """Python, types, shell, Dockerfiles, YAML, compose and unit files, links, secrets."""
    # Other words are for the sessions that run along, as in `nox -- standalone`.
    asked = [word for word in session.posargs if word in LINT]
    failed = []
    for name in asked or LINT:
        if name == "unit-files" and not shutil.which("systemd-analyze"):
            session.log("unit-files: not checked: systemd-analyze is not on this machine")
            # A check that could not look has failed where nobody reads this line.
            failed += [name] if os.environ.get("CI") else []
            continue
        try:
            session.run(*LINT[name]) if LINT[name] else compose_file(session)
        except CommandFailed:
            failed.append(name)
    if failed:
        session.error(f"found above by {', '.join(failed)}; again: nox -s lint -- {failed[0]}")


@nox.session
def dag_lint(session: nox.Session) -> None:
    """DAG files: by their sources, then each parsed by real Airflow (`-- PATH`, `-- --help`)."""
    asked = [word for word in session.posargs if word not in ONLY_ON] or ["--strict", "dags"]
    python = airflow_environment(session) / "bin" / "python"
    session.run("python", "-m", "checks.dag_lint", f"--airflow={python}", *asked)


@nox.session(requires=["dag_lint"])
def checks(session: nox.Session) -> None:
    """What the checks themselves find: planted faults, bad DAGs, Airflow's own, a thousand."""
    told = ["-n", "logical", "--dist", "loadfile", "--durations=3"]
    session.run("pytest", *told, "tests/checks", "tests/dag_lint", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit tests of the host tool, its scripts and status/: no Docker, no network (`-- --cov`)."""
    paths = ["tests/orchestration", "tests/contracts", "tests/runtime", "tests/status"]
    paths += ["--ignore=tests/runtime/airflow"]
    session.run("pytest", *paths, *at_once(session, "orchestration", "status"))


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def tests_ml(session: nox.Session) -> None:
    """The same of dags/ml/ and what runs in Airflow, with the packages of the image's locks."""
    session.install("--require-hashes", "-rinstall/pytest.lock")
    site = "lib/python3.11/site-packages"
    beside = airflow_environment(session).resolve() / site
    Path(session.virtualenv.location, site, "airflow.pth").write_text(f"{beside}\n")
    # Without bytecode, each start would compile Airflow and MLflow anew.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    told = ["--dist=loadfile", "--disable-warnings", *at_once(session, "dags/ml")]
    session.run("python", "-m", "pytest", "tests/ml", "tests/runtime/airflow", *told)


def at_once(session: nox.Session, *measured: str) -> list[str]:
    """Words for pytest: on all processors, and where 90 % of which folders' branches must be run.

    Not each time: measuring takes up to half as long again.
    """
    asked = [word for word in session.posargs if word != "--cov"]
    if asked == session.posargs and (asked or not os.environ.get("CI")):
        return ["-nlogical", *asked]
    least = ["--cov-branch", "--cov-report=term:skip-covered", "--cov-fail-under=90"]
    return ["-nlogical", *asked, *least, *[f"--cov={folder}" for folder in measured]]


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
    """Up from nothing, proof, training, restart, down: 4 minutes (`-- docker`, `-- standalone`)."""
    run_in_order(session, chosen_engine(session), SMOKE)


@nox.session
def stories(session: nox.Session) -> None:
    """Smoke, then pipelines, rebuilds, neighbours, faults: 14 minutes (the same arguments)."""
    engine = chosen_engine(session)
    run_in_order(session, engine, [*STORIES, *ONLY_ON[engine]])


@nox.session
def stories_standalone(session: nox.Session) -> None:
    """Beside the stories on Docker, those that differ without it: 13 minutes."""
    names = [name for name in STORIES if name not in THE_SAME]
    run_in_order(session, "standalone", [*names, *ONLY_ON["standalone"]])


@nox.session
def faults(session: nox.Session) -> None:
    """By hand: real faults at work (`-- kills`, `freezes`, `floods`, `small`, `standalone`)."""
    asked = [word for word in session.posargs if word in FAULTS]
    engine = chosen_engine(session)
    for name in asked or (FAULTS if engine == "docker" else ["kills"]):
        run_in_order(session, engine, [FAULTS[name]])


@nox.session
def soak(session: nox.Session) -> None:
    """By hand: a run every 20 s for 20 minutes, nothing fails or grows (`-- standalone`)."""
    run_in_order(session, chosen_engine(session), ["test_soak"])


@nox.session
def recovery(session: nox.Session) -> None:
    """By hand: backup under load, drill, restores, rotation, clean, doctor (`-- standalone`)."""
    run_in_order(
        session,
        chosen_engine(session),
        ["test_backup", "test_rotation", "test_clean", "test_doctor"],
    )


@nox.session(venv_backend="uv", python="3.11")
def versions(session: nox.Session) -> None:
    """By hand: the registry of patches loads on other versions of Airflow (`-- 3.3.2`)."""
    folder = Path(session.create_tmp()).resolve()
    for version in session.posargs or OTHER_VERSIONS:
        wanted, lock = folder / f"{version}.in", folder / f"{version}.lock"
        airflow = f"apache-airflow[celery,fab,postgres,standard]=={version}"
        wanted.write_text(f"{airflow}\nwrapt\npytest\n")
        compiled = ["--quiet", "--generate-hashes", f"--output-file={lock}", str(wanted)]
        session.run("uv", "pip", "compile", *OTHER_VERSIONS_AS_OF, *compiled, external=True)
        session.install("--require-hashes", f"-r{lock}")
        session.run("python", "-m", "pytest", "tests/versions")


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def bench(session: nox.Session) -> None:
    """By hand: beside the stock stack, in turn (`-- up`, `-- --help`); its picture in .bench."""
    if not docker_answers(session):
        session.error(NO_DOCKER)
    session.install("--require-hashes", "-rinstall/bench.lock")
    try:
        # By the interpreter that runs nox: what is measured is what it would start.
        session.run(sys.executable, "-m", "bench", *session.posargs, external=True)
    finally:
        session.run("python", "-m", "bench.picture", ".bench")


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def s3(session: nox.Session) -> None:
    """By hand: artifacts, logs, data in a real server's buckets, its failures (`-- standalone`)."""
    session.install("--require-hashes", "-rinstall/s3.lock")
    run_in_order(session, chosen_engine(session), ["test_s3", "test_s3_of_airflow"])


@nox.session
def backfill(session: nox.Session) -> None:
    """By hand: the pipelines through all of 2013 (`-- standalone`, `-- --keep docs`)."""
    run_in_order(session, chosen_engine(session), ["test_backfill"])


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def audit(session: nox.Session) -> None:
    """By hand: known vulnerabilities in all locks, a bill of materials per image (`-- --json`)."""
    session.install("--require-hashes", "-rinstall/audit.lock")
    # By the interpreter that runs nox, with this environment's tools on its PATH.
    ours = [sys.executable, "-m"]
    session.run(*ours, "pytest", "tests/audit", external=True, stdout=sys.stderr)
    session.run(*ours, "checks.sbom", external=True, stdout=sys.stderr)
    session.run(*ours, "checks.audit", *session.posargs, external=True)


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def page(session: nox.Session) -> None:
    """The status page in a browser: each state, both themes, phone, axe (Debian's chromium)."""
    if not shutil.which("chromium"):
        if not os.environ.get("CI"):
            session.skip(NO_CHROMIUM)
        if os.geteuid() or not shutil.which("apt-get"):
            session.error(NO_CHROMIUM)
        session.run("apt-get", "update", "-qq", external=True)
        session.run("apt-get", "install", "-qqy", *CHROMIUM)
    session.install("--require-hashes", "-rinstall/page.lock")
    session.run("python", "-m", "pytest", "tests/page", "-nlogical", *session.posargs)


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def tls(session: nox.Session) -> None:
    """By hand: the pages behind TLS, by client and by Debian's chromium (Docker only)."""
    if not docker_answers(session):
        session.error(NO_DOCKER)
    if not shutil.which("chromium"):
        session.error(NO_CHROMIUM)
    session.install("--require-hashes", "-rinstall/page.lock")
    # The stack's own tools drive the tests; the browser's driver and MLflow's client are others'.
    session.env["BROWSER_PYTHON"] = str(Path(session.virtualenv.location) / "bin" / "python")
    session.env["MLFLOW_PYTHON"] = str(airflow_environment(session) / "bin" / "python")
    told = ["-p", "no:randomly", "--durations=12", "--engine=docker", "tests/e2e/test_tls.py"]
    session.run(sys.executable, "-m", "pytest", *told, *session.posargs, external=True)


def chosen_engine(session: nox.Session) -> str:
    """The engine that is asked for, else the one at hand: Docker where it answers."""
    asked = [word for word in session.posargs if word in ONLY_ON]
    return asked[0] if asked else "docker" if docker_answers(session) else "standalone"


def run_in_order(session: nox.Session, engine: str, names: list[str]) -> None:
    """Run files of tests/e2e as they stand, on an engine, by the interpreter that runs nox."""
    parts = [name.partition("::") for name in names]
    paths = [f"tests/e2e/{file}.py{colon}{test}" for file, colon, test in parts]
    told = ["-p", "no:randomly", "--durations=12", f"--engine={engine}"]
    more = [word for word in session.posargs if word not in {**ONLY_ON, **FAULTS}]
    session.run(sys.executable, "-m", "pytest", *told, *paths, *more, external=True)
