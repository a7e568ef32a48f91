"""Problems as data: their text is written where they are found and formatted where it is shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `code` names its kind for machines. `cause` explains it in full sentences. `fix` is one command,
    or a sentence, which begins with a capital. `where` is the service or file it was found in. None
    of them contains a secret.
    """

    code: str
    cause: str
    fix: str
    where: str

    def __str__(self) -> str:
        """Return the cause and, on a line of its own, what to do."""
        return f"{self.cause}\n{next_step(self.fix)}"


class StackError(Exception):
    """An expected failure: lines of text, problems, or both, and at the end `fix`, if there is one.

    `reason` is the text without `fix`.
    """

    def __init__(self, *parts: str | Problem, fix: str = "") -> None:
        self.problems = tuple(part for part in parts if isinstance(part, Problem))
        self.reason = ("\n\n" if len(self.problems) > 1 else "\n").join(map(str, parts))
        super().__init__("\n".join(filter(None, (self.reason, fix and next_step(fix)))))


def next_step(fix: str) -> str:
    """Return a fix as people read it: a sentence as it is, a command after `Run:`."""
    return fix if fix[:1].isupper() else f"Run: {fix}"
