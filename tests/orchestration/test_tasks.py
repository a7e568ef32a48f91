"""The menu as a person types it: real processes in a copy that has no .env."""

import os
import shutil
import subprocess
import sys

import pytest

VERBS = {"install", "up", "down", "health", "logs", "trigger", "lock"}


@pytest.fixture
def inv(repo, tmp_path):
    """Type `inv …` in a copy of the repository, without any of the person's settings."""
    shutil.copy(repo / "tasks.py", tmp_path)
    shutil.copy(repo / ".env.example", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", ".env")
    shutil.copytree(repo / "orchestration", tmp_path / "orchestration", ignore=ignored)
    # No docker on this PATH, and no engine behind this address: nothing can be started.
    environment = {
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "STACK_ENGINE": "docker",
    }

    def inv(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
        )

    return inv


def test_the_menu_names_every_verb_with_a_line(inv):
    done = inv("--list")
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:] if line.strip()]
    assert {name for name, _ in lines} >= VERBS
    assert all(len(line) == 2 for line in lines)


def test_help_of_a_verb_tells_its_flags(inv):
    done = inv("--help", "trigger")
    assert done.returncode == 0
    for words in ("--conf", "--wait", "a JSON object"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("health",), "inv health: there is no .env here yet: inv install"),
        (("logs", "-s", "redis"), "inv logs: there is no .env here yet: inv install"),
        (("trigger", "flights"), "inv trigger: there is no .env here yet: inv install"),
        (("down", "--volumes"), "inv down --volumes --yes"),
        (("install",), "no Docker engine answers"),
    ],
)
def test_an_expected_failure_is_a_line_on_stderr_and_exit_code_1(inv, tmp_path, arguments, words):
    done = inv(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith(f"inv {arguments[0]}: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not os.path.lexists(tmp_path / ".env")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--bogus"), "No idea what '--bogus' is!"),
        (("trigger",), "did not receive required positional arguments: 'dag_id'"),
        (("bogus",), "No idea what 'bogus' is!"),
    ],
)
def test_wrong_usage_is_told_by_invoke_with_its_exit_code_1(inv, arguments, words):
    # Invoke ends so for every error of its parser; 2 would be the common code for wrong usage.
    done = inv(*arguments)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_word_where_a_number_belongs_is_no_traceback(inv):
    done = inv("logs", "--tail", "many")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_a_programming_error_keeps_its_traceback(inv, tmp_path):
    stack = tmp_path / "orchestration" / "stack.py"
    stack.write_text("def report_health(**options):\n    raise KeyError('a bug')\n")
    done = inv("health")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a bug" in done.stderr


def test_health_that_is_not_well_ends_with_1_and_nothing_more(inv, tmp_path):
    stack = tmp_path / "orchestration" / "stack.py"
    stack.write_text("def report_health(**options):\n    print(options)\n    return False\n")
    done = inv("health", "--json", "--deep")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "{'as_json': True, 'deep': True}\n"


def test_an_interrupt_is_a_line_too(inv, tmp_path):
    stack = tmp_path / "orchestration" / "stack.py"
    stack.write_text("def up(**options):\n    raise KeyboardInterrupt\n")
    done = inv("up", "--no-proof")
    assert done.returncode == 1
    assert done.stderr == "inv up: interrupted; run it again to go on\n"
