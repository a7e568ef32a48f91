"""Processes: argument lists, their output, their end, and what is said when they fail."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.runner import Command
from tests.support.repository import ROOT


def sh(script, **options):
    return Command(("/bin/sh", "-c", script), **options)


def test_a_program_beside_this_python_is_found_at_boot_too(tmp_path):
    beside = str(Path(sys.executable).with_name("supervisord"))
    assert runner.ours("supervisord", {"PATH": str(tmp_path)}) == beside
    assert runner.ours("sh", {"PATH": "/usr/bin:/bin"}) == "sh"


def test_output_is_what_was_printed_on_either_stream():
    assert runner.run(sh("echo one; echo two >&2")).output == "one\ntwo\n"


def test_an_argument_is_never_read_by_a_shell():
    assert runner.run(Command(("/bin/echo", "$HOME; ls *"))).output == "$HOME; ls *\n"


def test_a_failure_tells_the_command_its_code_and_its_last_lines():
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo line $i; done; exit 7"
    with pytest.raises(StackError) as failed:
        runner.run(sh(script))
    told = str(failed.value)
    assert told.startswith("/bin/sh -c 'for i in")
    assert "ended with 7:" in told
    assert told.endswith("line 13\nline 14")
    assert "line 2\n" not in told


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(StackError, match="no-such-program is not installed"):
        runner.run(Command(("no-such-program", "--version")))


def test_a_program_that_takes_too_long_is_ended():
    with pytest.raises(StackError, match=r"no answer within 0 s: sleep 30"):
        runner.run(Command(("sleep", "30")), timeout=0.05)


def test_the_environment_is_the_given_one_alone(monkeypatch):
    monkeypatch.setenv("STRAY", "1")
    script = 'echo "${STRAY-unset} $GIVEN"'
    assert runner.run(sh(script, env={"GIVEN": "2"})).output == "unset 2\n"


def test_a_command_runs_in_its_folder(tmp_path):
    assert runner.run(sh("pwd", cwd=tmp_path)).output.strip() == str(tmp_path)


@pytest.fixture
def typed():
    """Something waits on the standard input of this process, as on a person's terminal."""
    reading, writing = os.pipe()
    os.write(writing, b"typed")
    os.close(writing)
    kept = os.dup(0)
    os.dup2(reading, 0)
    yield
    os.dup2(kept, 0)
    os.close(kept)
    os.close(reading)


def test_a_command_cannot_read_what_the_person_types(typed):
    assert runner.run(Command(("cat",)), timeout=5).output == ""


def test_bytes_that_are_no_text_do_not_break_it():
    assert runner.run(sh(r"printf 'a\377b'")).output == "a\ufffdb"


def test_a_command_reads_as_it_would_be_typed_and_never_shows_its_environment():
    command = Command(("docker", "run", "a b", "$x"), env={"SECRET": "hidden"})
    assert str(command) == "docker run 'a b' '$x'"


def test_show_returns_the_exit_code(capfd):
    assert runner.attach(sh("echo shown; exit 3")) == 3
    assert capfd.readouterr().out == "shown\n"


def test_an_interrupt_is_left_to_the_program_and_its_end_waited_for(tmp_path):
    # The program makes something of it, as a pager or a shell does, and goes on to its own end.
    script = f"trap 'echo heard > {tmp_path}/heard' INT; kill -INT $PPID $$; sleep 0.1; exit 3"
    assert runner.attach(sh(script)) == 3
    assert (tmp_path / "heard").exists()


def test_a_program_that_an_interrupt_ends_is_told_as_a_shell_tells_it():
    assert runner.attach(sh("kill -INT $$")) == runner.INTERRUPTED == 128 + signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        runner.attach(sh("kill -INT $$"), check=True, echo=True)


def test_lines_are_told_as_they_come():
    told = []
    assert (
        runner.run(sh("echo one; echo two >&2; exit 4"), check=False, on_line=told.append).code == 4
    )
    assert told == ["one", "two"]


INTERRUPTED = """
import psutil
from orchestration.process import runner

def interrupted(line):
    raise KeyboardInterrupt

try:
    started = runner.Command(("/bin/sh", "-c", "echo started; exec sleep 60"))
    runner.run(started, on_line=interrupted)
except KeyboardInterrupt:
    (process,) = psutil.Process().children()
    runner.end_running()
    print(process.wait(5))
"""


def test_what_still_runs_when_a_verb_is_interrupted_is_ended():
    # In a process of its own: all that it started is ended.
    argv = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"{-signal.SIGTERM}\n", done.stderr


def test_echo_prints_the_command_before_its_output(capfd):
    hidden = {"SECRET": "hidden"}  # pragma: allowlist secret
    runner.attach(sh("echo done", env=hidden), check=True, echo=True)
    assert capfd.readouterr().out == "$ /bin/sh -c 'echo done'\ndone\n"


def test_echo_raises_where_the_command_fails(capfd):
    with pytest.raises(StackError, match="ended with 4"):
        runner.attach(
            Command((sys.executable, "-S", "-c", "raise SystemExit(4)")), check=True, echo=True
        )


@pytest.mark.parametrize(
    ("text", "lines", "expected"), [("a\n\nb\n \nc\n", 2, "b\nc"), ("a", 5, "a"), ("", 5, "")]
)
def test_tail_leaves_out_blank_lines(text, lines, expected):
    assert runner.tail(text, lines) == expected
