"""What a failed smoke test leaves behind: versions, state, settings, logs, and never a secret."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from orchestration.settings.model import SECRETS
from tests.e2e.clone import ONE_SHOTS, SERVICES, Clone
from tests.support.repository import ROOT

KEPT, LINES, PATIENCE_SECONDS = 5, "300", 30
NAMES = re.compile("PASSWORD|SECRET|KEY|TOKEN|WEBHOOK")
# Of a URL: what stands before the @.
CREDENTIALS = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
VERSIONS = (
    "git log -1 --format=%H",
    "git status --short",
    f"{sys.executable} --version",
    "docker version",
    "docker compose version",
    "uv --version",
    "cat /etc/os-release",
    "uname -a",
    "nproc",
    "grep -E Mem(Total|Available) /proc/meminfo",
    "df -h .",
)


def leave(folder: Path, engine: str, failure: str, clones: Iterable[Clone]) -> Path:
    """Write a folder of what is to be known of a failure, the last of KEPT; its path."""
    clones = list(clones)
    hidden = {value: name for clone in clones for value, name in secrets_of(clone).items()}
    evidence = folder / f"{engine}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    for name, text in contents(failure, clones):
        file = evidence / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(redacted(text, hidden))
    for old in sorted(folder.iterdir(), key=lambda one: one.name.partition("-")[2])[:-KEPT]:
        shutil.rmtree(old)
    return evidence


def contents(failure: str, clones: Iterable[Clone]) -> Iterable[tuple[str, str]]:
    """Every file's name and text, secrets included; the cheapest and surest first."""
    yield "failure.txt", failure
    here = Clone(ROOT, {})
    yield "versions.txt", "\n".join(said(here, *shlex.split(line)) for line in VERSIONS)
    for clone in clones:
        name = clone.folder.parent.name
        yield f"{name}/settings.env", "".join(f"{k}={v}\n" for k, v in settings_of(clone).items())
        yield f"{name}/state.txt", "\n".join(said(clone, *argv) for argv in looks(clone))
        for service in sorted(SERVICES[clone.engine] | ONE_SHOTS):
            command = ("inv", "logs", "-s", service, "--tail", LINES)
            yield f"{name}/logs/{service}.log", said(clone, *command)


def looks(clone: Clone) -> Iterable[tuple[str, ...]]:
    """The commands that tell how a clone's stack is, and what Compose makes of its settings."""
    yield "inv", "health", "--json"
    if not (project := clone.settings().get("COMPOSE_PROJECT_NAME")):
        return
    if clone.engine == "standalone":
        yield "supervisorctl", "-s", clone.supervisor(), "status"
        yield "tail", f"--lines={LINES}", f"{clone.state_folder()}/logs/supervisord.log"
        return
    listed = f"docker ps --all --filter label=com.docker.compose.project={project}"
    yield tuple(listed.split())
    wrong = ("status=exited", "status=dead", "status=restarting", "health=unhealthy")
    each = "; ".join(f"{listed} --quiet --filter {one}" for one in wrong)
    yield "sh", "-c", f"{{ {each}; }} | xargs --no-run-if-empty docker inspect"
    yield "sh", "-c", "cd orchestration && docker compose config"


def said(clone: Clone, *argv: str) -> str:
    """A command and all that it printed, or why it could not be run."""
    try:
        done = clone.run(*argv, timeout=PATIENCE_SECONDS)
        told = f"{done.stdout}{done.stderr}[exit code {done.returncode}]"
    except (OSError, subprocess.SubprocessError) as error:
        told = str(error)
    return f"$ {shlex.join(argv)}\n{told}\n"


def settings_of(clone: Clone) -> dict[str, str]:
    """The settings of .env, with what is exported to the clone above them."""
    written, exported = clone.settings(), clone.environment()
    names = {*written, *clone.exported}
    return {name: exported.get(name, written.get(name, "")) for name in sorted(names)}


def secrets_of(clone: Clone) -> dict[str, str]:
    """The values that nobody may see, and their names: those of .env and those above them."""
    pairs = [*clone.settings().items(), *settings_of(clone).items()]
    is_secret = {name for name, _ in pairs if name in SECRETS or NAMES.search(name)}
    return {value: name for name, value in pairs if value and name in is_secret}


def redacted(text: str, hidden: Mapping[str, str]) -> str:
    """The text with the names of secrets in their place, and URLs without credentials."""
    # The longest first: one may be a part of another.
    for value in sorted(hidden, key=len, reverse=True):
        text = text.replace(value, f"<{hidden[value]}>")
    return CREDENTIALS.sub("<credentials>", text)
