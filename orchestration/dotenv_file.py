"""The file .env: forms that every reader takes alike, blanks filled, values that are set kept."""

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from orchestration import StackError

ASSIGNMENT = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)\s*(?:(=)(.*))?$")
QUOTED = re.compile(r"""^(?:'[^']*'|"[^"]*")\s*$""")


def parse(text: str, name: str = ".env") -> dict[str, str]:
    """Names and values of a settings file's text.

    Raises StackError naming every line of the file `name` that python-dotenv, Compose and systemd
    would not read alike.
    """
    lines = enumerate(text.splitlines(), 1)
    wrong = [f"  line {number}: {why}" for number, line in lines if (why := refusal(line))]
    if wrong:
        raise StackError("\n".join([f"{name} is not read alike by all its readers:", *wrong]))
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {key: value or "" for key, value in values.items()}


def refusal(line: str) -> str | None:
    """Why a line is refused, or None when every reader takes it alike."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    match = ASSIGNMENT.match(line)
    if not match:
        return "not of the form KEY=value"
    name, equals, value = match.groups()
    if not equals:
        return f"{name} has no '=': write {name}=value"
    return value_refusal(value)


def value_refusal(text: str) -> str | None:
    """Why a value's form is refused, or None."""
    value = text.strip()
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote and not QUOTED.match(value):
        closes = value.find(quote, 1) > 0
        return "text after the closing quote" if closes else "a quote is not closed"
    if "$" in value and quote != "'":
        return "a $ is expanded by some readers: put the value in single quotes"
    if "\\" in value and quote != "'":
        return "a backslash is dropped by some readers: put the value in single quotes"
    if not quote and re.search(r"\s#", text):
        return "a comment behind a value: give it a line of its own"
    return None


def fill(text: str, values: Mapping[str, str], blank: tuple[str, ...] = ("",)) -> str:
    """Put `values` where the line of that name holds one of `blank`; all else stays as it is."""

    def line_of(line: str) -> str:
        match = ASSIGNMENT.match(line.strip())
        name, equals, value = match.groups() if match else ("", "", "")
        if equals and name in values and value.strip().strip("\"'") in blank:
            return f"{name}={values[name]}\n"
        return line

    return "".join(line_of(line) for line in text.splitlines(keepends=True))


def missing_blocks(example: str, present: Mapping[str, str]) -> str:
    """The settings of the example that a file lacks, each with the comment above it."""
    block: list[str] = []
    missing: list[str] = []
    for line in example.splitlines(keepends=True):
        block.append(line)
        name, equals, _ = line.partition("=")
        if line.startswith("#") or not equals:
            if not line.strip():
                block = []
            continue
        if name not in present:
            missing += block
        block = []
    return "".join(missing)


def write(path: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner alone."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
