"""Import the modules of installed packages: `import_packages NAME …`, by the packages' names.

Needs no Airflow. Prints each import that fails. The exit code is 1 if one does, or if a package is
not installed.
"""

import importlib
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

# An import may take this long on a busy machine.
SECONDS = 120
# The child process writes this before the name of each package that it tries.
TRY = "> "
# Folders that some packages install next to their own by mistake.
IGNORED = {"benchmarks", "docs", "examples", "scripts", "test", "tests"}


def main(names: list[str]) -> int:
    """Import the packages one after the other and return the exit code."""
    failures: list[str] = []
    waiting = names
    while waiting:
        # A crash ends the child process. The next one continues after the package at fault.
        tried, errors = _import_in_child(waiting)
        failures += errors
        waiting = waiting[tried:]
    print("\n".join(failures) or f"{len(names)} packages imported")
    return 1 if failures else 0


def modules(name: str) -> list[str]:
    """Return the import names of an installed package; none if it contains only data or programs.

    These are its modules and its outermost packages: `google.cloud.storage`, not `google`. Raises
    PackageNotFoundError.
    """
    files = [one for one in distribution(name).files or () if Path(str(one.locate())).exists()]
    folders = {file.parent for file in files if file.name == "__init__.py"}
    outermost = {one for one in folders if not any(above in folders for above in one.parents)}
    single = {
        PurePosixPath(file.name.partition(".")[0])
        for file in files
        if len(file.parts) == 1 and file.suffix in (".py", ".so")
    }
    return sorted(".".join(path.parts) for path in outermost | single if _is_public(path))


def _is_public(path: PurePosixPath) -> bool:
    are_names = all(part.isidentifier() for part in path.parts)
    return bool(path.parts) and are_names and path.parts[0] not in IGNORED and path.name[0] != "_"


def _import_in_child(names: list[str]) -> tuple[int, list[str]]:
    """Return how many packages a child process tried to import, and the errors."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _import_and_exit(names, writer)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as pipe:
        lines = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tries = [line for line in lines if line.startswith(TRY)]
    errors = [line for line in lines if not line.startswith(TRY)]
    if code == 0:
        return len(names), errors
    name = tries[-1].removeprefix(TRY) if tries else names[0]
    crash = f"not imported within {SECONDS} s" if -code == signal.SIGALRM else "Python crashed"
    return len(tries) or 1, [*errors, f"{name}: {crash} (exit code {code})"]


def _import_and_exit(names: list[str], writer: int) -> None:
    """Write each name before its import, and the error of an import that fails."""
    code = 1
    try:
        # Warnings and banners of packages are no errors.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        for name in names:
            os.write(writer, f"{TRY}{name}\n".encode())
            signal.alarm(SECONDS)
            if error := _import_error(name):
                os.write(writer, f"{name}: {error}\n".encode("utf-8", "replace"))
        code = 0
    finally:
        # Skip exit handlers that a package may have registered.
        os._exit(code)


def _import_error(name: str) -> str:
    module = ""
    try:
        for module in modules(name):
            importlib.import_module(module)
    except PackageNotFoundError:
        return "not installed"
    # Some packages exit if they cannot be used.
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"import {module}: {reason}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
