"""install/requirements.txt, what a person adds: its lock, and the line a failure comes from."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from orchestration.dependencies import locks
from orchestration.errors import StackError
from orchestration.settings.model import Settings

FILE, LOCK = "requirements.txt", "requirements.lock"
NEXT = "nothing was changed; mend that, then: inv rebuild"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
POSITION = re.compile(r"`requirements\.txt` at position (\d+)")
# No line is at fault where the index did not answer.
UNREACHED = re.compile(r"error sending request|Request failed after|HTTP status server error")
Line = tuple[int, str]


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """The lock brought up to date; put back as it was when what follows fails.

    Raises StackError with the line of requirements.txt that a failure, here or in what follows,
    comes from as far as its words tell.
    """
    lock = settings.root / "install" / LOCK
    before = lock.read_bytes()
    try:
        locks.compile_one(LOCK, settings)
        yield
    except StackError as error:
        _put_back(lock, before)
        text = (lock.parent / FILE).read_bytes().decode("utf-8-sig", errors="replace")
        why = [*blamed(str(error), text, before.decode()), str(error), NEXT]
        raise StackError("\n".join(why)) from None
    except BaseException:
        _put_back(lock, before)
        raise


def blamed(words: str, text: str, lock: str) -> list[str]:
    """The lines of a requirements file that an error's words are about, as `file line N: …`.

    `lock` is the last one that worked: a line that it does not fulfil is the likelier cause.
    """
    if UNREACHED.search(words):
        return []
    if found := POSITION.search(words):
        number = text.encode()[: int(found[1])].count(b"\n") + 1
        lines = [(number, text.split("\n")[number - 1])]
    else:
        named = [line for line in _lines(text) if _named_in(words, line[1])]
        new = list(unfulfilled(text, lock))
        lines = [line for line in named if line in new] or new or named
    return [f"install/{FILE} line {number}: {line.strip()}" for number, line in lines]


def unfulfilled(text: str, lock: str) -> Iterator[Line]:
    """The lines of a requirements file that a lock does not fulfil: new or changed ones."""
    pins = {canonicalize_name(name): version for name, version in PINNED.findall(lock)}
    for number, line in _lines(text):
        asked = _requirement(line)
        pinned = asked and pins.get(canonicalize_name(asked.name))
        if not asked or not pinned or not asked.specifier.contains(pinned, prereleases=True):
            yield number, line


def _lines(text: str) -> list[Line]:
    numbered = enumerate(text.split("\n"), 1)
    return [(n, line) for n, line in numbered if line.strip() and not line.lstrip().startswith("#")]


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(re.split(r"\s+(?:#|--hash)", line)[0].strip())
    except InvalidRequirement:
        return None


def _named_in(words: str, line: str) -> bool:
    asked = _requirement(line)
    if not asked:
        return line.strip() in words
    spelled = re.split(r"[^A-Za-z0-9._-]+", words)
    return canonicalize_name(asked.name) in {canonicalize_name(word.strip(".")) for word in spelled}


def _put_back(lock: Path, before: bytes) -> None:
    if lock.read_bytes() != before:
        lock.write_bytes(before)
