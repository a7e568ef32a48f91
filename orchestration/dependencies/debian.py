"""Read install/packages.txt, the Debian packages of the Airflow image, and suggest missing ones."""

import re
from collections.abc import Iterator, Sequence

from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.settings.model import Settings

FILE = "packages.txt"
# A name of Debian, with a version or an architecture if needed.
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?")
MISSING_LIBRARY = re.compile(r"\b(lib[\w.+-]*?\.so[\w.]*): cannot open shared object file")
# apt's errors about one package.
UNKNOWN = re.compile(
    r"(?:Unable to locate package |no package named |Package '|Version '\S+' for ')([a-z0-9+.-]+)"
)
# Packages whose names do not follow from the names of their libraries.
IRREGULAR = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libgeos_c.so.1": "libgeos-c1v5",
    "libGLU.so.1": "libglu1-mesa",
    "libodbc.so.2": "unixodbc",
    "libstdc++.so.6": "libstdc++6",
}
QUERY = ("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n")


def refusals(settings: Settings) -> list[str]:
    """Return a message for each line of packages.txt that is not the name of one package."""
    reason = "This is not the name of a Debian package. Write one name in each line."
    return [
        f"install/{FILE} line {number}: {line}\n  {reason}"
        for number, line in lines(settings)
        if not NAME.fullmatch(line)
    ]


def lines_at_fault(settings: Settings, error: str) -> list[str]:
    """Return the lines of packages.txt that apt's error is about."""
    names = {match[1] for match in UNKNOWN.finditer(error)}
    return [
        f"install/{FILE} line {number}: {line}"
        for number, line in lines(settings)
        if re.split("[:=]", line)[0] in names
    ]


def not_installed(settings: Settings) -> list[str]:
    """Return the packages of packages.txt that this machine lacks; all of them without dpkg."""
    names = {name: re.split("[:=]", name)[0] for _, name in lines(settings)}
    if not names:
        return []
    try:
        # The exit code is 1 if one of the packages is unknown.
        output = runner.run(runner.Command((*QUERY, *names.values())), check=False).output
    except StackError:
        output = ""
    installed = {line.split()[0] for line in output.splitlines() if line.endswith(" installed")}
    return [name for name, plain in names.items() if plain not in installed]


def install_command(names: Sequence[str]) -> str:
    """Return the command that installs packages on this machine."""
    return f"sudo apt-get install --no-install-recommends {' '.join(names)}"


def advice(settings: Settings) -> str:
    """Return the command that installs the missing packages on this machine, or a blank."""
    names = not_installed(settings)
    command = install_command(names)
    return f"This machine lacks packages of install/{FILE}.\nRun: {command}" if names else ""


def missing_library_advice(error: str) -> str:
    """Return which Debian package probably contains the library that an error is about, or ""."""
    libraries = dict.fromkeys(MISSING_LIBRARY.findall(error))
    return "\n".join(
        f"{library} is probably in the Debian package {package_of(library)}. "
        f"Add the package to install/{FILE}."
        for library in libraries
    )


def package_of(library: str) -> str:
    """Return the Debian package that a shared library is probably in.

    By Debian's policy it has the library's name and version: libgomp.so.1 is in libgomp1, and
    libX11.so.6 in libx11-6.
    """
    if library in IRREGULAR:
        return IRREGULAR[library]
    name, _, version = library.partition(".so")
    version = version.strip(".").split(".")[0]
    hyphen = "-" if name[-1].isdigit() and version else ""
    return f"{name}{hyphen}{version}".lower().replace("_", "-")


def lines(settings: Settings) -> Iterator[tuple[int, str]]:
    """Yield the packages of packages.txt with the numbers of their lines."""
    file = settings.root / "install" / FILE
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        if name := line.partition("#")[0].strip():
            yield number, name
