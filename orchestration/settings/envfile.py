"""Read and edit .env, in syntax that python-dotenv, Compose and systemd parse alike."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from orchestration.errors import Problem, StackError
from orchestration.files import atomic_write

BLANKS = " \t"
# In "export = 1", export is a keyword to Compose and python-dotenv, but a name to systemd.
ASSIGNMENT = re.compile(r"(?!export[ \t])([A-Za-z_][A-Za-z0-9_]*)[ \t]*(?:(=)(.*))?")
QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
# Control characters and Unicode's noncharacters: systemd rejects a file that contains one.
UNREADABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)


def read(path: Path) -> str:
    """Return the text of a settings file with its original line endings.

    Raises StackError with the number of the first line that is not UTF-8.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        errors = [f"  line {line}: not UTF-8: type the line again"]
        raise StackError(_unusable(path.name, errors)) from None


def parse(text: str, name: str = ".env") -> dict[str, str]:
    """Return the names and values in the text of a settings file.

    Raises StackError with every line of the file `name` that its readers would parse differently.
    """
    lines = enumerate(text.split("\n"), 1)
    errors = [f"  line {number}: {why}" for number, line in lines if (why := line_error(line))]
    if errors:
        raise StackError(_unusable(name, errors))
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {key: value or "" for key, value in values.items()}


def _unusable(name: str, errors: list[str]) -> Problem:
    cause = "\n".join([f"{name} has lines that its readers parse differently:", *errors])
    return Problem("env-unusable", cause, "Correct these lines, then run: inv up", name)


def line_error(line: str) -> str | None:
    """Return why a line is rejected, or None if all readers parse it alike."""
    line = line.removesuffix("\r")
    if line.startswith("\ufeff"):
        return "a byte order mark: save the file as UTF-8 without it"
    if odd := UNREADABLE.search(line):
        return f"the character U+{ord(odd[0]):04X} is not accepted by all readers: remove it"
    line = line.strip(BLANKS)
    if line.startswith("#") and line.endswith("\\"):
        return "a backslash at its end: some readers continue the comment on the next line"
    if not line or line.startswith("#"):
        return None
    match = ASSIGNMENT.fullmatch(line)
    if not match:
        return "not of the form KEY=value"
    name, equals, value = match.groups()
    if not equals:
        return f"{name} has no '=': write {name}=value"
    return value_error(value)


def value_error(text: str) -> str | None:
    """Return why a value is rejected, or None."""
    value = text.strip(BLANKS)
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote and not QUOTED.fullmatch(value):
        closes = value.find(quote, 1) > 0
        return "text after the closing quote" if closes else "a quote is not closed"
    if "${" in value:
        return "a ${ is expanded by some readers even in quotes: write the value in full"
    return single_quoted_error(value) if quote == "'" else plain_error(text, quote)


def single_quoted_error(value: str) -> str | None:
    """Return why a value in single quotes is rejected, or None."""
    if "\\\\" in value or value.endswith("\\'"):
        return "a backslash before another, or before the closing quote: some readers drop it"
    return None


def plain_error(text: str, quote: str) -> str | None:
    """Return why a value in double quotes or without quotes is rejected, or None."""
    if "$" in text:
        return "a $ is expanded by some readers: put the value in single quotes"
    if "\\" in text:
        return "a backslash is dropped by some readers: put the value in single quotes"
    if quote:
        return None
    if re.search(r"[ \t]#", text):
        return "a comment after a value: put it on a line of its own"
    if any(char.isspace() and char not in BLANKS for char in text):
        return "an unusual space character: use a plain space, or put the value in quotes"
    return None


def written(name: str, value: str) -> str:
    """Return a value as it is written after `NAME=`, in single quotes if it needs them.

    Raises StackError if no form is read alike by all readers.
    """
    for form in (value, f"'{value}'"):
        if not line_error(f"{name}={form}") and parse(f"{name}={form}") == {name: value}:
            return form
    cause = f"The value of {name} in this shell cannot be written to .env."
    fix = f"Use a value without ' and ${{, and without a backslash at its end, or: unset {name}"
    raise StackError(Problem("env-unusable", cause, fix, ".env"))


def fill(text: str, values: Mapping[str, str], blank: tuple[str, ...] | None = ("",)) -> str:
    """Set each name in `values` whose current value is in `blank`, or any value if `blank` is None.

    Everything else in the text stays byte for byte.
    """

    def fill_line(line: str) -> str:
        bare = line.removesuffix("\r")
        match = ASSIGNMENT.fullmatch(bare.strip(BLANKS))
        name, equals, value = match.groups() if match else ("", "", "")
        if equals and name in values and (blank is None or unquote(value) in blank):
            return f"{name}={values[name]}{line[len(bare) :]}"
        return line

    return "\n".join(fill_line(line) for line in text.split("\n"))


def raw_values(text: str) -> dict[str, str]:
    """Return the settings as they are written after `=`, including quotes."""
    lines = (ASSIGNMENT.fullmatch(line.strip(BLANKS)) for line in text.splitlines())
    return {match[1]: match[3].strip(BLANKS) for match in lines if match and match[2]}


def unquote(value: str) -> str:
    """Return a value without surrounding blanks and one pair of quotes."""
    value = value.strip(BLANKS)
    return value[1:-1] if QUOTED.fullmatch(value) else value


def missing_blocks(example: str, present: Mapping[str, str]) -> str:
    """Return the settings of the example that a file lacks, each with the comment above it."""
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


def comments(text: str) -> dict[str, str]:
    """Return the comment above each setting as one line; adjacent settings share a comment."""
    comment_of: dict[str, str] = {}
    above: list[str] = []
    is_complete = False
    for line in text.splitlines():
        if line.startswith("#"):
            above = [*([] if is_complete else above), line.removeprefix("#").strip()]
            is_complete = False
        elif match := ASSIGNMENT.fullmatch(line):
            comment_of[match[1]], is_complete = " ".join(above), True
        else:
            above, is_complete = [], False
    return comment_of


def append(text: str, block: str) -> str:
    """Append a blank line and `block` in the text's own line endings."""
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += "\n" if text.endswith("\r") else end
    return text + end + block.replace("\n", end)


def write(path: Path, text: str) -> None:
    """Replace the file atomically, readable by its owner only."""
    atomic_write(path, text, 0o600)
