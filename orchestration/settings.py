"""Every setting, read once: .env.example gives names and defaults, .env the values, and the
person's environment has the last word. No other module reads os.environ."""

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration import StackError, dotenv_file

ROOT = Path(__file__).resolve().parent.parent
URL_SAFE = re.compile(r"^[A-Za-z0-9._~-]+$")
PASSED_TO_COMPOSE = re.compile(r"^(PATH|HOME|USER|TERM|XDG_\w+|DOCKER_\w+|(?i:https?|no|all)_proxy|SSL_CERT_\w+)$")


def _password() -> str:
    return secrets.token_urlsafe(32)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


SECRETS: dict[str, Callable[[], str]] = {
    "_AIRFLOW_WWW_USER_PASSWORD": lambda: secrets.token_urlsafe(15),
    "AIRFLOW_FERNET_KEY": _fernet_key,
    "AIRFLOW_JWT_SECRET": _password,
    "AIRFLOW_WEB_SECRET_KEY": _password,
    "POSTGRES_PASSWORD": _password,
    "AIRFLOW_DB_PASSWORD": _password,
    "MLFLOW_DB_PASSWORD": _password,
    "REDIS_PASSWORD": _password,
}
IN_URLS = ("AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD")


@dataclass(frozen=True)
class Settings:
    """What one clone is set to. `values` holds every setting by its name in .env."""

    root: Path
    values: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def load(cls, root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read .env.example, .env and the person's environment, in rising precedence.

        Raises StackError when there is no .env, a line is refused, or a value cannot be used.
        """
        path = root / ".env"
        if not path.exists():
            raise StackError("there is no .env here yet: inv install")
        defaults = dotenv_file.read(root / ".env.example")
        given = {**defaults, **dotenv_file.read(path)}
        values = {name: environ.get(name, value) for name, value in given.items()}
        problems = list(_problems(values))
        if problems:
            raise StackError("\n".join(problems))
        inherited = {name: value for name, value in environ.items() if PASSED_TO_COMPOSE.match(name)}
        return cls(root, values, inherited)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    @property
    def engine(self) -> str:
        """docker, standalone, or auto before the first install."""
        return self["STACK_ENGINE"]

    @property
    def project(self) -> str:
        """The name this clone's containers, volumes and images begin with."""
        return self["COMPOSE_PROJECT_NAME"]

    @property
    def project_dir(self) -> Path:
        """The folder with dags/, logs/ and plugins/."""
        return (self.root / "orchestration" / self["AIRFLOW_PROJ_DIR"]).resolve()

    def url(self, port: str) -> str:
        """How this machine reaches a published port, by the setting's name."""
        address = self["BIND_ADDRESS"]
        return f"http://{'127.0.0.1' if address == '0.0.0.0' else address}:{self[port]}"

    def compose_environment(self) -> dict[str, str]:
        """What Compose is started with: nothing that a stray exported variable could change."""
        absolute = {"AIRFLOW_PROJ_DIR": str(self.project_dir)}
        return {**self.environment, **self.values, **absolute}


def _problems(values: Mapping[str, str]) -> list[str]:
    wrong = [
        f"{name} is blank in .env: inv install"
        for name in (*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID")
        if not values[name]
    ]
    wrong += [
        f"{name} stands in a URL and may hold letters, digits and ._~- only: change it in .env"
        for name in IN_URLS
        if values[name] and not URL_SAFE.match(values[name])
    ]
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"):
        if not values[name].isdigit() or not 0 < int(values[name]) < 65536:
            wrong.append(f"{name}={values[name]} is not a port: 1 to 65535")
    if values["STACK_ENGINE"] not in ("auto", "docker", "standalone"):
        wrong.append(f"STACK_ENGINE={values['STACK_ENGINE']} is none of auto, docker, standalone")
    return wrong


def create_env(root: Path = ROOT, *, engine: str = "auto") -> list[str]:
    """Make .env from .env.example, or complete one: blanks filled, new settings appended.

    A value that is set is never touched. `engine` replaces STACK_ENGINE=auto. Returns what was
    done, one line each; nothing on a complete file.
    """
    path, example = root / ".env", (root / ".env.example").read_text(encoding="utf-8")
    done = []
    if path.exists():
        before = path.read_text(encoding="utf-8")
        if added := dotenv_file.missing_blocks(example, dotenv_file.read(path)):
            done.append("new settings appended to .env")
            before = before.rstrip("\n") + "\n\n# added by an upgrade\n" + added
    else:
        before = example
        done.append(".env made from .env.example")
    filled = dotenv_file.fill(before, _generated(root))
    chosen = {"WORKER_CONCURRENCY": str(worker_concurrency()), "STACK_ENGINE": engine}
    filled = dotenv_file.fill(filled, chosen, blank=("auto", ""))
    if done or filled != before:
        dotenv_file.write(path, filled)
        done = done or ["blank settings of .env filled"]
    return done


def project_name(root: Path) -> str:
    """A name for this clone, the same whenever .env is made anew in the same folder."""
    folder = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-") or "stack"
    return f"{folder}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def worker_concurrency() -> int:
    """Tasks at the same time in one worker: two for each core, four at most (80 MiB each idle)."""
    return min(4, 2 * (os.cpu_count() or 1))


def _generated(root: Path) -> dict[str, str]:
    uid = os.getuid()
    return {
        **{name: generate() for name, generate in SECRETS.items()},
        "COMPOSE_PROJECT_NAME": project_name(root),
        "AIRFLOW_UID": str(uid or 50000),
    }
