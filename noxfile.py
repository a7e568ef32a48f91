"""Define the check sessions: `nox -l` lists them, `nox` runs those to pass before a push."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "dag_lint", "tests", "tests_ml", "tests_mlflow", "docs", "smoke"]
nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False

# So that `.venv/bin/nox` finds the tools next to it without an activated environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
SHELL = [str(path) for name in ("install", "orchestration") for path in Path(name).rglob("*.sh")]
SHELL += [".ci/run"]
YAML = ["orchestration", "install", "checks", ".github", ".pre-commit-config.yaml"]
COMPOSE_RULES = [
    "--config=checks/compose-lint.yaml", "--strict-config", "--fail-on=low", "--skip-suppressed",
    "--no-merge-overrides", "--no-env", "--quiet",
]  # fmt: skip
COMPOSE = [f"orchestration/docker-compose{part}.yaml" for part in ("", ".tls", ".s3", ".logs")]
NO_COMPOSE = "Compose v2 is missing. Run: ./install/1st_run_install.sh --with-docker nox -s lint"
DOCKERFILES = [str(path) for path in sorted(Path("install").rglob("*.dockerfile"))]
DOCKERFILES += [".devcontainer/devcontainer.dockerfile"]
UNITS = [str(path) for path in sorted(Path("orchestration/systemd").iterdir())]
# `git grep` lists tracked text files and skips symbolic links and deleted files.
EXCLUDED = "':!*.lock' ':!checks/wording.txt'"
WORDING = f"git grep -lzI '' -- . {EXCLUDED} | xargs -0 codespell"
LEAKS = "git grep -lzI '' | xargs -0 -n 64 -P 4 detect-secrets-hook --no-verify"
# Steps of `nox -s lint`, the pre-commit hook and CI. `nox -s lint -- links` runs one step.
LINT = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    # Only the services have dags/ and the runtime package on their path.
    "layers": ["env", "PYTHONPATH=dags:orchestration/config", "lint-imports", "--no-cache"],
    "shellcheck": ["shellcheck", *SHELL],
    "hadolint": ["hadolint", "--config", "checks/hadolint.yaml", *DOCKERFILES],
    "yamllint": ["yamllint", "--strict", "-c", "checks/yamllint.yaml", *YAML],
    "compose-file": [],  # Runs compose_file() below.
    "compose-lint": ["compose-lint", *COMPOSE_RULES, COMPOSE[0]],
    # Without --recursive-errors systemd reports a misspelled key but exits with 0.
    "unit-files": ["systemd-analyze", "verify", "--recursive-errors=no", *UNITS],
    "links": ["python", "-m", "checks.links"],
    # Spelling, and the words in checks/wording.txt. Waiver in a line: codespell:ignore WORD.
    "wording": ["bash", "-o", "pipefail", "-c", WORDING],
    "leaks": ["bash", "-o", "pipefail", "-c", LEAKS],
}
NO_DOCKER = "No Docker engine answers. Run: ./install/1st_run_install.sh --with-docker nox"
# The browser's driver needs libatomic1.
CHROMIUM = ["--no-install-recommends", "chromium", "libatomic1"]
NO_CHROMIUM = f"Chromium is missing. Run: sudo apt-get install {' '.join(CHROMIUM)}"
AIRFLOW, BROWSER = Path(".nox/airflow"), Path(".nox/browser")
AIRFLOW_LOCKS = ["install/airflow.lock", "install/requirements.lock"]
# Each list names files of tests/e2e in the order in which they share one stack.
SMOKE = ["test_first_day"]
# Access control of every endpoint, and a search for leaked secrets.
ACCESS = ["test_access", "test_access_data", "test_access_airflow", "test_access_mlflow"]
ACCESS += ["test_accounts", "test_no_leaked_secrets"]
STORIES = [*SMOKE, "test_second_day", *ACCESS, "test_pipelines", "test_neighbours", "test_changes"]
STORIES += ["test_settings", "test_packages"]
# The quickest part of the session `semantics`.
STORIES += ["test_semantics_api_requests", "test_semantics_dates", "test_semantics_operators"]
# These start stacks of their own.
STORIES += ["test_hosts"]
# `stories_standalone` skips these: pipelines and routes are the same on both engines, and the rest
# differs little.
SAME_ON_BOTH = ["test_pipelines", "test_neighbours", "test_access_airflow", "test_access_mlflow"]
SAME_ON_BOTH += ["test_accounts", "test_semantics_dates", "test_semantics_operators", "test_hosts"]
# Without Docker only the first group runs.
FAULTS = {"kills": "test_faults", "freezes": "test_frozen", "floods": "test_floods"}
FAULTS |= {"small": "test_small_machine"}
# Airflow versions to test besides the pinned one, and the date as of which uv resolves them.
OTHER_VERSIONS = ("3.0.6", "3.3.2")
OTHER_VERSIONS_AS_OF = ("--exclude-newer=2026-11-29T00:00:00Z", "--python-version=3.11")
# The two shortest faults, which every merge has to pass.
KILLS = ["test_faults::test_task_process_killed", "test_faults::test_scheduler_killed"]
ONLY_ON = {
    "docker": ["test_docker", "test_containers_inside", *KILLS],
    "standalone": ["test_standalone", "test_normal_user"],
}


def read(path: str) -> str:
    """Return a file's text."""
    return Path(path).read_text(encoding="utf-8")


def airflow_environment(session: nox.Session) -> Path:
    """Return the shared environment of the Airflow image's locks, recreated when they change."""
    locks, stamp = "".join(map(read, AIRFLOW_LOCKS)), AIRFLOW / "made-from"
    # To run uv each time would take longer than to check a changed DAG.
    if not stamp.exists() or stamp.read_text() != locks:
        session.run("uv", "venv", "--quiet", "--clear", "--python=3.11", str(AIRFLOW))
        options = ["--quiet", f"--python={AIRFLOW.absolute()}", "--require-hashes"]
        # Local wheels in a lock are relative to the working directory.
        locks_in_folder = [Path(lock).name for lock in AIRFLOW_LOCKS]
        session.run("uv", "--directory=install", "pip", "sync", *options, *locks_in_folder)
        stamp.write_text(locks)
    return AIRFLOW


def docker_answers(session: nox.Session) -> bool:
    """Return whether a Docker engine answers. In CI a missing engine is a failure."""
    answers = (
        shutil.which("docker")
        and not subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    )
    if not answers and os.environ.get("CI"):
        session.error(NO_DOCKER)
    return bool(answers)


def compose_file(session: nox.Session) -> None:
    """Validate the Compose files with only the variables of `.env.example` set."""
    if not (compose := compose_command()):
        session.log(f"compose-file: not checked: {NO_COMPOSE}")
        if os.environ.get("CI"):
            raise CommandFailed(NO_COMPOSE)
        return
    # Fill in what `inv install` would; "512m" is valid as a name, a password and a size.
    blank = re.findall(r"^(\w+)=(?:auto)?$", read(".env.example"), re.MULTILINE)
    required = re.findall(r"\$\{(\w+):\?", "".join(map(read, COMPOSE)))
    environment = dict.fromkeys({*blank} & {*required}, "512m")
    environment |= {
        name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ
    }
    stack, tls, s3, logs = ([f"--file={file}"] for file in COMPOSE)
    tls += ["--profile=tls"]
    for files in (stack, stack + tls, stack + s3, stack + tls + s3 + logs):
        argv = [*compose, "--env-file=.env.example", *files, "config", "--quiet"]
        # Compose only warns about a variable that is not set.
        if warning := session.run(*argv, env=environment, include_outer_env=False, silent=True):
            session.log(warning)
            raise CommandFailed(warning)


def compose_command() -> list[str]:
    """Return the command that runs Compose v2 on this machine, or an empty list."""
    for argv in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(argv[0]):
            version = [*argv, "version", "--short"]
            done = subprocess.run(version, capture_output=True, text=True, check=False)
            if not done.returncode and not done.stdout.startswith("1."):
                return argv
    return []


@nox.session
def lint(session: nox.Session) -> None:
    """Check Python, types, shell, Dockerfiles, YAML, Compose, units, wording, links and secrets."""
    # Other arguments are for sessions of the same run, as in `nox -- standalone`.
    names = [word for word in session.posargs if word in LINT]
    failed = []
    for name in names or LINT:
        if name == "unit-files" and not shutil.which("systemd-analyze"):
            session.log("unit-files: not checked: systemd-analyze is missing on this machine.")
            # Nobody reads this line in CI, so a check that cannot run has to fail there.
            failed += [name] if os.environ.get("CI") else []
            continue
        try:
            session.run(*LINT[name]) if LINT[name] else compose_file(session)
        except CommandFailed:
            failed.append(name)
    if failed:
        session.error(f"Problems found by {', '.join(failed)}. Run: nox -s lint -- {failed[0]}")


@nox.session
def dag_lint(session: nox.Session) -> None:
    """Check DAG files by their source and parse each with Airflow (`-- PATH`, `-- --help`)."""
    words = [word for word in session.posargs if word not in ONLY_ON] or ["--strict", "dags"]
    python = airflow_environment(session) / "bin" / "python"
    session.run("python", "-m", "checks.dag_lint", f"--airflow={python}", *words)


@nox.session(requires=["dag_lint"])
def checks(session: nox.Session) -> None:
    """Test the checks themselves: planted faults, bad DAGs, Airflow's examples, 1,000 files."""
    options = ["-n", "logical", "--dist", "loadfile", "--durations=3"]
    session.run("pytest", *options, "tests/checks", "tests/dag_lint", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run unit tests of the host tool, scripts and status page without network (`-- --cov`)."""
    paths = ["tests/orchestration", "tests/contracts", "tests/runtime", "tests/status"]
    paths += ["--ignore=tests/runtime/airflow", "--ignore=tests/runtime/mlflow_server"]
    session.run("pytest", *paths, *pytest_options(session, "orchestration", "status"))


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def tests_ml(session: nox.Session) -> None:
    """Run unit tests of dags/ml and Airflow's runtime with the image's packages (`-- --cov`)."""
    session.install("--require-hashes", "-rinstall/pytest.lock")
    site = "lib/python3.11/site-packages"
    packages = airflow_environment(session).resolve() / site
    Path(session.virtualenv.location, site, "airflow.pth").write_text(f"{packages}\n")
    # Without bytecode, each start would compile Airflow and MLflow again.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    folders = ["tests/ml", "tests/problems", "tests/runtime/airflow"]
    options = ["--dist=loadfile", "--disable-warnings", *pytest_options(session, "dags/ml")]
    session.run("python", "-m", "pytest", *folders, *options)


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def tests_mlflow(session: nox.Session) -> None:
    """Test accounts and limits with the real MLflow server and client, on SQLite."""
    session.install("--require-hashes", "-rinstall/mlflow.lock")
    session.env["MLFLOW_PYTHON"] = str(Path(session.virtualenv.location) / "bin" / "python")
    # Without bytecode, each start would compile MLflow again.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    options = ["tests/runtime/mlflow_server", "--durations=3", *session.posargs]
    session.run(sys.executable, "-m", "pytest", *options, external=True)


def pytest_options(session: nox.Session, *folders: str) -> list[str]:
    """Return options to run pytest on all CPUs and, with --cov, to require 90 % of branches.

    Coverage of `folders` is measured only on request and in CI: it takes up to 50 % longer.
    """
    words = [word for word in session.posargs if word != "--cov"]
    if words == session.posargs and (words or not os.environ.get("CI")):
        return ["-nlogical", *words]
    coverage = ["--cov-branch", "--cov-report=term:skip-covered", "--cov-fail-under=90"]
    return ["-nlogical", *words, *coverage, *[f"--cov={folder}" for folder in folders]]


@nox.session
def docs(session: nox.Session) -> None:
    """Compare the documentation with the code."""
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def image_imports(session: nox.Session) -> None:
    """Test imports, packages and versions in the built Airflow image, without network."""
    if not docker_answers(session):
        session.skip(NO_DOCKER)
    session.run("pytest", "tests/image", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """Start a new stack, train, restart, stop: 4 minutes (`-- docker`, `-- standalone`)."""
    run_in_order(session, chosen_engine(session), SMOKE)


@nox.session
def stories(session: nox.Session) -> None:
    """Run smoke, then pipelines, rebuilds, faults: 25 minutes (`-- docker`, `-- standalone`)."""
    engine = chosen_engine(session)
    run_in_order(session, engine, [*STORIES, *ONLY_ON[engine]])


@nox.session
def stories_standalone(session: nox.Session) -> None:
    """Run the stories that differ without Docker: 18 minutes."""
    names = [name for name in STORIES if name not in SAME_ON_BOTH]
    run_in_order(session, "standalone", [*names, *ONLY_ON["standalone"]])


@nox.session
def faults(session: nox.Session) -> None:
    """Inject faults, run by hand (`-- kills`, `freezes`, `floods`, `small`, `standalone`)."""
    names = [word for word in session.posargs if word in FAULTS]
    engine = chosen_engine(session)
    for name in names or (FAULTS if engine == "docker" else ["kills"]):
        run_in_order(session, engine, [FAULTS[name]])


@nox.session
def semantics(session: nox.Session) -> None:
    """Run a DAG per documented behavior, by hand (`-- standalone`, `-- -k examples`)."""
    site = airflow_environment(session).resolve() / "lib/python3.11/site-packages"
    session.env["AIRFLOW_EXAMPLES"] = str(site)
    names = sorted(file.stem for file in Path("tests/e2e").glob("test_semantics_*.py"))
    run_in_order(session, chosen_engine(session), names)


@nox.session
def soak(session: nox.Session) -> None:
    """Run a DAG every 20 s for 20 minutes and check growth, by hand (`-- standalone`)."""
    run_in_order(session, chosen_engine(session), ["test_soak"])


@nox.session
def recovery(session: nox.Session) -> None:
    """Test backup, drill, restore, rotation, clean and doctor, by hand (`-- standalone`)."""
    run_in_order(
        session,
        chosen_engine(session),
        ["test_backup", "test_rotation", "test_clean", "test_doctor"],
    )


@nox.session(venv_backend="uv", python="3.11")
def versions(session: nox.Session) -> None:
    """Load the registry of patches on other Airflow versions, by hand (`-- 3.3.2`)."""
    folder = Path(session.create_tmp()).resolve()
    for version in session.posargs or OTHER_VERSIONS:
        source, lock = folder / f"{version}.in", folder / f"{version}.lock"
        airflow = f"apache-airflow[celery,fab,postgres,standard]=={version}"
        source.write_text(f"{airflow}\nwrapt\npytest\n")
        options = ["--quiet", "--generate-hashes", f"--output-file={lock}", str(source)]
        session.run("uv", "pip", "compile", *OTHER_VERSIONS_AS_OF, *options, external=True)
        session.install("--require-hashes", f"-r{lock}")
        session.run("python", "-m", "pytest", "tests/versions")


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def bench(session: nox.Session) -> None:
    """Compare with the stock stack, by hand; results in .bench (`-- up`, `-- --help`)."""
    if not docker_answers(session):
        session.error(NO_DOCKER)
    session.install("--require-hashes", "-rinstall/bench.lock")
    try:
        # Use the interpreter that runs nox, which has the tools that are measured.
        session.run(sys.executable, "-m", "bench", *session.posargs, external=True)
    finally:
        session.run("python", "-m", "bench.picture", ".bench")


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def s3(session: nox.Session) -> None:
    """Test artifacts, logs and data in S3 buckets, by hand (`-- standalone`)."""
    session.install("--require-hashes", "-rinstall/s3.lock")
    run_in_order(session, chosen_engine(session), ["test_s3", "test_s3_of_airflow"])


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def problems(session: nox.Session) -> None:
    """Adopt, train, score and monitor three public tables, by hand (`-- standalone`)."""
    session.install("--require-hashes", "--no-deps", "-rinstall/problems.lock")
    site = Path(session.virtualenv.location).resolve() / "lib/python3.11/site-packages"
    session.env["PROBLEM_TABLES"] = str(site)
    run_in_order(session, chosen_engine(session), ["test_problems"])


@nox.session
def backfill(session: nox.Session) -> None:
    """Run the pipelines through all of 2013, by hand (`-- standalone`, `-- --keep docs`)."""
    run_in_order(session, chosen_engine(session), ["test_backfill"])


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def audit(session: nox.Session) -> None:
    """Check locks for vulnerabilities and write SBOMs of the images, by hand (`-- --json`)."""
    session.install("--require-hashes", "-rinstall/audit.lock")
    # Use the interpreter that runs nox, with this environment's tools on its PATH.
    python = [sys.executable, "-m"]
    session.run(*python, "pytest", "tests/audit", external=True, stdout=sys.stderr)
    session.run(*python, "checks.sbom", external=True, stdout=sys.stderr)
    session.run(*python, "checks.audit", *session.posargs, external=True)


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def page(session: nox.Session) -> None:
    """Test the status page in Debian's Chromium: states, themes, phone size, accessibility."""
    if not has_chromium(session):
        session.skip(NO_CHROMIUM)
    session.install("--require-hashes", "-rinstall/page.lock")
    session.run("python", "-m", "pytest", "tests/page", "-nlogical", *session.posargs)


@nox.session(venv_backend="uv", python="3.11", reuse_venv=True)
def tls(session: nox.Session) -> None:
    """Test the pages over TLS with clients and Debian's Chromium, by hand (Docker only)."""
    if not docker_answers(session):
        session.error(NO_DOCKER)
    if not shutil.which("chromium"):
        session.error(NO_CHROMIUM)
    session.install("--require-hashes", "-rinstall/page.lock")
    # The host tool's environment has neither the browser's driver nor MLflow's client.
    session.env["BROWSER_PYTHON"] = str(Path(session.virtualenv.location) / "bin" / "python")
    session.env["MLFLOW_PYTHON"] = str(airflow_environment(session) / "bin" / "python")
    options = ["-p", "no:randomly", "--durations=12", "--engine=docker", "tests/e2e/test_tls.py"]
    session.run(sys.executable, "-m", "pytest", *options, *session.posargs, external=True)


@nox.session
def forms(session: nox.Session) -> None:
    """Start every DAG from its form in Chromium, by hand (`-- docker`, `-- standalone`)."""
    if not has_chromium(session):
        session.error(NO_CHROMIUM)
    python = BROWSER / "bin" / "python"
    session.run("uv", "venv", "--quiet", "--allow-existing", "--python=3.11", str(BROWSER))
    options = ["--quiet", f"--python={python}", "--require-hashes"]
    session.run("uv", "pip", "sync", *options, "install/page.lock")
    # The tests run with the interpreter that runs nox.
    session.env["BROWSER_PYTHON"] = str(python.absolute())
    run_in_order(session, chosen_engine(session), ["test_forms"])


def has_chromium(session: nox.Session) -> bool:
    """Return whether Chromium is installed. In CI it is installed here, or its lack is an error."""
    if shutil.which("chromium") or not os.environ.get("CI"):
        return bool(shutil.which("chromium"))
    if os.geteuid() or not shutil.which("apt-get"):
        session.error(NO_CHROMIUM)
    session.run("apt-get", "update", "-qq", external=True)
    session.run("apt-get", "install", "-qqy", *CHROMIUM)
    return True


def chosen_engine(session: nox.Session) -> str:
    """Return the engine named in the arguments, or Docker if it answers, or standalone."""
    names = [word for word in session.posargs if word in ONLY_ON]
    return names[0] if names else "docker" if docker_answers(session) else "standalone"


def run_in_order(session: nox.Session, engine: str, names: list[str]) -> None:
    """Run files of tests/e2e in order on an engine, with the interpreter that runs nox."""
    parts = [name.partition("::") for name in names]
    paths = [f"tests/e2e/{file}.py{colon}{test}" for file, colon, test in parts]
    options = ["-p", "no:randomly", "--durations=12", f"--engine={engine}"]
    more = [word for word in session.posargs if word not in {**ONLY_ON, **FAULTS}]
    session.run(sys.executable, "-m", "pytest", *options, *paths, *more, external=True)
