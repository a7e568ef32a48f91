"""`inv systemd`: print or install the unit files that run the stack as a system service."""

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
    """Return a unit file that runs in the clone at `root` as the owner of that folder."""
    text = (root / "orchestration/systemd" / name).read_text(encoding="utf-8")
    # systemd expands % as the start of a specifier.
    folder = str(root).replace("%", "%%")
    owner = pwd.getpwuid(root.stat().st_uid).pw_name
    values = {"WorkingDirectory": folder, "User": owner}
    return re.sub(
        "^(WorkingDirectory|User)=.*$",
        lambda match: f"{match[1]}={values[match[1]]}",
        text,
        flags=re.MULTILINE,
    )


def install_units(root: Path, folder: Path = INSTALLED) -> str:
    """Install and enable the units for each boot and night, and return the message to print.

    Raises StackError without root rights or without systemd.
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
        f"Installed {folder / UNIT}. The stack starts at each boot and is backed up each night.\n"
        f"To start it now, run: sudo systemctl start {UNIT} {TIMER}"
    )
