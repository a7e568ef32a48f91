"""The systemd units of a clone: their names and text, and the result of the nightly backup."""

import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from orchestration.errors import Problem
from orchestration.process import runner
from orchestration.settings.model import Settings

# Files in orchestration/systemd, which are valid units themselves.
STACK, BACKUP, TIMER = "mlops-stack.service", "mlops-backup.service", "mlops-backup.timer"
TEMPLATES = (STACK, BACKUP, TIMER)
NAMES = re.compile(r"\bmlops-(?:stack|backup)\b")
# What a unit of the standalone engine leaves out.
ONLY_DOCKER = (" docker.service", " A user other than root needs access to Docker.")
INSTALLED = Path("/etc/systemd/system")
QUERY_SECONDS = 5


def unit_name(settings: Settings, template: str) -> str:
    """Return the name of a unit. It contains the project, so each clone has its own."""
    return NAMES.sub(lambda match: f"{match[0]}-{settings.project}", template)


def units(settings: Settings) -> dict[str, str]:
    """Return the text of each unit by its name, for this folder, its owner and its engine."""
    folder = settings.root / "orchestration/systemd"
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in TEMPLATES}
    return {unit_name(settings, name): _filled(text, settings) for name, text in texts.items()}


def _filled(text: str, settings: Settings) -> str:
    for words in ONLY_DOCKER if settings.engine == "standalone" else ():
        text = text.replace(words, "")
    owner = pwd.getpwuid(settings.root.stat().st_uid).pw_name
    text = unit_name(settings, text).replace("MLOps stack", f"MLOps stack {settings.project}")
    text = re.sub("(?m)^User=.*$", f"User={owner}", text)
    return re.sub("(?m)^WorkingDirectory=.*$", lambda _: working_directory(settings.root), text)


def working_directory(root: Path) -> str:
    """Return the line of a unit that names its clone. systemd expands % in it."""
    return f"WorkingDirectory={str(root).replace('%', '%%')}"


def other_units(settings: Settings, folder: Path) -> list[Path]:
    """Return the installed units of this clone with other names, as earlier versions had them."""
    line, current = working_directory(settings.root), units(settings)
    services = [
        path for path in sorted(folder.glob("mlops-*.service"))
        if path.name not in current and line in path.read_text(encoding="utf-8").splitlines()
    ]  # fmt: skip
    timers = (path.with_suffix(".timer") for path in services)
    return [*services, *(path for path in timers if path.exists())]


def backup_problem(settings: Settings) -> Iterator[Problem]:
    """Yield a problem if the last backup that systemd started has failed."""
    unit = unit_name(settings, BACKUP)
    if not (INSTALLED / unit).exists():
        return
    query = ("systemctl", "show", "--property=Result", "--value", unit)
    result = runner.run(runner.Command(query), timeout=QUERY_SECONDS).output.strip()
    if result != "success":
        cause = f"The last backup of {unit} failed ({result})."
        fix = f"Read its log with journalctl -u {unit} -n 30, then run: sudo systemctl start {unit}"
        yield Problem("backup-failed", cause, fix, "backup")
