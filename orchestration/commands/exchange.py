"""Exchange files between this machine and Airflow's commands `export` and `import`.

The commands run where the services run, which cannot see this machine's folders. So Airflow uses a
file in a temporary folder there, which is copied from standard input or to standard output.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.process import runner

EXPORT, IMPORT = "export", "import"
# Options of these commands that are followed by a value.
WITH_VALUE = (
    "--file-format",
    "--format",
    "--serialization-format",
    "-a",
    "--action-on-existing-key",
)
# The image's entrypoint sets the user name, which Airflow's commands need.
SCRIPT = """
folder=$(mktemp -d) || exit
trap 'rm -r "$folder"' EXIT
cd "$folder" || exit
action=$1 name=$2
shift 2
if command -v airflow-entrypoint >/dev/null; then set -- airflow-entrypoint "$@"; fi
if [ "$action" = import ]; then cat >"$name" && "$@"; else "$@" >&2 && cat "$name"; fi
"""


def file_index(arguments: Sequence[str]) -> int:
    """Return the index of the file of this machine among the arguments; 0 if there is none.

    With `-` Airflow prints to standard output.
    """
    if len(arguments) < 2 or arguments[1] not in (EXPORT, IMPORT):
        return 0
    for index in range(2, len(arguments)):
        word = arguments[index]
        if not word.startswith("-") and arguments[index - 1] not in WITH_VALUE:
            return index if word != "/dev/stdout" else 0
    return 0


def run(engine: Engine, service: str, arguments: Sequence[str], index: int) -> int:
    """Run an `export` or `import` with the file `arguments[index]` and return its exit code.

    An exported file is written only if the command succeeds. If it is new, only its owner can read
    it, because connections contain passwords. Raises StackError if the file cannot be read or
    written.
    """
    file, action = Path(arguments[index]), arguments[1]
    name = f"./{file.name}"
    words = [*arguments[:index], name, *arguments[index + 1 :]]
    command = engine.command(service, ["sh", "-c", SCRIPT, "sh", action, name, "airflow", *words])
    try:
        done = _import(command, file) if action == IMPORT else _export(command, file)
    except OSError as error:
        verb = "read" if action == IMPORT else "written"
        raise StackError(
            f"{file} cannot be {verb}: {error.strerror}.",
            fix=f"Name another file, as in: inv airflow -- {arguments[0]} {action} saved.json",
        ) from None
    return done.code


def _import(command: runner.Command, file: Path) -> runner.Completed:
    with file.open("rb") as source:
        done = runner.run(command, check=False, source=source)
    print(done.output, end="")
    return done


def _export(command: runner.Command, file: Path) -> runner.Completed:
    is_new = not file.exists()
    # Opened first, so that nothing is exported to a folder that is read-only.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as target:
        try:
            with tempfile.TemporaryFile() as content:
                done = runner.run(command, check=False, into=content)
                print(done.output, end="", file=sys.stderr)
                if not done.code:
                    if file.is_file():
                        target.truncate()
                    content.seek(0)
                    shutil.copyfileobj(content, target)
                    is_new = False
        finally:
            if is_new:
                file.unlink()
    return done
