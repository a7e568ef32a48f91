"""The stack as a service of this machine: its unit files, filled in and put where systemd looks."""

import os
import pwd
import re
from pathlib import Path

from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.project import Project

UNIT, BACKUP, TIMER = "mlops-docker-compose.service", "mlops-backup.service", "mlops-backup.timer"
UNITS = (UNIT, BACKUP, TIMER)
INSTALLED = Path("/etc/systemd/system")


def run(project: Project, *, install: bool) -> None:
    """Print the unit that starts the stack, or install all units."""
    print(install_units(project.root) if install else unit(project.root).rstrip())


def unit(root: Path, name: str = UNIT) -> str:
    """A unit file for the clone at `root`: run from there, as who owns it."""
    text = (root / "orchestration/systemd" / name).read_text(encoding="utf-8")
    # systemd reads % as the beginning of a name of its own.
    folder = str(root).replace("%", "%%")
    owner = pwd.getpwuid(root.stat().st_uid).pw_name
    of_this_clone = {"WorkingDirectory": folder, "User": owner}
    return re.sub(
        "^(WorkingDirectory|User)=.*$",
        lambda found: f"{found[1]}={of_this_clone[found[1]]}",
        text,
        flags=re.MULTILINE,
    )


def install_units(root: Path, folder: Path = INSTALLED) -> str:
    """Put them in place for each boot and night; what to type next.

    Raises StackError where that cannot be.
    """
    if os.getuid():
        raise StackError(
            "Only root can install systemd units.", fix="sudo .venv/bin/inv systemd --install"
        )
    if not folder.is_dir():
        raise StackError(
            f"This machine has no systemd: {folder} does not exist.", fix="Run inv up at each boot."
        )
    for name in UNITS:
        (folder / name).write_text(unit(root, name), encoding="utf-8")
    runner.run(runner.Command(("systemctl", "daemon-reload")))
    runner.run(runner.Command(("systemctl", "enable", UNIT, TIMER)))
    return (
        f"{folder / UNIT} is started at each boot, and a backup is made each night\n"
        f"now: sudo systemctl start {UNIT} {TIMER}"
    )
