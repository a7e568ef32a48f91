"""Compose itself can read the stack's compose file, with nothing set but what `.env.example` names.

python -m checks.compose_file [FOLDER]. Needs Compose's command line and no engine.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from orchestration.errors import StackError
from orchestration.process.runner import Command, run
from orchestration.settings import envfile
from orchestration.settings.model import PASSED_ON, SECRETS

FILE = "orchestration/docker-compose.yaml"
TLS, S3, LOGS = (f"orchestration/docker-compose.{name}.yaml" for name in ("tls", "s3", "logs"))
PROXY = ("--profile", "tls")
# Each reading: its name, and how Compose is told of it.
READINGS = {
    FILE: ("-f", FILE),
    f"with {TLS}": ("-f", FILE, "-f", TLS, *PROXY),
    f"with {S3}": ("-f", FILE, "-f", S3),
    "with all of them": ("-f", FILE, "-f", TLS, *PROXY, "-f", S3, "-f", LOGS),
}
# What has to be filled, and what Compose can read there; files that are not named stay so.
NEEDED = (*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID", "PUBLIC_HOST")
FILLED = dict.fromkeys(NEEDED, "generated")
ABSENT = "no Compose v2 is here: ./install/1st_run_install.sh --with-docker nox -s lint"


def compose() -> list[str]:
    """How Compose v2 is called on this machine; empty where it is missing."""
    for argv in (["docker", "compose"], ["docker-compose"]):
        with suppress(StackError):
            if not run(Command((*argv, "version", "--short"))).output.startswith("1."):
                return argv
    return []


def environment(root: Path) -> dict[str, str]:
    """The settings with their defaults; what `inv install` fills gets a word, or an amount."""
    example = envfile.parse((root / ".env.example").read_text("utf-8"), ".env.example")
    inherited = {name: value for name, value in os.environ.items() if PASSED_ON.match(name)}
    filled = {name: value or FILLED.get(name, "") for name, value in example.items()}
    filled |= {name: "512m" for name, value in example.items() if value == "auto"}
    return {**inherited, **filled}


def main(root: Path) -> int:
    """Print what Compose says; 1 when it refuses the file or misses a variable."""
    if not (argv := compose()):
        print(f"{FILE}: not read: {ABSENT}")
        return 1 if os.environ.get("CI") else 0
    # Neither the person's .env nor their override file: what is judged is in the repository.
    argv += ["--env-file", os.devnull]
    for name, files in READINGS.items():
        command = Command((*argv, *files, "config", "--quiet"), env=environment(root), cwd=root)
        if told := run(command).output:
            print(f"{name}: {told.strip()}")
            return 1
        print(f"{name}: as Compose reads it")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(*sys.argv[1:2])))
    except StackError as refused:
        sys.exit(str(refused))
