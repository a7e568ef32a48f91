"""Record which packages the Airflow build in use was made from, and find later changes."""

import json
from collections.abc import Iterator
from typing import Any

from orchestration import checksums
from orchestration.dependencies import debian, requirements
from orchestration.dependencies.requirements_file import FILE, WHEEL, content, lines, place
from orchestration.errors import Problem
from orchestration.files import atomic_write
from orchestration.settings.model import Settings

RECORD = ".applied-packages.json"
NAMED = 3


def record(settings: Settings) -> None:
    """Write the current packages to the record, once a build with them is active.

    Lines of requirements.txt that the lock does not satisfy are not in that build.
    """
    unmet = dict(requirements.unmet_lines(requirements.read(settings), _lock(settings)))
    packages = _packages(settings)
    kept = {key: n for key, n in packages[FILE].items() if n not in unmet}
    document = json.dumps({**packages, FILE: kept}, indent=1)
    atomic_write(settings.root / RECORD, f"{document}\n", 0o600)


def changes(settings: Settings) -> list[str]:
    """Return each change of the packages that the build in use does not have.

    Comments and the order of lines do not count.
    """
    text, current = requirements.read(settings), _packages(settings)
    previous = _read(settings)
    shown = {number: place(number, line) for number, line in lines(text)}
    if not previous:
        return [shown[number] for number, _ in requirements.unmet_lines(text, _lock(settings))]
    new = [n for line, n in current[FILE].items() if line not in previous[FILE]]
    messages = [shown[number] for number in new]
    messages += _removed(FILE, previous, current)
    messages += [
        f"install/{debian.FILE} line {number}: {name}"
        for name, number in current[debian.FILE].items()
        if name not in previous[debian.FILE]
    ]
    messages += _removed(debian.FILE, previous, current)
    if not messages and current["pins"] != previous["pins"]:
        messages.append("install/airflow.lock or install/requirements.lock")
    return messages


def problems(settings: Settings) -> Iterator[Problem]:
    """Yield one problem if packages were changed and not applied."""
    if messages := changes(settings):
        more = f", and {len(messages) - NAMED} more" if len(messages) > NAMED else ""
        names = f"{', '.join(messages[:NAMED])}{more}"
        cause = f"Changed packages are not in the Airflow build in use: {names}."
        yield Problem("packages-not-applied", cause, "inv rebuild", f"install/{FILE}")


def _packages(settings: Settings) -> dict[str, Any]:
    """Return each line with packages and its number, and a checksum of all pinned versions."""
    install = settings.root / "install"
    files = (install / lock for lock in ("airflow.lock", requirements.LOCK))
    text = "".join(file.read_text("utf-8", "replace") for file in files if file.exists())
    return {
        FILE: {_identity(settings, line): n for n, line in lines(requirements.read(settings))},
        debian.FILE: {name: number for number, name in debian.lines(settings)},
        "pins": checksums.digest_of_files(dict(requirements.PINNED.findall(text)))["digest"],
    }


def _identity(settings: Settings, line: str) -> str:
    """Return a line, for a local wheel with the checksum of the file."""
    text = content(line)
    if wheel := WHEEL.search(text):
        file = settings.root / "install" / "wheels" / wheel[1]
        text += f" {checksums.sha256_of(file)}" if file.is_file() else ""
    return text


def _removed(file: str, previous: dict[str, Any], current: dict[str, Any]) -> list[str]:
    names = [line.split(" ")[0] for line in previous[file] if line not in current[file]]
    kept = {line.split(" ")[0] for line in current[file]}
    return [f"{name} was removed from install/{file}" for name in names if name not in kept]


def _lock(settings: Settings) -> str:
    lock = settings.root / "install" / requirements.LOCK
    return lock.read_text("utf-8", "replace") if lock.exists() else ""


def _read(settings: Settings) -> dict[str, Any]:
    """Return the record; empty for a build of an older version, or if it cannot be read."""
    try:
        document = json.loads((settings.root / RECORD).read_text("utf-8"))
        return document if {FILE, debian.FILE, "pins"} <= set(document) else {}
    except (OSError, ValueError, TypeError):
        return {}
