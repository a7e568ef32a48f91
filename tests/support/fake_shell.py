"""A command runner that starts no processes."""

from collections.abc import Callable
from typing import Any

from orchestration.errors import StackError
from orchestration.process.runner import Command, Completed


class FakeShell:
    """Records commands. `outputs` and `failures` are replies by a part of the command line."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.outputs: dict[str, str] = {}
        self.failures: dict[str, str] = {}

    def run(
        self,
        command: Command,
        *,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
        **_: Any,
    ) -> Completed:
        self.commands.append(command)
        line = str(command)
        reason = next((text for part, text in self.failures.items() if part in line), None)
        if reason and check:
            raise StackError(reason)
        output = next((text for part, text in self.outputs.items() if part in line), "")
        completed = Completed(1 if reason else 0, reason or output)
        for printed in completed.output.splitlines() if on_line else ():
            assert on_line
            on_line(printed)
        return completed

    def attach(self, command: Command, **_: Any) -> int:
        return self.run(command).code

    @property
    def lines(self) -> list[str]:
        return [str(command) for command in self.commands]
