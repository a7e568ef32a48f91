"""Run child processes. No other module does. Secrets are passed in `env` only."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from orchestration.errors import StackError

TAIL_LINES = 12
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Command:
    """An argument list with its environment and working folder."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None

    def __str__(self) -> str:
        """Return the command as it would be typed."""
        return shlex.join(self.argv)


@dataclass(frozen=True)
class Completed:
    """The exit code and output of a command that has finished."""

    code: int
    output: str

    @property
    def failure_output(self) -> str:
        """The last lines of output if the command failed, blank if it succeeded."""
        return tail(self.output) if self.code else ""

    def document(self) -> Any:
        """Return the last JSON object or array printed on a line of its own.

        Docker and libraries may print other lines around it. Raises StackError if there is none.
        """
        for line in reversed(self.output.splitlines()):
            with suppress(ValueError):
                if isinstance(document := json.loads(line), dict | list):
                    return document
        raise StackError(f"Expected JSON, but the command printed:\n{tail(self.output)}")


def run(
    command: Command,
    *,
    check: bool = True,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    source: IO[bytes] | None = None,
    into: IO[bytes] | None = None,
) -> Completed:
    """Run a command and return its exit code and output.

    The output is standard output and standard error together. With `into`, standard output goes to
    that file and the output is standard error alone. `source` is the standard input (default:
    none). `on_line` is called for each line and cannot be combined with `timeout` or `into`.

    Raises StackError if the program is not installed, takes longer than `timeout` seconds or fails.
    Without `check`, a failure raises nothing.
    """
    assert not (on_line and (timeout or into)), "on_line excludes timeout and into"
    stdout, stderr = (into, subprocess.PIPE) if into else (subprocess.PIPE, subprocess.STDOUT)
    streams = {"stdin": source or subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
    with _started(command, text=True, errors="replace", **streams) as process:
        if on_line:
            output = "".join(_each_line(process.stdout or (), on_line))
        else:
            output = _whole_output(process, command, timeout)
    completed = Completed(process.returncode, output)
    if check:
        _check(command, completed)
    return completed


@contextmanager
def stream_output(command: Command, source: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """Yield the standard output of a command as a stream of bytes while it runs.

    On exit, raises StackError with the last lines of standard error if the command failed.
    """
    with tempfile.TemporaryFile() as errors:
        streams = {"stdin": source or subprocess.DEVNULL, "stdout": subprocess.PIPE}
        with _started(command, stderr=errors, **streams) as process:
            assert process.stdout
            yield process.stdout
        errors.seek(0)
        _check(command, Completed(process.returncode, errors.read().decode(errors="replace")))


def attach(command: Command, *, check: bool = False, echo: bool = False) -> int:
    """Run a command on the user's terminal and return its exit code, as a shell reports it.

    Ctrl-C goes to the program alone, which may continue after it. `echo` prints the command first.
    With `check`, a failure raises StackError and an interrupted program KeyboardInterrupt.
    """
    if echo:
        print(f"$ {command}", flush=True)
    previous = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with _started(command) as process:
            code = process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
    code = code if code >= 0 else 128 - code
    if check and code == INTERRUPTED:
        raise KeyboardInterrupt
    if check and code:
        raise StackError(f"{command}\nexited with code {code}. The output above shows why.")
    return code


def find_program(name: str, environment: Mapping[str, str]) -> str:
    """Return a program by its name if it is on PATH, otherwise its path next to this Python.

    At boot systemd does not know the user's PATH.
    """
    on_path = shutil.which(name, path=environment.get("PATH"))
    return name if on_path else str(Path(sys.executable).with_name(name))


def terminate_children() -> None:
    """Send SIGTERM to every child process that is still running."""
    # Imported here, because it would slow down the start of every command.
    import psutil

    # The system lists the children: an interrupt may come before this process has recorded one.
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            process.terminate()


def at_terminal() -> bool:
    """Return whether both standard input and standard output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a command's output, without blank ones."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _each_line(stream: Iterable[str], on_line: Callable[[str], None]) -> Iterator[str]:
    for line in stream:
        on_line(line.rstrip("\n"))
        yield line


def _whole_output(process: subprocess.Popen[str], command: Command, timeout: float | None) -> str:
    try:
        return "".join(filter(None, process.communicate(timeout=timeout)))
    except subprocess.TimeoutExpired:
        process.kill()
        raise StackError(f"Timed out after {timeout:.0f} s: {command}") from None


def _check(command: Command, completed: Completed) -> None:
    if completed.code:
        failure = f"exited with code {completed.code}:\n{completed.failure_output}"
        raise StackError(f"{command}\n{failure}")


@contextmanager
def _started(command: Command, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    try:
        process = subprocess.Popen(command.argv, env=command.env, cwd=command.cwd, **options)
    except FileNotFoundError:
        raise StackError(f"{command.argv[0]} is not installed or not on PATH.") from None
    with process:
        yield process
