"""What can go wrong, as data: text is made where it is printed."""

from dataclasses import dataclass


class StackError(Exception):
    """An expected failure: what happened, why, and the next command, in one to a few lines."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `code` names its kind for machines, `cause` explains it, `fix` is what to type, `where` is the
    service or file it was seen in. None of them contains a secret.
    """

    code: str
    cause: str
    fix: str
    where: str
