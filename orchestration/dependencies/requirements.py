"""Lock install/requirements.txt, which users edit, and find the line that caused a failure."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from orchestration.dependencies import debian, locks
from orchestration.dependencies.requirements_file import (
    FILE,
    Line,
    applies,
    content,
    lines,
    place,
    refusals,
    requirement,
)
from orchestration.errors import StackError
from orchestration.settings.model import Settings

LOCK = "requirements.lock"
FIX = "Nothing was changed. Correct this, then run: inv rebuild"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
POSITION = re.compile(r"`requirements\.txt` at position (\d+)")
# If the index did not answer, no line is at fault.
UNREACHED = re.compile(r"error sending request|Request failed after|HTTP status server error")
INDEX = "PYPI_INDEX_URL"


def read(settings: Settings) -> str:
    """Return the text of requirements.txt, if it exists. Bytes that are not UTF-8 are replaced."""
    file = settings.root / "install" / FILE
    return file.read_bytes().decode("utf-8-sig", errors="replace") if file.exists() else ""


def refuse_unsupported(settings: Settings) -> None:
    """Raise StackError with each line of requirements.txt or packages.txt that cannot be built."""
    install = settings.root / "install"
    if messages := [*refusals(read(settings), install), *debian.refusals(settings)]:
        raise StackError(*messages, fix=FIX)


@contextmanager
def updated_lock(settings: Settings) -> Iterator[None]:
    """Update the lock file, and restore it if the body of the `with` statement fails.

    Raises StackError with the lines of requirements.txt that probably caused the failure.
    """
    refuse_unsupported(settings)
    lock = settings.root / "install" / LOCK
    original = lock.read_bytes()
    try:
        locks.compile_lock(LOCK, settings)
        yield
    except StackError as error:
        _restore(lock, original)
        at_fault = debian.lines_at_fault(settings, str(error)) or [
            *lines_at_fault(str(error), read(settings), original.decode()),
            *_index_at_fault(str(error), settings),
        ]
        raise StackError(*at_fault, str(error), fix=FIX) from None
    except BaseException:
        _restore(lock, original)
        raise


def lines_at_fault(error: str, text: str, lock: str) -> list[str]:
    """Return the lines of a requirements file that an error is about, as `file line N: …`.

    `lock` is the last one that worked. Lines that it does not satisfy are the likelier causes.
    """
    if UNREACHED.search(error):
        matches = [line for line in lines(text) if _is_at_unreached_url(error, line[1])]
    elif match := POSITION.search(error):
        number = text.encode()[: int(match[1])].count(b"\n") + 1
        matches = [(number, text.split("\n")[number - 1])]
    else:
        mentioned = [line for line in lines(text) if _is_mentioned(error, line[1])]
        new = list(unmet_lines(text, lock))
        matches = [line for line in mentioned if line in new] or new or mentioned
    return [place(*line) for line in matches]


def unmet_lines(text: str, lock: str) -> Iterator[Line]:
    """Yield the new or changed lines of a requirements file, which a lock does not satisfy.

    Lines whose marker excludes the stack's Python or system are satisfied.
    """
    pins = {canonicalize_name(name): version for name, version in PINNED.findall(lock)}
    for number, line in lines(text):
        needed = requirement(line)
        if needed and not applies(needed):
            continue
        if needed and needed.url:
            is_met = needed.url.partition("#")[0] in lock
        else:
            pin = needed and pins.get(canonicalize_name(needed.name))
            is_met = bool(needed and pin and needed.specifier.contains(pin, prereleases=True))
        if not is_met:
            yield number, line


def _is_at_unreached_url(error: str, line: str) -> bool:
    needed = requirement(line)
    host = urlsplit(needed.url or "").hostname if needed else None
    return bool(host) and f"//{host}" in error


def _index_at_fault(error: str, settings: Settings) -> list[str]:
    """Return the line of .env with the package index if that index did not answer."""
    host = urlsplit(settings[INDEX]).hostname
    if not host or not UNREACHED.search(error) or host not in error:
        return []
    file = settings.root / ".env"
    text = file.read_text("utf-8") if file.exists() else ""
    numbers = [n for n, line in enumerate(text.split("\n"), 1) if line.startswith(f"{INDEX}=")]
    where = f".env line {numbers[-1]}" if numbers else "The shell"
    return [f"{where}: {INDEX}: {host} does not answer."]


def _is_mentioned(error: str, line: str) -> bool:
    needed = requirement(line)
    if not needed:
        return content(line) in error
    words = re.split(r"[^A-Za-z0-9._-]+", error)
    names = {canonicalize_name(word.strip(".")) for word in words}
    return canonicalize_name(needed.name) in names


def _restore(lock: Path, original: bytes) -> None:
    if lock.read_bytes() != original:
        lock.write_bytes(original)
