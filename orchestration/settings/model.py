"""Settings: defaults from .env.example, values from .env, overridden by the shell's variables."""

import base64
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestration.checksums import fingerprint
from orchestration.errors import Problem, StackError
from orchestration.settings import airflow_variables, envfile, names, validation
from orchestration.settings.rules import RULES

INHERITED = re.compile(
    r"^(PATH|HOME|USER|TERM|NO_COLOR|XDG_\w+|DOCKER_\w+|(?i:(?:https?|no|all)_proxy)|SSL_CERT_\w+)$"
)


def _password() -> str:
    return secrets.token_urlsafe(32)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


# Secrets that this tool generates. Those from elsewhere (AWS keys, a webhook, a mail password) may
# be blank, and their strength is not checked.
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


# Airflow's services access these locations themselves if they are in a bucket.
LOGS = "AIRFLOW_LOGS_DESTINATION"
AIRFLOW_LOCATIONS = (LOGS, "DATASET_URI", "PREDICTIONS_URI")
# Followed by the name of a problem: the source of its rows.
SOURCE_OF = "DATASET_URI_"
# Previous Fernet keys, which only backups from before a rotation need.
PREVIOUS_KEYS = "AIRFLOW_FORMER_FERNET_KEYS"


@dataclass(frozen=True)
class Settings:
    """The settings of one clone; `values` contains all of them by their name in .env."""

    root: Path
    values: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def from_text(cls, text: str, root: Path, environ: Mapping[str, str]) -> "Settings":
        """Return the settings in the text of a .env; variables in `environ` take precedence.

        Raises StackError for a line that is malformed or without effect, or an unusable value.
        """
        example = (root / ".env.example").read_text(encoding="utf-8")
        known, in_file = envfile.parse(example, ".env.example"), envfile.parse(text)
        written = {**known, **in_file}
        values = {name: environ.get(name, value) for name, value in written.items()}
        required = (*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID")
        exported = values.keys() & environ.keys()
        problems = names.problems(text, known, root)
        if problems := [*problems, *validation.problems(values, required, exported)]:
            raise StackError(*problems)
        # Docker accepts no name here, and a server would also listen on the name's IPv6 address.
        if values["BIND_ADDRESS"] == "localhost":
            values["BIND_ADDRESS"] = "127.0.0.1"
        inherited = {name: value for name, value in environ.items() if INHERITED.match(name)}
        return cls(root, values, inherited)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    @property
    def engine(self) -> str:
        """The engine: docker, standalone, or auto before the first install."""
        return self["STACK_ENGINE"]

    def with_engine(self, name: str) -> "Settings":
        """Return these settings with another engine."""
        return replace(self, values={**self.values, "STACK_ENGINE": name})

    @property
    def project(self) -> str:
        """The prefix of the names of this clone's containers, volumes and images."""
        return self["COMPOSE_PROJECT_NAME"]

    @property
    def project_dir(self) -> Path:
        """The folder that contains dags/, logs/ and plugins/."""
        return (self.root / "orchestration" / self["AIRFLOW_PROJ_DIR"]).resolve()

    @property
    def compose_files(self) -> Mapping[str, tuple[str, ...]]:
        """The Compose files in the order they are read, each with the settings that add it."""
        in_buckets = tuple(filter(self._is_bucket, self._locations))
        optional = {
            "docker-compose.tls.yaml": ("TLS",) if self.tls else (),
            "docker-compose.s3.yaml": in_buckets,
            "docker-compose.logs.yaml": tuple(name for name in in_buckets if name == LOGS),
        }
        added = {name: settings for name, settings in optional.items() if settings}
        last = {airflow_variables.FILE: ()} if self.airflow_variables else {}
        return {"docker-compose.yaml": (), **added, **last}

    @property
    def airflow_variables(self) -> tuple[str, ...]:
        """The names of the user's options, connections and variables of Airflow."""
        return airflow_variables.names(self.values)

    def secret_values(self) -> list[str]:
        """Return every value that no message may contain, the longest first."""
        secret = [name for rule in RULES if rule.secret for name in rule.names]
        values = {self[name] for name in (*secret, *self.airflow_variables)}
        return sorted(filter(None, values), key=len, reverse=True)

    @property
    def stack_id(self) -> str:
        """An id that no other clone's stack has, also one with the same project name.

        The status page shows it. It reveals neither the folder nor the secret it is made of.
        """
        return fingerprint(f"{self.root} {self['AIRFLOW_JWT_SECRET']}")

    @property
    def _locations(self) -> list[str]:
        """The names of the settings with locations that tasks access."""
        return [*AIRFLOW_LOCATIONS, *(name for name in self.values if name.startswith(SOURCE_OF))]

    def _is_bucket(self, name: str) -> bool:
        return self[name].startswith("s3://")

    @property
    def tls(self) -> bool:
        """Whether the pages are published with TLS."""
        return self["TLS"] == "on"

    @property
    def public_host(self) -> str:
        """The host name or address that users type to reach the pages."""
        host = self["PUBLIC_HOST"] if self.tls else ""
        address = host or self["BIND_ADDRESS"]
        return socket.gethostname() if address in validation.EVERYWHERE else address

    def public_url(self, port: str) -> str:
        """Return the URL of a published port for links; `port` is the name of its setting."""
        return self._at(self.public_host, port)

    def url(self, port: str) -> str:
        """Return the URL of a published port on this machine; `port` is the name of its setting."""
        address = self["BIND_ADDRESS"]
        return self._at("127.0.0.1" if address in validation.EVERYWHERE else address, port)

    def _at(self, host: str, port: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"http{'s' if self.tls else ''}://{host}:{self[port]}"

    def refuse_unsafe(self) -> None:
        """Raise StackError for weak secrets and for pages exposed to other machines without TLS.

        Called before a start. A stack that is already running can still be inspected and stopped.
        """
        if problems := self.safety_problems():
            raise StackError(*problems)

    def safety_problems(self) -> list[Problem]:
        """Return the problems that make a start with these settings unsafe."""
        secrets = {name: self[name] for name in SECRETS}
        return [
            *validation.weak_secrets(secrets),
            *validation.exposure_problems(self.values),
            *validation.celery_problems(self.values),
        ]

    def refuse_exposed(self) -> None:
        """Raise StackError for pages exposed to other machines without TLS."""
        if problems := validation.exposure_problems(self.values):
            raise StackError(*problems)

    def compose_environment(self) -> dict[str, str]:
        """Return Compose's environment, which no unrelated exported variable can change."""
        derived = {"AIRFLOW_PROJ_DIR": str(self.project_dir), "STACK_ID": self.stack_id}
        derived |= {"PUBLIC_HOST": self.public_host} if self.tls else {}
        return {**self.environment, **self.values, **derived}
