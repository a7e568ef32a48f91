"""The one module that starts child processes, by argument lists; secrets go only in `env`."""

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
    """An argument list with where and in which environment it runs."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None

    def __str__(self) -> str:
        """Return the command as it would be typed."""
        return shlex.join(self.argv)


@dataclass(frozen=True)
class Completed:
    """A command that has ended: its exit code, and what it printed."""

    code: int
    output: str

    @property
    def failure_output(self) -> str:
        """The last lines it printed if it failed, blank if it succeeded."""
        return tail(self.output) if self.code else ""

    def document(self) -> Any:
        """Return the last JSON object or array that it printed on a line of its own.

        What carries the command, or the libraries it uses, may print other lines around it. Raises
        StackError if there is none.
        """
        for line in reversed(self.output.splitlines()):
            with suppress(ValueError):
                if isinstance(found := json.loads(line), dict | list):
                    return found
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
    """Run a command to its end and return its exit code and output.

    The output is standard output and standard error together; with `into`, standard output goes to
    that file and the output is standard error alone. `on_line` gets each line as it is printed.
    `on_line` goes neither with `timeout` nor with `into`. `source` is its standard input (default:
    none).

    Raises StackError with the last lines it printed if it fails (unless `check` is false), if it
    is not installed, or if it takes longer than `timeout` seconds.
    """
    assert not (on_line and (timeout or into)), "lines are read as they come, without a limit"
    stdout, stderr = (into, subprocess.PIPE) if into else (subprocess.PIPE, subprocess.STDOUT)
    streams = {"stdin": source or subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
    with _started(command, text=True, errors="replace", **streams) as process:
        if on_line:
            output = "".join(_each_line(process.stdout or (), on_line))
        else:
            output = _all_at_once(process, command, timeout)
    completed = Completed(process.returncode, output)
    if check:
        _check(command, completed)
    return completed


@contextmanager
def reading(command: Command, source: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """Give the standard output of a command as a stream of bytes while it runs.

    Raises StackError with the last lines of its standard error if it fails, once all was read.
    """
    with tempfile.TemporaryFile() as errors:
        streams = {"stdin": source or subprocess.DEVNULL, "stdout": subprocess.PIPE}
        with _started(command, stderr=errors, **streams) as process:
            assert process.stdout
            yield process.stdout
        errors.seek(0)
        _check(command, Completed(process.returncode, errors.read().decode(errors="replace")))


def attach(command: Command, *, check: bool = False, echo: bool = False) -> int:
    """Run a command on the user's terminal and return its exit code as a shell reports it.

    Ctrl-C goes to the program, which may use it for something other than ending. With `echo` the
    command is printed first. With `check` a failure raises StackError, an interrupt
    KeyboardInterrupt.
    """
    if echo:
        print(f"$ {command}", flush=True)
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with _started(command) as process:
            code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    code = code if code >= 0 else 128 - code
    if check and code == INTERRUPTED:
        raise KeyboardInterrupt
    if check and code:
        raise StackError(f"{command}\nended with {code}: the reason stands above")
    return code


def ours(name: str, environment: Mapping[str, str]) -> str:
    """Return a program that was installed next to this Python, also where PATH does not name it.

    At boot systemd knows nothing of a user's PATH.
    """
    found = shutil.which(name, path=environment.get("PATH"))
    return name if found else str(Path(sys.executable).with_name(name))


def end_running() -> None:
    """Ask every child process that still runs to end."""
    # Imported here: each command would take longer to start.
    import psutil

    # The system is asked: an interruption may come before a child is noted anywhere.
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


def _all_at_once(process: subprocess.Popen[str], command: Command, timeout: float | None) -> str:
    try:
        return "".join(filter(None, process.communicate(timeout=timeout)))
    except subprocess.TimeoutExpired:
        process.kill()
        raise StackError(f"no answer within {timeout:.0f} s: {command}") from None


def _check(command: Command, completed: Completed) -> None:
    if completed.code:
        raise StackError(f"{command}\nended with {completed.code}:\n{completed.failure_output}")


@contextmanager
def _started(command: Command, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    try:
        process = subprocess.Popen(command.argv, env=command.env, cwd=command.cwd, **options)
    except FileNotFoundError:
        raise StackError(f"{command.argv[0]} is not installed or not on PATH") from None
    with process:
        yield process
