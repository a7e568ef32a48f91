"""Problems and errors as data, formatted only where they are printed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One problem, with its cause and its fix.

    `code` identifies the kind of problem for programs. `cause` explains it in full sentences. `fix`
    is a command, or a sentence that begins with a capital letter. `where` is the service or file
    that has the problem. No field contains a secret.
    """

    code: str
    cause: str
    fix: str
    where: str

    def __str__(self) -> str:
        """Return the cause and, on the next line, the fix."""
        return f"{self.cause}\n{next_step(self.fix)}"


class StackError(Exception):
    """An expected failure, described by lines of text, problems or both.

    The optional `fix` is the last line. `reason` is the text without it. `exit_code` is that of the
    command.
    """

    exit_code = 1

    def __init__(self, *parts: str | Problem, fix: str = "") -> None:
        self.problems = tuple(part for part in parts if isinstance(part, Problem))
        self.reason = ("\n\n" if len(self.problems) > 1 else "\n").join(map(str, parts))
        super().__init__("\n".join(filter(None, (self.reason, fix and next_step(fix)))))


class UsageError(StackError):
    """An argument on the command line that is invalid whatever the state of the stack."""

    exit_code = 2


def next_step(fix: str) -> str:
    """Format a fix for people: a sentence stays as it is, a command follows `Run:`."""
    return fix if fix[:1].isupper() else f"Run: {fix}"
