"""Read the lines of install/requirements.txt, and refuse those that not every build can install."""

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

FILE = "requirements.txt"
# The Python and system of the Airflow image and of the standalone engine's environment.
TARGET = {
    **{"python_version": "3.11", "python_full_version": "3.11.2", "os_name": "posix"},
    **{"sys_platform": "linux", "platform_system": "Linux", "extra": ""},
    **{"implementation_name": "cpython", "platform_python_implementation": "CPython"},
}
# A package with this comment on its line is not imported by `inv rebuild`. A reason follows.
NOT_IMPORTED = re.compile(r"#\s*not imported\b")
CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*@")
WHEEL = re.compile(r"\./wheels/([^/\s]+\.whl)")
USE_A_WHEEL = "Put a wheel of it into install/wheels/ and write ./wheels/NAME.whl."
# Options in the order of their prefixes, with the next step.
OPTIONS = {
    "--index-url|-i": "Set PYPI_INDEX_URL in .env instead.",
    "--extra-index-url|--find-links|-f|--no-index|--trusted-host": (
        "Builds use one package index, PYPI_INDEX_URL in .env. For a package of another index, "
        "write NAME @ URL-OF-ITS-WHEEL."
    ),
    "--editable|-e": f"{USE_A_WHEEL} Or move the code to include/.",
    "--requirement|-r|--constraint|-c": f"Copy the lines of that file to install/{FILE}.",
    "-": "Remove the option.",
}
# The number of a line and its text, in which continued lines are joined.
Line = tuple[int, str]


def lines(text: str) -> list[Line]:
    """Return the lines of a requirements file, without blank lines and comments of their own."""
    joined: list[Line] = []
    continues = False
    for number, line in enumerate(text.split("\n"), 1):
        part = line.rstrip("\r\\ ") if line.rstrip().endswith("\\") else line
        if continues:
            joined[-1] = (joined[-1][0], f"{joined[-1][1]} {part.strip()}")
        elif part.strip() and not part.lstrip().startswith("#"):
            joined.append((number, part))
        else:
            continue
        continues = line.rstrip().endswith("\\")
    return joined


def content(line: str) -> str:
    """Return a line without its comment and surrounding space, and with single spaces."""
    return " ".join(re.split(r"(?:^|\s)#", line)[0].split())


def requirement(line: str) -> Requirement | None:
    """Return the requirement of a line without its hashes, or None if it has none."""
    text = content(line).split(" --hash")[0]
    if WHEEL.fullmatch(text):
        text = f"{_wheel_name(text)} @ {text}"
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def applies(needed: Requirement) -> bool:
    """Return whether the marker of a requirement selects the stack's Python and system."""
    return needed.marker is None or needed.marker.evaluate(TARGET)


def refusals(text: str, install: Path) -> list[str]:
    """Return a message for each line that a build with either engine cannot install.

    `install` is the folder that local wheels are relative to.
    """
    reasons = ((number, line, _refusal(content(line), install)) for number, line in lines(text))
    return [f"{place(number, line)}\n  {reason}" for number, line, reason in reasons if reason]


def imported_packages(text: str) -> Iterator[tuple[str, str]]:
    """Yield the canonical name and the place of each package that `inv rebuild` imports."""
    for number, line in lines(text):
        needed = requirement(line)
        if needed and applies(needed) and not NOT_IMPORTED.search(line):
            yield canonicalize_name(needed.name), place(number, line)


def place(number: int, line: str) -> str:
    """Return a line with its place, without passwords of URLs."""
    return f"install/{FILE} line {number}: {CREDENTIALS.sub('***@', content(line))}"


def _refusal(line: str, install: Path) -> str:
    """Return why a line is refused and what to write instead, or a blank."""
    if line.startswith("-"):
        steps = (step for names, step in OPTIONS.items() if re.match(rf"({names})", line))
        return f"This option is not supported here. {next(steps)}"
    needed = requirement(line)
    # The name of a file is a valid name of a package too.
    is_file = re.search(r"\.(whl|zip|gz)$", line)
    source = (needed.url or "") if needed and not (is_file and not needed.url) else line
    if re.search(r"(^|\s)(git|hg|svn|bzr)\+", source):
        return (
            "Builds have no git. Write NAME @ the https address of an archive of one commit, "
            f"such as https://HOST/OWNER/NAME/archive/COMMIT.zip. Or: {USE_A_WHEEL}"
        )
    if "://" in source.removeprefix("file://"):
        return ""
    if local := WHEEL.fullmatch(source):
        exists = (install / "wheels" / local[1]).is_file()
        return "" if exists else f"install/wheels/{local[1]} does not exist."
    is_path = is_file or re.match(r"(\.|/|~|file:)", source)
    return f"Builds can only read files in install/wheels/. {USE_A_WHEEL}" if is_path else ""


def _wheel_name(path: str) -> str:
    try:
        return str(parse_wheel_filename(path.rpartition("/")[2])[0])
    except InvalidWheelFilename:
        return ""
