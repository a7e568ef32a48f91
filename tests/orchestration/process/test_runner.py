"""Test running child processes: arguments, output, interrupts and errors."""

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


def test_find_program_not_on_path_is_next_to_python(tmp_path):
    expected = str(Path(sys.executable).with_name("supervisord"))
    assert runner.find_program("supervisord", {"PATH": str(tmp_path)}) == expected
    assert runner.find_program("sh", {"PATH": "/usr/bin:/bin"}) == "sh"


def test_run_output_has_both_streams():
    assert runner.run(sh("echo one; echo two >&2")).output == "one\ntwo\n"


def test_run_passes_arguments_without_a_shell():
    assert runner.run(Command(("/bin/echo", "$HOME; ls *"))).output == "$HOME; ls *\n"


def test_run_failure_reports_command_code_and_last_lines():
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo line $i; done; exit 7"
    with pytest.raises(StackError) as failed:
        runner.run(sh(script))
    message = str(failed.value)
    assert message.startswith("/bin/sh -c 'for i in")
    assert "exited with code 7:" in message
    assert message.endswith("line 13\nline 14")
    assert "line 2\n" not in message


def test_run_missing_program_is_named():
    with pytest.raises(StackError, match="no-such-program is not installed"):
        runner.run(Command(("no-such-program", "--version")))


def test_run_timeout_ends_the_program():
    with pytest.raises(StackError, match=r"^Timed out after 0 s: sleep 30$"):
        runner.run(Command(("sleep", "30")), timeout=0.05)


def test_run_uses_only_the_given_environment(monkeypatch):
    monkeypatch.setenv("STRAY", "1")
    script = 'echo "${STRAY-unset} $GIVEN"'
    assert runner.run(sh(script, env={"GIVEN": "2"})).output == "unset 2\n"


def test_run_uses_the_working_folder(tmp_path):
    assert runner.run(sh("pwd", cwd=tmp_path)).output.strip() == str(tmp_path)


@pytest.fixture
def pending_input():
    """Put text on the standard input of this process, as on a user's terminal."""
    reading, writing = os.pipe()
    os.write(writing, b"typed")
    os.close(writing)
    original = os.dup(0)
    os.dup2(reading, 0)
    yield
    os.dup2(original, 0)
    os.close(original)
    os.close(reading)


def test_run_gives_no_terminal_input(pending_input):
    assert runner.run(Command(("cat",)), timeout=5).output == ""


def test_run_replaces_bytes_that_are_not_utf8():
    assert runner.run(sh(r"printf 'a\377b'")).output == "a\ufffdb"


def test_command_text_is_quoted_and_omits_environment():
    command = Command(("docker", "run", "a b", "$x"), env={"SECRET": "hidden"})
    assert str(command) == "docker run 'a b' '$x'"


def test_attach_returns_the_exit_code(capfd):
    assert runner.attach(sh("echo shown; exit 3")) == 3
    assert capfd.readouterr().out == "shown\n"


def test_attach_interrupt_goes_to_the_program(tmp_path):
    # The program handles the signal, as a pager or a shell does, and exits by itself later.
    script = f"trap 'touch {tmp_path}/trapped' INT; kill -INT $PPID $$; sleep 0.1; exit 3"
    assert runner.attach(sh(script)) == 3
    assert (tmp_path / "trapped").exists()


def test_attach_interrupted_program_returns_130():
    assert runner.attach(sh("kill -INT $$")) == runner.INTERRUPTED == 128 + signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        runner.attach(sh("kill -INT $$"), check=True, echo=True)


def test_run_calls_on_line_for_each_line():
    lines, script = [], "echo one; echo two >&2; exit 4"
    assert runner.run(sh(script), check=False, on_line=lines.append).code == 4
    assert lines == ["one", "two"]


INTERRUPTED = """
import psutil
from orchestration.process import runner

def interrupt(line):
    raise KeyboardInterrupt

try:
    command = runner.Command(("/bin/sh", "-c", "echo started; exec sleep 60"))
    runner.run(command, on_line=interrupt)
except KeyboardInterrupt:
    (process,) = psutil.Process().children()
    runner.terminate_children()
    print(process.wait(5))
"""


def test_terminate_children_ends_processes_after_interrupt():
    # In a separate process, because all children of the process are terminated.
    argv = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"{-signal.SIGTERM}\n", done.stderr


def test_attach_echo_prints_command_before_output(capfd):
    hidden = {"SECRET": "hidden"}  # pragma: allowlist secret
    runner.attach(sh("echo done", env=hidden), check=True, echo=True)
    assert capfd.readouterr().out == "$ /bin/sh -c 'echo done'\ndone\n"


def test_attach_check_raises_on_failure(capfd):
    with pytest.raises(StackError, match="exited with code 4"):
        runner.attach(
            Command((sys.executable, "-S", "-c", "raise SystemExit(4)")), check=True, echo=True
        )


@pytest.mark.parametrize(
    ("text", "lines", "expected"), [("a\n\nb\n \nc\n", 2, "b\nc"), ("a", 5, "a"), ("", 5, "")]
)
def test_tail_omits_blank_lines(text, lines, expected):
    assert runner.tail(text, lines) == expected
