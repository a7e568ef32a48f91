"""The file .env: forms that every reader takes alike, blanks filled, values that are set kept."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from orchestration.errors import Problem, StackError
from orchestration.files import atomic_write

BLANKS = " \t"
# "export = 1" is Compose's and python-dotenv's keyword without a name, and systemd's name.
ASSIGNMENT = re.compile(r"(?!export[ \t])([A-Za-z_][A-Za-z0-9_]*)[ \t]*(?:(=)(.*))?")
QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
# Besides control characters, those that Unicode keeps for no text: systemd refuses the file.
UNREADABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)


def read(path: Path) -> str:
    """The text of a settings file, line ends as they are.

    Raises StackError naming the first line that is not UTF-8.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        refused = [f"  line {line}: not UTF-8: write the line again"]
        raise StackError(_unusable(path.name, refused)) from None


def parse(text: str, name: str = ".env") -> dict[str, str]:
    """Names and values of a settings file's text.

    Raises StackError naming every line of the file `name` that python-dotenv, Compose and systemd
    would not read alike.
    """
    lines = enumerate(text.split("\n"), 1)
    refused = [f"  line {number}: {why}" for number, line in lines if (why := refusal(line))]
    if refused:
        raise StackError(_unusable(name, refused))
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {key: value or "" for key, value in values.items()}


def _unusable(name: str, refused: list[str]) -> Problem:
    cause = "\n".join([f"{name} has lines that its readers parse differently:", *refused])
    return Problem("env-unusable", cause, "Correct these lines, then run: inv up", name)


def refusal(line: str) -> str | None:
    """Why a line is refused, or None when every reader takes it alike."""
    line = line.removesuffix("\r")
    if line.startswith("\ufeff"):
        return "a byte order mark: save the file as UTF-8 without it"
    if odd := UNREADABLE.search(line):
        return f"the character U+{ord(odd[0]):04X} is not read by all: take it out"
    line = line.strip(BLANKS)
    if line.startswith("#") and line.endswith("\\"):
        return "a backslash at its end: some readers take the next line for more of the comment"
    if not line or line.startswith("#"):
        return None
    match = ASSIGNMENT.fullmatch(line)
    if not match:
        return "not of the form KEY=value"
    name, equals, value = match.groups()
    if not equals:
        return f"{name} has no '=': write {name}=value"
    return value_refusal(value)


def value_refusal(text: str) -> str | None:
    """Why a value's form is refused, or None."""
    value = text.strip(BLANKS)
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote and not QUOTED.fullmatch(value):
        closes = value.find(quote, 1) > 0
        return "text after the closing quote" if closes else "a quote is not closed"
    if "${" in value:
        return "a ${ is expanded by some readers in any quotes: write out what it stands for"
    return single_quoted_refusal(value) if quote == "'" else plain_refusal(text, quote)


def single_quoted_refusal(value: str) -> str | None:
    """Why a value in single quotes is refused, or None."""
    if "\\\\" in value or value.endswith("\\'"):
        return "a backslash before another, or before the closing quote: some readers drop it"
    return None


def plain_refusal(text: str, quote: str) -> str | None:
    """Why a value in double quotes or none is refused, or None."""
    if "$" in text:
        return "a $ is expanded by some readers: put the value in single quotes"
    if "\\" in text:
        return "a backslash is dropped by some readers: put the value in single quotes"
    if quote:
        return None
    if re.search(r"[ \t]#", text):
        return "a comment behind a value: give it a line of its own"
    if any(char.isspace() and char not in BLANKS for char in text):
        return "a blank of an unusual kind: write a common one, or put the value in quotes"
    return None


def fill(text: str, values: Mapping[str, str], blank: tuple[str, ...] | None = ("",)) -> str:
    """Put `values` where the line of that name holds one of `blank`, None: whatever it holds.

    All else stays as it is.
    """

    def line_of(line: str) -> str:
        bare = line.removesuffix("\r")
        match = ASSIGNMENT.fullmatch(bare.strip(BLANKS))
        name, equals, value = match.groups() if match else ("", "", "")
        if equals and name in values and (blank is None or unquoted(value) in blank):
            return f"{name}={values[name]}{line[len(bare) :]}"
        return line

    return "\n".join(line_of(line) for line in text.split("\n"))


def raw(text: str) -> dict[str, str]:
    """Each setting as it is written behind its `=`, quotes included."""
    lines = (ASSIGNMENT.fullmatch(line.strip(BLANKS)) for line in text.splitlines())
    return {found[1]: found[3].strip(BLANKS) for found in lines if found and found[2]}


def unquoted(value: str) -> str:
    """A value as it is meant: without the blanks around it and one pair of quotes."""
    value = value.strip(BLANKS)
    return value[1:-1] if QUOTED.fullmatch(value) else value


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


def comments(text: str) -> dict[str, str]:
    """What stands above each setting in one line; above several, for each of them."""
    found: dict[str, str] = {}
    above: list[str] = []
    ended = False
    for line in text.splitlines():
        if line.startswith("#"):
            above = [*([] if ended else above), line.removeprefix("#").strip()]
            ended = False
        elif match := ASSIGNMENT.fullmatch(line):
            found[match[1]], ended = " ".join(above), True
        else:
            above, ended = [], False
    return found


def append(text: str, block: str) -> str:
    """`block` behind the text, with the text's line ends; what stood there stays as it is."""
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += "\n" if text.endswith("\r") else end
    return text + end + block.replace("\n", end)


def write(path: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner alone."""
    atomic_write(path, text, 0o600)
