"""Read the settings of the status page from the environment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

URLS = ("airflow_url", "mlflow_url")
# Environment variables whose names differ from those of the settings.
VARIABLES = {
    "mlflow_password": "STATUS_PASSWORD",  # pragma: allowlist secret
    "scheme": "LINK_SCHEME",
    "interval": "STATUS_INTERVAL_SECONDS",
    "host": "STATUS_HOST",
    "port": "STATUS_PORT",
    "disk": "STATUS_DISK",
    "slots": "AIRFLOW__CORE__PARALLELISM",
    "backup_report": "STATUS_BACKUP_REPORT",
    "project": "STACK_PROJECT",
    "stack": "STACK_ID",
}


@dataclass(frozen=True)
class Settings:
    """Settings of the page; browsers use the ports, the page itself uses the URLs."""

    airflow_url: str = "http://127.0.0.1:8080"
    mlflow_url: str = "http://127.0.0.1:5000"
    redis_url: str = ""
    database_url: str = "postgresql://status@127.0.0.1/airflow"
    # Password of the account `status` in MLflow; blank if MLflow requires none.
    mlflow_password: str = ""
    airflow_port: int = 8080
    mlflow_port: int = 5000
    # How browsers reach the ports: http or https.
    scheme: str = "http"
    interval: float = 10.0
    host: str = "127.0.0.1"
    port: int = 8081
    # How many tasks Airflow starts at a time; 0 if workers decide.
    slots: int = 0
    # A folder on the file system to check.
    disk: str = "/"
    # The report file of the last backup; blank if there is none.
    backup_report: str = ""
    # The name of the project, and the id of its stack.
    project: str = ""
    stack: str = ""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; a blank variable means the default, a blank REDIS_URL no Redis.

        Raises ValueError if a port is not a number, or the interval (seconds) not one above zero.
        """
        values: dict[str, Any] = {}
        for name, default in asdict(cls()).items():
            if text := environ.get(VARIABLES.get(name, name.upper()), "").strip():
                values[name] = type(default)(text.rstrip("/") if name in URLS else text)
        settings = cls(**values)
        if not settings.interval > 0:
            raise ValueError("STATUS_INTERVAL_SECONDS must be above zero.")
        return settings
