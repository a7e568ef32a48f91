"""The stack as a service of this machine: its unit file, filled in and put where systemd looks."""

import os
import pwd
import re
from pathlib import Path

from orchestration import StackError, shell

UNIT = "mlops-docker-compose.service"
INSTALLED = Path("/etc/systemd/system")


def unit(root: Path) -> str:
    """The unit file for the clone at `root`: run from there, as who owns it."""
    text = (root / "orchestration" / UNIT).read_text(encoding="utf-8")
    # systemd reads % as the beginning of a name of its own.
    folder = str(root).replace("%", "%%")
    owner = pwd.getpwuid(root.stat().st_uid).pw_name
    for key, value in (("WorkingDirectory", folder), ("User", owner)):
        before, rest = re.split(rf"^{key}=.*\n", text, maxsplit=1, flags=re.MULTILINE)
        text = f"{before}{key}={value}\n{rest}"
    return text


def install(root: Path, folder: Path = INSTALLED) -> str:
    """Put it in place for each boot; what to type next. Raises StackError where that cannot be."""
    if os.getuid():
        raise StackError("systemd's units are root's\nnext: sudo .venv/bin/inv systemd --install")
    if not folder.is_dir():
        raise StackError(f"no systemd here: {folder} does not exist\nnext: inv up, at each boot")
    (folder / UNIT).write_text(unit(root), encoding="utf-8")
    shell.output(shell.Command(("systemctl", "daemon-reload")))
    shell.output(shell.Command(("systemctl", "enable", UNIT)))
    return f"{folder / UNIT} is started at each boot\nnow: sudo systemctl start {UNIT}"
