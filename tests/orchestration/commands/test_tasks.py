"""Test the command line of `inv` in a copy that has no .env."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.repository import copy_repository

ALONE = {
    "adopt",
    "move-artifacts",
    "install",
    "up",
    "down",
    "restart",
    "rebuild",
    "lock",
    "backup",
    "restore",
    "drill",
    "clean",
}
HEAVY = {"rich", "requests", "docker", "orchestration"}
INVOKE = (sys.executable, "-m", "invoke")


@pytest.fixture
def process_options(tmp_path):
    """Return options that run a process in a copy of the repository, without local settings."""
    copy_repository(tmp_path, "orchestration", "tasks.py", ".env.example", "pyproject.toml")
    # Nothing can be started: this PATH has no docker, and no engine is at this address.
    environment = {
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "STACK_ENGINE": "docker",
    }
    return {"cwd": tmp_path, "env": environment, "text": True}


@pytest.fixture
def start(process_options):
    """Return a function that runs a program in a separate process until it exits."""

    def start(*argv):
        return subprocess.run(argv, capture_output=True, timeout=20, **process_options)

    return start


@pytest.fixture
def inv(typist, process_options):
    """Return a function that runs `inv`."""

    def inv(*arguments):
        return typist.type(*arguments, cwd=process_options["cwd"], env=process_options["env"])

    return inv


@pytest.fixture
def commands(inv):
    """Return name and help of all commands, from Invoke's own list."""
    return json.loads(inv("--list", "--list-format=json").stdout)["tasks"]


def parse_list(done):
    """Return the groups and the (command, help) lines of a printed list."""
    assert (done.returncode, done.stderr) == (0, "")
    *lines, hint = [line for line in done.stdout.splitlines() if line]
    assert hint == "Options of a command: inv --help COMMAND"
    indented = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    return [line for line in lines if not line.startswith("  ")], indented


def test_list_has_every_command_once_in_groups(inv, commands):
    groups, lines = parse_list(inv("--list"))
    assert sorted(name for name, _ in lines) == sorted(one["name"] for one in commands)
    assert {name: text for name, text in lines} == {one["name"]: one["help"] for one in commands}
    assert groups == ["Run:", "Inspect:", "Work:", "Data:", "Admin:"]
    assert parse_list(inv()) == (groups, lines)


def test_separate_process_prints_the_same_as_the_typist(inv, start):
    for arguments in (["--help", "trigger"], ["bogus"], ["health"]):
        done, typed = start(*INVOKE, *arguments), inv(*arguments)
        result = (done.returncode, done.stdout.replace("invoke", "inv"), done.stderr)
        assert result == (typed.returncode, typed.stdout, typed.stderr)


def test_list_imports_no_heavy_package(start):
    done = start(sys.executable, "-X", "importtime", "-m", "invoke", "--list")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "Run:" in done.stdout
    assert "invoke.program" in imported
    # Both packages are empty, and their modules are imported on first use.
    heavy = {name for name in imported if name.partition(".")[0] in HEAVY}
    assert heavy <= {"orchestration", "orchestration.commands"}


def test_help_of_every_command_describes_each_flag(inv, commands):
    helps = {one["name"]: inv("--help", one["name"]).stdout for one in commands}
    assert len(helps) == len(commands)
    flags = 0
    for name, text in helps.items():
        summary, _, options = text.partition("Options:\n")
        assert len(summary.partition("Docstring:\n")[2].strip()) > 10, name
        for line in filter(str.strip, options.splitlines()):
            if line.strip().startswith("-"):
                flags += 1
                # Blanks separate the name of a flag from its help.
                assert len(line.strip().partition("   ")[2].strip()) > 5, f"{name}: {line}"
    assert flags >= 15


def test_help_of_a_command_lists_its_flags(inv):
    done = inv("--help", "trigger")
    assert done.returncode == 0
    for words in ("--conf", "--wait", "a JSON object"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("health",), "Error: There is no .env yet.\nRun: inv install"),
        (("logs", "-s", "redis"), "Error: There is no .env yet.\nRun: inv install"),
        (("trigger", "flights"), "Error: There is no .env yet.\nRun: inv install"),
        (("down", "--volumes"), "inv down --volumes --yes"),
        (("install",), "No Docker engine answers"),
    ],
)
def test_expected_failure_prints_error_and_exits_with_1(inv, tmp_path, arguments, words):
    done = inv(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not os.path.lexists(tmp_path / ".env")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--bogus"), "No idea what '--bogus' is!"),
        (("trigger",), "did not receive required positional arguments: 'dag_id'"),
        (("bogus",), "No idea what 'bogus' is!"),
        (("--help", "bogus"), "No idea what 'bogus' is!"),
    ],
)
def test_wrong_usage_prints_two_lines_and_exits_with_2(inv, arguments, words):
    done = inv(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    cause, next_step = done.stderr.splitlines()
    assert cause.startswith("Error: ")
    assert words in cause
    assert next_step == "Run: inv --list, or inv --help COMMAND"


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        (["start"], "inv up"),
        (["stop"], "inv down"),
        (["status"], "inv health"),
        (["ps"], "inv health"),
        (["helth"], "inv health"),
        (["up", "status"], "inv health"),
        (["--help", "start"], "inv --help up"),
        (["logs", "mlflow"], "inv logs -s mlflow"),
        (["logs", "--tail", "5", "airflow-worker"], "inv logs -s airflow-worker"),
        (["restart", "redis", "--help"], "inv restart -s redis"),
        (["shell", "status"], "inv shell -s status"),
    ],
)
def test_wrong_word_suggests_the_command_that_was_meant(inv, arguments, next_step):
    done = inv(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1:] == [f"Run: {next_step}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry", "down", "--volumes", "--yes"),
        ("down", "--dry"),
        ("--command-timeout", "5", "up"),
        ("--hide", "both", "up"),
        ("--help=", "up"),
        ("--list=", "up"),
        ("--list=run",),
    ],
)
def test_option_of_invoke_without_effect_is_wrong_usage(inv, process_options, arguments):
    for name in ("up", "down"):
        replace_command(process_options, name, "def run(*_, **options):\n    print('ran')\n")
    done = inv(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 2


def test_version_is_that_of_the_stack(inv, process_options):
    project = tomllib.loads((process_options["cwd"] / "pyproject.toml").read_text())["project"]
    line = f"{project['name']} {project['version']}\n"
    for arguments in (["version"], ["up", "--version"]):
        done = inv(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, line, "")


@pytest.mark.parametrize("arguments", [["--list"], [], ["--help", "trigger"], ["version"]])
def test_closed_pipe_ends_the_output_quietly(process_options, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        argv = [*INVOKE, *arguments]
        options = {"stdout": closed, "stderr": subprocess.PIPE, "check": False}
        done = subprocess.run(argv, timeout=60, **options, **process_options)
    assert (done.returncode, done.stderr) == (0, "")


def test_airflow_arguments_without_dashes_are_wrong_usage_with_a_hint(inv):
    done = inv("airflow", "dags", "list")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: No idea what 'dags' is!",
        "Put -- before Airflow's arguments, as in: inv airflow -- dags list",
    ]


def test_text_instead_of_number_prints_no_traceback(inv):
    done = inv("logs", "--tail", "many")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def replace_command(process_options, module, text):
    """Replace the module of a command."""
    (process_options["cwd"] / "orchestration/commands" / f"{module}.py").write_text(text)


def test_programming_error_keeps_its_traceback(inv, process_options):
    replace_command(
        process_options, "health", "def run(project, **options):\n    raise KeyError('a bug')\n"
    )
    done = inv("health")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a bug" in done.stderr


def test_unhealthy_exits_with_1_without_error_message(inv, process_options):
    text = "def run(project, **options):\n    print(options)\n    return False\n"
    replace_command(process_options, "health", text)
    done = inv("health", "--json", "--deep")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "{'as_json': True, 'deep': True, 'watch': False}\n"


def test_healthy_exits_with_0(inv, process_options):
    replace_command(
        process_options, "health", "def run(project, **options):\n    return options['watch']\n"
    )
    done = inv("health", "--watch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("healthy", "code"), [(True, 0), (False, 1)])
def test_doctor_exits_with_1_if_it_finds_a_problem(inv, process_options, healthy, code):
    text = f"def run(project, **options):\n    print(options)\n    return {healthy}\n"
    replace_command(process_options, "doctor", text)
    done = inv("doctor", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (code, "{'as_json': True}\n", "")


SPECIAL = [
    "dags",
    "--help",
    "--conf",
    '{"a b": "$HOME"}',
    "*",
    "it's",
    "",
    "`id`",
    "--",
    "-x",
    "\\",
]


def test_arguments_after_dashes_reach_airflow_unchanged(inv, process_options):
    text = "import json\ndef airflow_cli(project, words):\n    print(json.dumps(words))\n"
    text += "    return 5\n"
    replace_command(process_options, "shell", text)
    done = inv("airflow", "--", *SPECIAL)
    assert (done.returncode, done.stderr) == (5, "")
    assert json.loads(done.stdout) == SPECIAL


def test_interrupt_prints_one_line(inv, process_options):
    replace_command(
        process_options, "up", "def run(project, **options):\n    raise KeyboardInterrupt\n"
    )
    done = inv("up", "--no-proof")
    assert done.returncode == 1
    assert done.stderr == "Interrupted. Run inv up again to continue.\n"


SLOW_COMMAND = """
from orchestration.process.runner import Command, attach
def run(project, **options):
    attach(Command(("/bin/sh", "-c", "echo started; exec /bin/sleep {seconds}")))
"""


@pytest.fixture
def start_up(process_options):
    """Return a function that starts an `inv up` of some seconds and returns its process."""
    processes = []

    def start_up(seconds, **options):
        replace_command(process_options, "up", SLOW_COMMAND.format(seconds=seconds))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # The process that runs the tests may ignore SIGHUP.
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        process = subprocess.Popen(
            [*INVOKE, "up"], **pipes, **process_options, **options, start_new_session=True
        )
        processes.append(process)
        assert process.stdout.readline() == "started\n"
        return process

    yield start_up
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_the_command_and_its_children(start_up, number):
    process = start_up(seconds=60)
    process.send_signal(number)
    # `communicate` returns only when every child has closed its end of the pipes.
    _, errors = process.communicate(timeout=10)
    assert errors == "Interrupted. Run inv up again to continue.\n"
    assert process.returncode == 1


def test_command_with_nohup_survives_its_terminal(start_up):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start_up(seconds=0.2, preexec_fn=nohup)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


def test_lock_blocks_only_commands_that_change_the_stack(inv, commands, process_options):
    lines = {one["name"]: [one["name"]] for one in commands}
    lines |= {"trigger": ["trigger", "flights"], "restore": ["restore", "backups/x"]}
    with (process_options["cwd"] / ".lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("inv nap (process 1, since 00:00:00)\n")
        lock.flush()
        errors = {name: inv(*line).stderr for name, line in lines.items()}
    words = "inv nap (process 1, since 00:00:00) is running in this clone"
    assert {name for name, text in errors.items() if words in text} == ALONE
    without_settings = {"systemd", "doctor", "version"}
    others = {text for name, text in errors.items() if name not in ALONE | without_settings}
    assert all("There is no .env yet.\nRun: inv install" in text for text in others)
    assert errors["systemd"] == ""


def test_bash_completes_commands(start, process_options):
    bash = shutil.which("bash")
    process_options["env"]["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    script = """
        source <(inv --print-completion-script bash)
        name=$(complete -p inv | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(inv re) COMP_CWORD=1
        $name inv re inv
        echo "${COMPREPLY[@]}"
    """
    done = start(bash, "--norc", "-c", script)
    assert (done.stdout.split(), done.stderr) == (["rebuild", "restart", "restore"], "")
