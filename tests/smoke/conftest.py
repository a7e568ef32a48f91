"""A fresh copy of the repository as a newcomer has it: no .env, own ports, the real engine."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT")


@dataclass
class Clone:
    """A checkout with its own settings, used only through the commands a person types."""

    folder: Path
    ports: dict[str, str]
    first_up: str = ""

    def run(self, *argv: str, timeout: float = 900, **settings: str) -> subprocess.CompletedProcess:
        """Run a command in the clone; `settings` are exported to it as a person would."""
        environment = {**os.environ, **self.ports, **settings}
        return subprocess.run(
            argv,
            cwd=self.folder,
            env=environment,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def well(self, *argv: str, **options: str) -> str:
        """Run a command that must succeed; what it printed."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, f"{argv}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def health(self) -> dict:
        return json.loads(self.run("inv", "health", "--json").stdout)

    def setting(self, name: str) -> str:
        lines = (self.folder / ".env").read_text().splitlines()
        return next(line.split("=", 1)[1] for line in lines if line.startswith(f"{name}="))

    def inside(self, service: str, *argv: str) -> str:
        """Run a command in a service's container; what it printed."""
        container = f"{self.setting('COMPOSE_PROJECT_NAME')}-{service}-1"
        return self.well("docker", "exec", container, *argv)

    def remove(self) -> None:
        """Take the stack down with its data and its images."""
        self.well("inv", "down", "--volumes", "--yes")
        project = self.setting("COMPOSE_PROJECT_NAME")
        images = [f"{project}-{name}" for name in ("airflow", "mlflow", "status")]
        self.run("docker", "image", "rm", *images)


def free_ports() -> dict[str, str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: str(probe.getsockname()[1]) for name, probe in zip(PORTS, probes, strict=True)}
    for probe in probes:
        probe.close()
    return ports


def fresh_copy(folder: Path) -> Clone:
    """What git knows of this checkout, laid out in another folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    folder.chmod(0o755)
    return Clone(folder, free_ports())


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone that was brought up by `inv up` alone, with its proof; taken away at the end."""
    clone = fresh_copy(tmp_path_factory.mktemp("first") / "clone")
    try:
        clone.first_up = clone.well("inv", "up")
        yield clone
    finally:
        clone.remove()


@pytest.fixture(scope="session")
def second_clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Another clone on other ports, not started yet."""
    clone = fresh_copy(tmp_path_factory.mktemp("second") / "clone")
    clone.well("inv", "install")
    try:
        yield clone
    finally:
        clone.remove()
