"""The one module that spawns processes: argument lists, never a shell, secrets only in `env`."""

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from orchestration import StackError

TAIL_LINES = 12
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Command:
    """An argument list with where and in which environment it runs."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None

    def __str__(self) -> str:
        """As it would be typed."""
        return shlex.join(self.argv)


def ours(name: str, environment: Mapping[str, str]) -> str:
    """A program that was installed beside this Python, also where PATH does not lead there.

    As at boot: systemd knows nothing of a person's environment.
    """
    found = shutil.which(name, path=environment.get("PATH"))
    return name if found else str(Path(sys.executable).with_name(name))


def output(command: Command, *, timeout: float | None = None) -> str:
    """Run to its end and return what it printed.

    Raises StackError with the last lines it printed when it fails, is missing or takes longer
    than `timeout` seconds.
    """
    with _started(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise StackError(f"no answer within {timeout:.0f} s: {command}") from None
    if process.returncode:
        raise StackError(f"{command}\nended with {process.returncode}:\n{tail(said)}")
    return said


def pipe(
    command: Command,
    *,
    source: IO[bytes] | None = None,
    into: IO[bytes] | None = None,
) -> None:
    """Run to its end with a file at each side.

    Raises StackError with the last lines it printed to standard error when it fails.
    """
    with _piped(command, source, into or subprocess.DEVNULL):
        pass


@contextmanager
def reading(command: Command, source: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """What a command prints, as it comes; raises as `pipe` does, once all of it was read."""
    with _piped(command, source, subprocess.PIPE) as process:
        assert process.stdout
        yield process.stdout


@contextmanager
def _piped(
    command: Command, source: IO[bytes] | None, into: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command.argv, env=command.env, cwd=command.cwd, stderr=said,
                stdin=source or subprocess.DEVNULL, stdout=into,
            )  # fmt: skip
        except FileNotFoundError:
            raise StackError(f"{command.argv[0]} is not installed or not on PATH") from None
        with process:
            yield process
        if process.returncode:
            said.seek(0)
            words = tail(said.read().decode(errors="replace"))
            raise StackError(f"{command}\nended with {process.returncode}:\n{words}")


def follow(command: Command, told: Callable[[str], None]) -> int:
    """Run to its end, give each line it prints to `told` at once, and return its exit code."""
    with _started(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            told(line.rstrip("\n"))
    return process.returncode


def words_of_failure(command: Command) -> str:
    """Run to its end; the last lines it printed if it failed, blank if it ended well."""
    said: list[str] = []
    return tail("\n".join(said)) if follow(command, said.append) else ""


def show(command: Command) -> int:
    """Run with the person's own terminal and return its exit code, as a shell would tell it.

    Ctrl-C is for the program: it may mean something else there than the end.
    """
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with _started(command) as process:
            code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def echo(command: Command) -> None:
    """Print the command, run it with the person's terminal, and raise StackError if it fails."""
    print(f"$ {command}", flush=True)
    code = show(command)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise StackError(f"{command}\nended with {code}: the reason stands above")


def end_running() -> None:
    """Ask every process that was started here and still runs to end."""
    # Imported here: each verb would take longer to start.
    import psutil

    # Asked of the system: an interruption may come before what was started is noted anywhere.
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            process.terminate()


@contextmanager
def _started(command: Command, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    captured: dict[str, Any] = {"stderr": subprocess.STDOUT} if "stdout" in streams else {}
    try:
        process = subprocess.Popen(
            command.argv, env=command.env, cwd=command.cwd, text=True, errors="replace",
            **streams, **captured,
        )  # fmt: skip
    except FileNotFoundError:
        raise StackError(f"{command.argv[0]} is not installed or not on PATH") from None
    with process:
        yield process


def at_terminal() -> bool:
    """A person sits at both ends: what is typed comes from a terminal and answers go to one."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a command's output, without blank ones."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
