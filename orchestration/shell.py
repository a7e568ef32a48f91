"""The one module that spawns processes: argument lists, never a shell, secrets only in `env`."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration import StackError

TAIL_LINES = 12


@dataclass(frozen=True)
class Command:
    """An argument list with where and in which environment it runs."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None

    def __str__(self) -> str:
        """As it would be typed."""
        return shlex.join(self.argv)


def output(command: Command, *, timeout: float | None = None) -> str:
    """Run to its end and return what it printed.

    Raises StackError with the last lines it printed when it fails, is missing or takes longer
    than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            command.argv, env=command.env, cwd=command.cwd, timeout=timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise StackError(f"{command.argv[0]} is not installed or not on PATH") from None
    except subprocess.TimeoutExpired:
        raise StackError(f"no answer within {timeout:.0f} s: {command}") from None
    if done.returncode:
        raise StackError(f"{command}\nended with {done.returncode}:\n{tail(done.stdout)}")
    return done.stdout


def show(command: Command) -> int:
    """Run with the person's own terminal and return its exit code; Ctrl-C ends it quietly."""
    with subprocess.Popen(command.argv, env=command.env, cwd=command.cwd) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            return 130


def echo(command: Command) -> None:
    """Print the command, run it with the person's terminal, and raise StackError if it fails."""
    print(f"$ {command}", flush=True)
    code = show(command)
    if code:
        raise StackError(f"{command}\nended with {code}: the reason stands above")


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a command's output, without blank ones."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
