"""Every setting, read once: .env.example gives names and defaults, .env the values, and the
person's environment has the last word. No other module reads os.environ."""

import base64
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestration import StackError, capacity, dotenv_file, machine, setting_rules

ROOT = Path(__file__).resolve().parent.parent
PASSED_ON = re.compile(
    r"^(PATH|HOME|USER|TERM|NO_COLOR|XDG_\w+|DOCKER_\w+|(?i:(?:https?|no|all)_proxy)|SSL_CERT_\w+)$"
)


def _password() -> str:
    return secrets.token_urlsafe(32)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


# Made here. What others gave out (AWS's keys, a webhook, a mail password) may be blank and is not
# judged.
SECRETS: dict[str, Callable[[], str]] = {
    "_AIRFLOW_WWW_USER_PASSWORD": lambda: secrets.token_urlsafe(15),
    "AIRFLOW_FERNET_KEY": _fernet_key,
    "AIRFLOW_JWT_SECRET": _password,
    "AIRFLOW_WEB_SECRET_KEY": _password,
    "POSTGRES_PASSWORD": _password,
    "AIRFLOW_DB_PASSWORD": _password,
    "MLFLOW_DB_PASSWORD": _password,
    "REDIS_PASSWORD": _password,
    "STATUS_PASSWORD": _password,
    "MLFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(15),
    "MLFLOW_WORKER_PASSWORD": _password,
    "MLFLOW_WEB_SECRET_KEY": _password,
    "STATUS_PAGE_PASSWORD": lambda: secrets.token_urlsafe(15),
}


# Where either is in a bucket, Airflow's services ask it themselves.
LOGS = "AIRFLOW_LOGS_DESTINATION"
OF_AIRFLOW = (LOGS, "DATASET_URI")
# Fernet keys that only backups need which were made before a rotation.
FORMER_KEYS = "AIRFLOW_FORMER_FERNET_KEYS"


@dataclass(frozen=True)
class Settings:
    """What one clone is set to. `values` holds every setting by its name in .env."""

    root: Path
    values: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def load(cls, root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The settings of .env, with the person's environment above them.

        Raises StackError when there is no .env, a line is refused, or a value cannot be used.
        """
        path = root / ".env"
        if not path.exists():
            raise StackError("there is no .env here yet: inv install")
        return cls.of_text(dotenv_file.read(path), root, environ)

    @classmethod
    def of_text(
        cls, text: str, root: Path = ROOT, environ: Mapping[str, str] = os.environ
    ) -> "Settings":
        """The settings of a .env that may not be written yet; raises as `load` does."""
        example = (root / ".env.example").read_text(encoding="utf-8")
        given = {**dotenv_file.parse(example, ".env.example"), **dotenv_file.parse(text)}
        values = {name: environ.get(name, value) for name, value in given.items()}
        needed = (*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID")
        if wrong := setting_rules.problems(values, needed):
            raise StackError("\n".join(wrong))
        inherited = {name: value for name, value in environ.items() if PASSED_ON.match(name)}
        return cls(root, values, inherited)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    @property
    def engine(self) -> str:
        """docker, standalone, or auto before the first install."""
        return self["STACK_ENGINE"]

    def with_engine(self, name: str) -> "Settings":
        """The same with another engine."""
        return replace(self, values={**self.values, "STACK_ENGINE": name})

    @property
    def project(self) -> str:
        """The name this clone's containers, volumes and images begin with."""
        return self["COMPOSE_PROJECT_NAME"]

    @property
    def project_dir(self) -> Path:
        """The folder with dags/, logs/ and plugins/."""
        return (self.root / "orchestration" / self["AIRFLOW_PROJ_DIR"]).resolve()

    @property
    def compose_files(self) -> Mapping[str, tuple[str, ...]]:
        """The files that Compose reads, in their order, each with the settings that ask for it."""
        in_buckets = tuple(filter(self._is_bucket, OF_AIRFLOW))
        more = {
            "docker-compose.tls.yaml": ("TLS",) if self.tls else (),
            "docker-compose.s3.yaml": in_buckets,
            "docker-compose.logs.yaml": tuple(name for name in in_buckets if name == LOGS),
        }
        asked = {name: settings for name, settings in more.items() if settings}
        return {"docker-compose.yaml": (), **asked}

    def _is_bucket(self, name: str) -> bool:
        return self[name].startswith("s3://")

    @property
    def tls(self) -> bool:
        """The pages are published with TLS."""
        return self["TLS"] == "on"

    @property
    def public_host(self) -> str:
        """The name or address that people type to reach the pages."""
        host = self["PUBLIC_HOST"] if self.tls else ""
        address = host or self["BIND_ADDRESS"]
        return socket.gethostname() if address in setting_rules.EVERYWHERE else address

    def public_url(self, port: str) -> str:
        """Where people find a published port, by the setting's name: for links."""
        return self._at(self.public_host, port)

    def url(self, port: str) -> str:
        """How this machine reaches a published port, by the setting's name."""
        address = self["BIND_ADDRESS"]
        return self._at("127.0.0.1" if address in setting_rules.EVERYWHERE else address, port)

    def _at(self, host: str, port: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"http{'s' if self.tls else ''}://{host}:{self[port]}"

    def refuse_weak(self) -> None:
        """Raises StackError for secrets that can be guessed, or a Fernet key that is none.

        Asked before a stack is started; one that runs with such can be looked at and stopped.
        """
        held = {name: self[name] for name in SECRETS}
        told = [setting_rules.weak(name, value) for name, value in held.items() if value]
        if wrong := [*filter(None, told), *setting_rules.twice(held)]:
            raise StackError("\n".join(wrong))

    def refuse_exposed(self) -> None:
        """Raises StackError where other machines could reach pages that are not protected.

        Asked before a stack is started, as above.
        """
        if told := setting_rules.exposed(self.values):
            raise StackError("\n".join(told))

    def compose_environment(self) -> dict[str, str]:
        """What Compose is started with: nothing that a stray exported variable could change."""
        told = {"AIRFLOW_PROJ_DIR": str(self.project_dir)}
        told |= {"PUBLIC_HOST": self.public_host} if self.tls else {}
        return {**self.environment, **self.values, **told}


def draft_env(root: Path = ROOT) -> tuple[str, str]:
    """The text of a complete .env, and what was done for it in one line (blank: nothing).

    Blanks are filled and new settings appended; a value that is set is never touched. Nothing is
    written.
    """
    path, example = root / ".env", (root / ".env.example").read_text(encoding="utf-8")
    before, done = example, ".env made from .env.example"
    if path.exists():
        before, done = dotenv_file.read(path), ""
        if added := dotenv_file.missing_blocks(example, dotenv_file.parse(before)):
            before = dotenv_file.append(before, f"# added by an upgrade\n{added}")
            done = "new settings appended to .env"
    filled = dotenv_file.fill(before, _generated(root))
    fitting = capacity.fitting(machine.memory_gib(), machine.cpus())
    filled = dotenv_file.fill(filled, fitting, ("auto",))
    return filled, done or ("blank settings of .env filled" if filled != before else "")


def drafted(root: Path = ROOT) -> Settings:
    """The settings as `inv install` would write them, for what works without .env too."""
    text, _ = draft_env(root)
    return Settings.of_text(text, root)


def held_secrets(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The value of each secret, blank ones too. Raises StackError where there is no .env."""
    if not (path := root / ".env").exists():
        raise StackError("there is no .env here yet: inv install")
    written = dotenv_file.parse(dotenv_file.read(path))
    return {name: environ.get(name, written.get(name, "")) for name in SECRETS}


def keys_are_new(root: Path = ROOT) -> bool:
    """No .env holds the keys yet that data of an earlier install would be locked with."""
    path = root / ".env"
    held = dotenv_file.parse(dotenv_file.read(path)) if path.exists() else {}
    return not (held.get("POSTGRES_PASSWORD") and held.get("AIRFLOW_FERNET_KEY"))


def write_env(text: str, engine: str, root: Path = ROOT) -> None:
    """Write .env (0600), with the engine that was chosen in the place of `auto`."""
    dotenv_file.write(root / ".env", dotenv_file.fill(text, {"STACK_ENGINE": engine}, ("auto",)))


def project_name(root: Path) -> str:
    """A name for this clone, the same whenever .env is made anew in the same folder."""
    folder = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-") or "stack"
    return f"{folder}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def _generated(root: Path) -> dict[str, str]:
    uid = os.getuid()
    return {
        **{name: generate() for name, generate in SECRETS.items()},
        "COMPOSE_PROJECT_NAME": project_name(root),
        "AIRFLOW_UID": str(uid or 50000),
    }
