"""The menu as a person types it, in a copy that has no .env."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import copy_repository

ALONE = {
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
def surroundings(tmp_path):
    """A copy of the repository as a process's folder, none of the person's settings."""
    copy_repository(tmp_path, "orchestration", "tasks.py", ".env.example")
    # No docker on this PATH, and no engine behind this address: nothing can be started.
    environment = {
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "STACK_ENGINE": "docker",
    }
    return {"cwd": tmp_path, "env": environment, "text": True}


@pytest.fixture
def start(surroundings):
    """Start a program of its own, to its end."""

    def start(*argv):
        return subprocess.run(argv, capture_output=True, timeout=20, **surroundings)

    return start


@pytest.fixture
def inv(typist, surroundings):
    """Type `inv …`."""

    def inv(*arguments):
        return typist.type(*arguments, cwd=surroundings["cwd"], env=surroundings["env"])

    return inv


@pytest.fixture
def verbs(inv):
    """The verbs as Invoke tells them, groups or not: name and help."""
    return json.loads(inv("--list", "--list-format=json").stdout)["tasks"]


def menu_of(done):
    """Groups and lines of a menu that was printed: (verb, its line)."""
    assert (done.returncode, done.stderr) == (0, "")
    *lines, way_on = [line for line in done.stdout.splitlines() if line]
    assert way_on == "Options of a command: inv --help COMMAND"
    indented = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    return [line for line in lines if not line.startswith("  ")], indented


def test_the_menu_has_every_verb_once_with_one_line_in_groups(inv, verbs):
    groups, lines = menu_of(inv("--list"))
    assert sorted(verb for verb, _ in lines) == sorted(verb["name"] for verb in verbs)
    assert {verb: line for verb, line in lines} == {verb["name"]: verb["help"] for verb in verbs}
    assert groups == ["Run:", "Inspect:", "Work:", "Data:", "Admin:"]
    assert menu_of(inv()) == (groups, lines)


def test_a_process_of_its_own_says_the_same_as_the_typist(inv, start):
    for arguments in (["--help", "trigger"], ["bogus"], ["health"]):
        done, typed = start(*INVOKE, *arguments), inv(*arguments)
        told = (done.returncode, done.stdout.replace("invoke", "inv"), done.stderr)
        assert told == (typed.returncode, typed.stdout, typed.stderr)


def test_the_menu_is_shown_without_the_engine_room(start):
    done = start(sys.executable, "-X", "importtime", "-m", "invoke", "--list")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "Run:" in done.stdout
    assert "invoke.program" in imported
    # Both packages are empty; their modules are imported when they are used.
    heavy = {name for name in imported if name.partition(".")[0] in HEAVY}
    assert heavy <= {"orchestration", "orchestration.commands"}


def test_the_help_of_every_verb_tells_what_each_flag_is_for(inv, verbs):
    told = {verb["name"]: inv("--help", verb["name"]).stdout for verb in verbs}
    assert len(told) == len(verbs)
    flags = 0
    for verb, text in told.items():
        summary, _, options = text.partition("Options:\n")
        assert len(summary.partition("Docstring:\n")[2].strip()) > 10, verb
        for line in filter(str.strip, options.splitlines()):
            if line.strip().startswith("-"):
                flags += 1
                # The name ends where two blanks stand; what follows is its help.
                assert len(line.strip().partition("   ")[2].strip()) > 5, f"{verb}: {line}"
    assert flags >= 15


def test_help_of_a_verb_tells_its_flags(inv):
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
def test_an_expected_failure_is_a_line_on_stderr_and_exit_code_1(inv, tmp_path, arguments, words):
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
def test_wrong_usage_is_two_lines_and_exit_code_2(inv, arguments, words):
    done = inv(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    why, way_on = done.stderr.splitlines()
    assert why.startswith("Error: ")
    assert words in why
    assert way_on == "Run: inv --list, or inv --help COMMAND"


def test_words_for_airflow_without_the_dashes_are_wrong_usage_with_a_hint(inv):
    done = inv("airflow", "dags", "list")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: No idea what 'dags' is!",
        "Put -- before Airflow's arguments, as in: inv airflow -- dags list",
    ]


def test_a_word_where_a_number_belongs_is_no_traceback(inv):
    done = inv("logs", "--tail", "many")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def put_in(surroundings, module, text):
    """Another module in the place of one of the engine room."""
    (surroundings["cwd"] / "orchestration/commands" / f"{module}.py").write_text(text)


def test_a_programming_error_keeps_its_traceback(inv, surroundings):
    put_in(surroundings, "health", "def run(project, **options):\n    raise KeyError('a bug')\n")
    done = inv("health")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a bug" in done.stderr


def test_health_that_is_not_well_ends_with_1_and_nothing_more(inv, surroundings):
    text = "def run(project, **options):\n    print(options)\n    return False\n"
    put_in(surroundings, "health", text)
    done = inv("health", "--json", "--deep")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "{'as_json': True, 'deep': True, 'watch': False}\n"


def test_health_that_is_well_ends_with_0(inv, surroundings):
    put_in(surroundings, "health", "def run(project, **options):\n    return options['watch']\n")
    done = inv("health", "--watch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("well", "code"), [(True, 0), (False, 1)])
def test_a_doctor_that_finds_something_ends_with_1_and_nothing_more(inv, surroundings, well, code):
    text = f"def run(project, **options):\n    print(options)\n    return {well}\n"
    put_in(surroundings, "doctor", text)
    done = inv("doctor", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (code, "{'as_json': True}\n", "")


ODD = ["dags", "--help", "--conf", '{"a b": "$HOME"}', "*", "it's", "", "`id`", "--", "-x", "\\"]


def test_what_stands_behind_the_dashes_reaches_airflow_unharmed(inv, surroundings):
    text = "import json\ndef airflow_cli(project, given):\n    print(json.dumps(given))\n"
    text += "    return 5\n"
    put_in(surroundings, "shell", text)
    done = inv("airflow", "--", *ODD)
    assert (done.returncode, done.stderr) == (5, "")
    assert json.loads(done.stdout) == ODD


def test_an_interrupt_is_a_line_too(inv, surroundings):
    put_in(surroundings, "up", "def run(project, **options):\n    raise KeyboardInterrupt\n")
    done = inv("up", "--no-proof")
    assert done.returncode == 1
    assert done.stderr == "Interrupted. Run inv up again to continue.\n"


WORKS = """
from orchestration.process.runner import Command, attach
def run(project, **options):
    attach(Command(("/bin/sh", "-c", "echo at work; exec /bin/sleep {seconds}")))
"""


@pytest.fixture
def at_work(surroundings):
    """Type `inv up` where it takes some seconds; returns once it is at work."""
    started = []

    def at_work(seconds, **options):
        put_in(surroundings, "up", WORKS.format(seconds=seconds))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # Whoever runs these tests may have it ignored.
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        process = subprocess.Popen(
            [*INVOKE, "up"], **pipes, **surroundings, **options, start_new_session=True
        )
        started.append(process)
        assert process.stdout.readline() == "at work\n"
        return process

    yield at_work
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_verb_that_is_ended_from_outside_ends_what_it_started(at_work, ending):
    process = at_work(seconds=60)
    process.send_signal(ending)
    # It is over when nobody holds the other end of the pipes any more.
    _, told = process.communicate(timeout=10)
    assert told == "Interrupted. Run inv up again to continue.\n"
    assert process.returncode == 1


def test_a_verb_that_was_started_with_nohup_outlives_its_terminal(at_work):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = at_work(seconds=0.2, preexec_fn=nohup)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


def test_what_changes_the_stack_is_refused_while_another_does_and_nothing_else(
    inv, verbs, surroundings
):
    lines = {verb["name"]: [verb["name"]] for verb in verbs}
    lines |= {"trigger": ["trigger", "flights"], "restore": ["restore", "backups/x"]}
    with (surroundings["cwd"] / ".lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("inv nap (process 1, since 00:00:00)\n")
        lock.flush()
        told = {name: inv(*line).stderr for name, line in lines.items()}
    words = "inv nap (process 1, since 00:00:00) is at work in this clone"
    assert {name for name, text in told.items() if words in text} == ALONE
    # What starts at boot needs no settings yet, and the doctor looks without them too.
    others = {text for name, text in told.items() if name not in {*ALONE, "systemd", "doctor"}}
    assert all("There is no .env yet.\nRun: inv install" in text for text in others)
    assert told["systemd"] == ""


def test_bash_completes_verbs(start, surroundings):
    bash = shutil.which("bash")
    surroundings["env"]["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    script = """
        source <(inv --print-completion-script bash)
        name=$(complete -p inv | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(inv re) COMP_CWORD=1
        $name inv re inv
        echo "${COMPREPLY[@]}"
    """
    done = start(bash, "--norc", "-c", script)
    assert (done.stdout.split(), done.stderr) == (["rebuild", "restart", "restore"], "")
