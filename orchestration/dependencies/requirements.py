"""Lock install/requirements.txt, which users edit, and find the line that caused a failure."""

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
FIX = "Nothing was changed. Correct this, then run: inv rebuild"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
POSITION = re.compile(r"`requirements\.txt` at position (\d+)")
# If the index did not answer, no line is at fault.
UNREACHED = re.compile(r"error sending request|Request failed after|HTTP status server error")
Line = tuple[int, str]


@contextmanager
def updated_lock(settings: Settings) -> Iterator[None]:
    """Update the lock file, and restore it if the body of the `with` statement fails.

    Raises StackError with the lines of requirements.txt that probably caused the failure.
    """
    lock = settings.root / "install" / LOCK
    original = lock.read_bytes()
    try:
        locks.compile_lock(LOCK, settings)
        yield
    except StackError as error:
        _restore(lock, original)
        text = (lock.parent / FILE).read_bytes().decode("utf-8-sig", errors="replace")
        lines = lines_at_fault(str(error), text, original.decode())
        raise StackError(*lines, str(error), fix=FIX) from None
    except BaseException:
        _restore(lock, original)
        raise


def lines_at_fault(error: str, text: str, lock: str) -> list[str]:
    """Return the lines of a requirements file that an error is about, as `file line N: …`.

    `lock` is the last one that worked. Lines that it does not satisfy are the likelier causes.
    """
    if UNREACHED.search(error):
        return []
    if match := POSITION.search(error):
        number = text.encode()[: int(match[1])].count(b"\n") + 1
        lines = [(number, text.split("\n")[number - 1])]
    else:
        mentioned = [line for line in _lines(text) if _is_mentioned(error, line[1])]
        new = list(unmet_lines(text, lock))
        lines = [line for line in mentioned if line in new] or new or mentioned
    return [f"install/{FILE} line {number}: {line.strip()}" for number, line in lines]


def unmet_lines(text: str, lock: str) -> Iterator[Line]:
    """Yield the new or changed lines of a requirements file, which a lock does not satisfy."""
    pins = {canonicalize_name(name): version for name, version in PINNED.findall(lock)}
    for number, line in _lines(text):
        requirement = _requirement(line)
        pin = requirement and pins.get(canonicalize_name(requirement.name))
        if not requirement or not pin or not requirement.specifier.contains(pin, prereleases=True):
            yield number, line


def _lines(text: str) -> list[Line]:
    numbered = enumerate(text.split("\n"), 1)
    return [(n, line) for n, line in numbered if line.strip() and not line.lstrip().startswith("#")]


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(re.split(r"\s+(?:#|--hash)", line)[0].strip())
    except InvalidRequirement:
        return None


def _is_mentioned(error: str, line: str) -> bool:
    requirement = _requirement(line)
    if not requirement:
        return line.strip() in error
    words = re.split(r"[^A-Za-z0-9._-]+", error)
    names = {canonicalize_name(word.strip(".")) for word in words}
    return canonicalize_name(requirement.name) in names


def _restore(lock: Path, original: bytes) -> None:
    if lock.read_bytes() != original:
        lock.write_bytes(original)
