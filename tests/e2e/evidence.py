"""Collect versions, state, settings and logs after a failed test, without secrets."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from orchestration.settings.model import SECRETS
from tests.e2e.clone import INIT_JOBS, SERVICES, Clone
from tests.support.repository import ROOT

KEPT, LINES, PATIENCE_SECONDS = 5, "300", 30
NAMES = re.compile("PASSWORD|SECRET|KEY|TOKEN|WEBHOOK")
# The user name and password before the @ of a URL.
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


def collect(folder: Path, engine: str, failure: str, clones: Iterable[Clone]) -> Path:
    """Write evidence of a failure into a new folder below `folder`, and return its path.

    Only the newest KEPT folders remain.
    """
    clones = list(clones)
    secrets = {value: name for clone in clones for value, name in secrets_of(clone).items()}
    evidence = folder / f"{engine}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    for name, text in contents(failure, clones):
        file = evidence / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(redact(text, secrets))
    for old in sorted(folder.iterdir(), key=lambda path: path.name.partition("-")[2])[:-KEPT]:
        shutil.rmtree(old)
    return evidence


def contents(failure: str, clones: Iterable[Clone]) -> Iterable[tuple[str, str]]:
    """Yield name and text of each file, with secrets, the quickest and most reliable first."""
    yield "failure.txt", failure
    here = Clone(ROOT, {})
    yield "versions.txt", "\n".join(output_of(here, *shlex.split(line)) for line in VERSIONS)
    for clone in clones:
        name = clone.folder.parent.name
        yield f"{name}/settings.env", "".join(f"{k}={v}\n" for k, v in settings_of(clone).items())
        yield f"{name}/state.txt", "\n".join(output_of(clone, *argv) for argv in commands(clone))
        for service in sorted(SERVICES[clone.engine] | INIT_JOBS):
            command = ("inv", "logs", "-s", service, "--tail", LINES)
            yield f"{name}/logs/{service}.log", output_of(clone, *command)


def commands(clone: Clone) -> Iterable[tuple[str, ...]]:
    """Yield the commands that show the state of a clone's stack and its Compose configuration."""
    yield "inv", "health", "--json"
    if not (project := clone.settings().get("COMPOSE_PROJECT_NAME")):
        return
    if clone.engine == "standalone":
        yield "supervisorctl", "-s", clone.supervisor(), "status"
        yield "tail", f"--lines={LINES}", f"{clone.state_folder()}/logs/supervisord.log"
        return
    list_all = f"docker ps --all --filter label=com.docker.compose.project={project}"
    yield tuple(list_all.split())
    filters = ("status=exited", "status=dead", "status=restarting", "health=unhealthy")
    list_failed = "; ".join(f"{list_all} --quiet --filter {word}" for word in filters)
    yield "sh", "-c", f"{{ {list_failed}; }} | xargs --no-run-if-empty docker inspect"
    yield "sh", "-c", "cd orchestration && docker compose config"


def output_of(clone: Clone, *argv: str) -> str:
    """Run a command, and return it with its output and exit code or the reason it did not run."""
    try:
        done = clone.run(*argv, timeout=PATIENCE_SECONDS)
        output = f"{done.stdout}{done.stderr}[exit code {done.returncode}]"
    except (OSError, subprocess.SubprocessError) as error:
        output = str(error)
    return f"$ {shlex.join(argv)}\n{output}\n"


def settings_of(clone: Clone) -> dict[str, str]:
    """Return the settings in .env. Exported variables take precedence, as in Compose."""
    settings, exported = clone.settings(), clone.environment()
    names = {*settings, *clone.exported}
    return {name: exported.get(name, settings.get(name, "")) for name in sorted(names)}


def secrets_of(clone: Clone) -> dict[str, str]:
    """Map the values of secrets to their names, from .env and from exported variables."""
    pairs = [*clone.settings().items(), *settings_of(clone).items()]
    is_secret = {name for name, _ in pairs if name in SECRETS or NAMES.search(name)}
    return {value: name for name, value in pairs if value and name in is_secret}


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """Replace secrets with their names, and remove credentials from URLs."""
    # Replace long values first, because a secret may be a part of another.
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, f"<{secrets[value]}>")
    return CREDENTIALS.sub("<credentials>", text)
