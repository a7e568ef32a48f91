"""`inv systemd`: print or install the unit files that run the stack as a system service."""

import os
from pathlib import Path

from orchestration.errors import StackError
from orchestration.host import systemd
from orchestration.host.drafts import load_or_draft
from orchestration.process import runner
from orchestration.project import Project
from orchestration.settings.model import Settings


def run(project: Project, *, install: bool) -> None:
    """Print all units of this clone, or install them."""
    settings = load_or_draft(project)
    if install:
        print(install_units(settings))
        return
    texts = systemd.units(settings).items()
    print("\n\n".join(f"# {systemd.INSTALLED / name}\n{text.rstrip()}" for name, text in texts))


def install_units(settings: Settings, folder: Path = systemd.INSTALLED) -> str:
    """Install and enable the units for each boot and night, and return the message to print.

    Replaces units of this clone with other names. The running stack is left as it is. Raises
    StackError without root rights or without systemd.
    """
    if os.getuid():
        raise StackError(
            "Only root can install systemd units.", fix="sudo .venv/bin/inv systemd --install"
        )
    if not folder.is_dir():
        raise StackError(
            f"This machine has no systemd: {folder} does not exist.", fix="Run inv up at each boot."
        )
    removed = remove_others(settings, folder)
    for name, text in systemd.units(settings).items():
        (folder / name).write_text(text, encoding="utf-8")
        # systemd warns about units that only root can read, as with a umask of 077.
        (folder / name).chmod(0o644)
    stack, timer = (systemd.unit_name(settings, one) for one in (systemd.STACK, systemd.TIMER))
    _systemctl("daemon-reload")
    _systemctl("enable", stack, timer)
    return (
        f"{removed}Installed {folder / stack}. The stack starts at each boot and is backed up each "
        f"night.\nTo start it now, run: sudo systemctl start {stack} {timer}"
    )


def remove_others(settings: Settings, folder: Path) -> str:
    """Remove the clone's units with other names and return a line about them, if there are any."""
    others = systemd.other_units(settings, folder)
    if not others:
        return ""
    enabled = [path.name for path in others if "[Install]" in path.read_text(encoding="utf-8")]
    _systemctl("disable", *enabled)
    # A service is not stopped, because that would stop the stack.
    if timers := [name for name in enabled if name.endswith(".timer")]:
        _systemctl("stop", *timers)
    for path in others:
        path.unlink()
    return f"Removed {', '.join(path.name for path in others)}.\n"


def _systemctl(*arguments: str) -> None:
    runner.run(runner.Command(("systemctl", *arguments)))
