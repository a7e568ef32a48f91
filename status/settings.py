"""What the environment tells the status page."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PAGES = ("airflow_url", "mlflow_url")
# The variables that are not called as the settings are.
VARIABLES = {
    "mlflow_password": "STATUS_PASSWORD",  # pragma: allowlist secret
    "scheme": "LINK_SCHEME",
    "interval": "STATUS_INTERVAL_SECONDS",
    "host": "STATUS_HOST",
    "port": "STATUS_PORT",
    "disk": "STATUS_DISK",
    "backup_report": "STATUS_BACKUP_REPORT",
}


@dataclass(frozen=True)
class Settings:
    """Where to ask, where to answer; the ports are those the browser reaches, the URLs our own."""

    airflow_url: str = "http://127.0.0.1:8080"
    mlflow_url: str = "http://127.0.0.1:5000"
    redis_url: str = ""
    database_url: str = "postgresql://status@127.0.0.1/airflow"
    # Of the account `status` in MLflow; blank where it asks for none.
    mlflow_password: str = ""
    airflow_port: int = 8080
    mlflow_port: int = 5000
    # http or https: how the browser reaches them.
    scheme: str = "http"
    interval: float = 10.0
    host: str = "127.0.0.1"
    port: int = 8081
    # A folder on the file system that fills up.
    disk: str = "/"
    # The file that the last backup left; blank where none is known of.
    backup_report: str = ""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; blank means default, and blank REDIS_URL a stack without it.

        Raises ValueError when a port or the interval (seconds) is not a number above zero.
        """
        told: dict[str, Any] = {}
        for name, default in asdict(cls()).items():
            if text := environ.get(VARIABLES.get(name, name.upper()), "").strip():
                told[name] = type(default)(text.rstrip("/") if name in PAGES else text)
        settings = cls(**told)
        if not settings.interval > 0:
            raise ValueError("STATUS_INTERVAL_SECONDS must be above zero")
        return settings
