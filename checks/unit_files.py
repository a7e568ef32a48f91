"""Unit files are read by systemd itself, where it is.

python -m checks.unit_files [FOLDER]: every *.service and *.timer that git knows there.
"""

import shutil
import sys
from pathlib import Path

from checks.tracked import tracked
from orchestration.errors import StackError
from orchestration.process.runner import Command, run

# Without the option a misspelt key is told and the exit code is 0.
VERIFY = ("systemd-analyze", "verify", "--recursive-errors=no")


def main(root: Path) -> int:
    """Print what systemd says, with file and line, or what was looked at; 1 for findings."""
    units = tracked(root, "*.service", "*.timer")
    if not units:
        print("unit files: there is none")
        return 0
    if not shutil.which(VERIFY[0]):
        print(f"unit files: not read: {VERIFY[0]} is not on this machine")
        return 0
    if told := run(Command((*VERIFY, *units), cwd=root), check=False).failure_output:
        print(told)
        return 1
    print(f"unit files: {len(units)}, as systemd reads them")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(*sys.argv[1:2])))
    except StackError as refused:
        sys.exit(f"unit files: {refused}")
