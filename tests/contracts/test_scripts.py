"""Test the syntax of the shell scripts, their lint, and their reaction to wrong usage."""

import functools
import shutil

import pytest

from tests.support import process
from tests.support.repository import ROOT, copy_repository

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("install", "orchestration", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.read_bytes()[:2] == b"#!" and path.suffix != ".py"
)
INSTALL = "install/1st_run_install.sh"


run = functools.partial(process.run, cwd=ROOT, timeout=20)


def test_the_scripts_are_found():
    redis = "orchestration/config/redis-server/start.sh"
    assert {INSTALL, "install/docker_engine.sh", redis} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_has_valid_syntax_for_its_shell(script):
    interpreter = (ROOT / script).read_text(encoding="utf-8").splitlines()[0]
    assert interpreter in ("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash")
    done = run(*interpreter.removeprefix("#!").split(), "-n", script)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing():
    program = shutil.which("shellcheck")
    assert program, "Install the tools of install/host.lock."
    assert run(program, *SCRIPTS).stdout == ""


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_the_comment_at_the_top(option):
    done = run("sh", INSTALL, option)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("From a bare machine")
    assert "[--with-docker] [COMMAND …]" in done.stdout
    assert "#" not in done.stdout


@pytest.mark.parametrize("arguments", [("--bogus",), ("--with-docker", "--bogus"), ("-x", "nox")])
def test_unknown_option_exits_with_2(arguments):
    done = run("sh", INSTALL, *arguments)
    unknown = next(word for word in arguments if word != "--with-docker")
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"Unknown option {unknown}." in done.stderr
    assert "Usage: " in done.stderr


@pytest.fixture
def prepared(tmp_path):
    """Return a clone whose .venv looks complete to the script."""
    copy_repository(tmp_path, "install")
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    answers = {
        "uv": "echo uv 0",
        "python": f'case "$2" in *sys.prefix*) echo "{tmp_path}/.venv" ;; esac',
        "inv": 'echo "inv $*"',
    }
    process.path_with_programs(tools, **answers)
    shutil.copy(ROOT / "install" / "host.lock", tmp_path / ".venv" / ".host.lock")
    return tmp_path


def test_prepared_clone_runs_the_default_command(prepared):
    done = run("sh", str(prepared / INSTALL))
    assert (done.returncode, done.stdout, done.stderr) == (0, "inv install up\n", "")


def test_command_runs_in_the_venv_with_unchanged_arguments(prepared):
    script = 'printf "%s|" "$VIRTUAL_ENV" "$PWD" "$@"; exit 5'
    done = run("sh", str(prepared / INSTALL), "sh", "-c", script, "x", "a b", "$c", "--help")
    assert done.returncode == 5
    assert done.stdout == f"{prepared}/.venv|{prepared}|a b|$c|--help|"


@pytest.fixture
def docker_machine(tmp_path):
    """Run docker_engine.sh with fakes of the engine, Compose and apt."""
    new = "case $2 in docker-compose-v2) echo 1:2.24.6 ;; *) echo 2.19.1 ;; esac"
    install = f'case "$*" in *docker-compose*) echo 2.24.6 >{tmp_path}/compose ;; esac'
    path = process.path_with_programs(
        tmp_path,
        docker=f'case "$1" in compose) cat {tmp_path}/compose ;; *) echo 27.3.1 ;; esac',
        apt_cache=f'echo "  Candidate: $({new})"',
        apt_get=f'{install}; echo "$*" >>{tmp_path}/apt-get.log',
        sudo='exec "$@"',
        **dict.fromkeys(("docker_compose", "dockerd", "usermod"), ""),
    )

    def start(compose):
        (tmp_path / "compose").write_text(f"{compose}\n")
        log = tmp_path / "apt-get.log"
        environment = {"PATH": path, "DOCKER_CONFIG": str(tmp_path)}
        done = run("sh", "install/docker_engine.sh", env=environment)
        return done, log.read_text() if log.exists() else ""

    return start


@pytest.mark.parametrize("version", ["2.20.0", "v2.20.3", "2.26.1-4", "2.100.0", "5.0.1", "10.2.0"])
def test_docker_engine_recent_compose_stays(docker_machine, version):
    done, packages = docker_machine(version)
    assert (done.returncode, packages) == (0, "")
    assert done.stdout.endswith("Nothing to do.\n")


@pytest.mark.parametrize("version", ["2.19.9", "v2.2.3", "1.29.2", ""])
def test_docker_engine_old_compose_is_replaced(docker_machine, version):
    done, packages = docker_machine(version)
    assert "Nothing to do" not in done.stdout
    if "supports Debian and Ubuntu" in done.stderr:
        assert (done.returncode, packages) == (1, "")
        return
    assert (done.returncode, done.stderr) == (0, "")
    assert packages.splitlines()[-1].split()[-1] == "docker-compose-v2"
    assert done.stdout.endswith("Compose 2.24.6\n")


@pytest.fixture
def entrypoint(tmp_path):
    """Start the Airflow image's entrypoint with a fake airflow that prints its arguments."""
    path = process.path_with_programs(tmp_path, airflow='echo "airflow $*"')
    return functools.partial(run, "bash", "install/airflow-entrypoint.sh", env={"PATH": path})


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ((), "airflow \n"),
        (("airflow", "dags", "list"), "airflow dags list\n"),
        (("scheduler", "-v"), "airflow scheduler -v\n"),
        (("echo", "another program"), "another program\n"),
    ],
)
def test_entrypoint_handles_commands_like_the_official_image(entrypoint, arguments, output):
    assert entrypoint(*arguments).stdout == output


REMOVED = ["pandas/tests/io/test_csv.py", "numpy/_core/tests/test_half.py", "scipy/tests/x.pyc"]
KEPT = ["numpy/testing/__init__.py", "evidently/tests/__init__.py", "pandas/testing.py"]


def test_leave_out_tests_removes_only_tests_of_numeric_packages(tmp_path):
    packages = tmp_path / "lib/python3.11/site-packages"
    for name in (*REMOVED, *KEPT):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    done = run("sh", "install/leave_out_tests.sh", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert files == set(KEPT)


def test_leave_out_tests_accepts_other_environments_but_needs_a_path(tmp_path):
    assert run("sh", "install/leave_out_tests.sh", str(tmp_path)).returncode == 0
    assert run("sh", "install/leave_out_tests.sh").returncode != 0
