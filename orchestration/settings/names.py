"""Check the names in .env: each line has an effect, and no line hides another."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from orchestration.errors import Problem
from orchestration.settings import airflow_variables, envfile

# Override files of the user. Like Compose, we use the first one that exists.
OVERRIDE_FILES = (
    *("compose.override.yml", "compose.override.yaml"),
    *("docker-compose.override.yml", "docker-compose.override.yaml"),
)
REFERENCE = re.compile(r"\$\{?([A-Za-z_]\w*)")


def problems(text: str, known: Collection[str], root: Path) -> list[Problem]:
    """Return one problem with all lines of a .env that have no effect or an unexpected one.

    `known` are the names of all settings. An override file in the clone `root` adds its own.
    """
    folder = root / "orchestration"
    if errors := [*_errors(text, {*known, *_override_names(folder)}, folder)]:
        cause = "\n".join([".env has lines without effect:", *errors])
        return [Problem("env-unusable", cause, "Correct these lines, then run: inv up", ".env")]
    return []


def without_effect(names: Iterable[str], known: Collection[str], root: Path) -> list[str]:
    """Return the names that a .env of the clone `root` must not contain."""
    folder = root / "orchestration"
    accepted = {*known, *_override_names(folder)}
    return [name for name in names if _unknown(name, accepted, folder)]


def override_file(folder: Path) -> Path | None:
    """Return the user's override file next to the Compose files, if there is one."""
    return next((folder / name for name in OVERRIDE_FILES if (folder / name).exists()), None)


def _override_names(folder: Path) -> set[str]:
    path = override_file(folder)
    return set(REFERENCE.findall(path.read_text("utf-8"))) if path else set()


def _errors(text: str, known: Collection[str], folder: Path) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        match = envfile.ASSIGNMENT.fullmatch(line.removesuffix("\r").strip(envfile.BLANKS))
        if not match:
            continue
        name, before = match[1], line.partition("=")[0]
        if before.rstrip(envfile.BLANKS) != before:
            yield f"  line {number}: a space before '=': write {name}=value"
        elif name in first:
            yield f"  line {number}: {name} is already set in line {first[name]}: remove one"
        elif why := _unknown(name, known, folder):
            yield f"  line {number}: {name}: {why}"
        first.setdefault(name, number)


def _unknown(name: str, known: Collection[str], folder: Path) -> str:
    if name in known:
        return ""
    if name.upper().startswith(airflow_variables.PREFIXES):
        return airflow_variables.refusal(name, folder)
    similar = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.75)
    question = f". Did you mean {similar[0]}?" if similar else ""
    return f"no setting of this name{question}"
