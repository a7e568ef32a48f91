"""Every setting: .env.example gives names and defaults, .env the values; the shell wins."""

import base64
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestration.errors import Problem, StackError
from orchestration.settings import envfile, validation

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
    def of_text(cls, text: str, root: Path, environ: Mapping[str, str]) -> "Settings":
        """Return the settings of a .env's text, with the variables of `environ` above them.

        Raises StackError for a line that is refused or a value that cannot be used.
        """
        example = (root / ".env.example").read_text(encoding="utf-8")
        given = {**envfile.parse(example, ".env.example"), **envfile.parse(text)}
        values = {name: environ.get(name, value) for name, value in given.items()}
        needed = (*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID")
        if wrong := validation.problems(values, needed):
            raise StackError(*wrong)
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
        return socket.gethostname() if address in validation.EVERYWHERE else address

    def public_url(self, port: str) -> str:
        """Where people find a published port, by the setting's name: for links."""
        return self._at(self.public_host, port)

    def url(self, port: str) -> str:
        """How this machine reaches a published port, by the setting's name."""
        address = self["BIND_ADDRESS"]
        return self._at("127.0.0.1" if address in validation.EVERYWHERE else address, port)

    def _at(self, host: str, port: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"http{'s' if self.tls else ''}://{host}:{self[port]}"

    def refuse_unsafe(self) -> None:
        """Raise StackError for weak secrets and pages that other machines reach unprotected.

        Called before a stack is started; one that is running can still be inspected and stopped.
        """
        if unsafe := self.unsafe():
            raise StackError(*unsafe)

    def unsafe(self) -> list[Problem]:
        """Return why a stack must not be started with these settings."""
        secrets = {name: self[name] for name in SECRETS}
        return [*validation.weak_secrets(secrets), *validation.exposed(self.values)]

    def refuse_exposed(self) -> None:
        """Raise StackError for pages that other machines reach unprotected."""
        if exposed := validation.exposed(self.values):
            raise StackError(*exposed)

    def compose_environment(self) -> dict[str, str]:
        """What Compose is started with: nothing that a stray exported variable could change."""
        told = {"AIRFLOW_PROJ_DIR": str(self.project_dir)}
        told |= {"PUBLIC_HOST": self.public_host} if self.tls else {}
        return {**self.environment, **self.values, **told}
