"""What the environment tells the status page."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Where to ask, where to answer; the ports are those the browser reaches, the URLs our own."""

    airflow_url: str
    mlflow_url: str
    redis_url: str
    database_url: str
    # Of the account `status` in MLflow; blank where it asks for none.
    mlflow_password: str
    airflow_port: int
    mlflow_port: int
    # http or https: how the browser reaches them.
    scheme: str
    interval: float
    host: str
    port: int
    # A folder on the file system that fills up.
    disk: str
    # The file that the last backup left; blank where none is known of.
    backup_report: str

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; blank means default, and blank REDIS_URL a stack without it.

        Raises ValueError when a port or the interval (seconds) is not a number above zero.
        """

        def value(name: str, default: str) -> str:
            return environ.get(name, "").strip() or default

        return cls(
            airflow_url=value("AIRFLOW_URL", "http://127.0.0.1:8080").rstrip("/"),
            mlflow_url=value("MLFLOW_URL", "http://127.0.0.1:5000").rstrip("/"),
            redis_url=value("REDIS_URL", ""),
            database_url=value("DATABASE_URL", "postgresql://status@127.0.0.1/airflow"),
            mlflow_password=value("STATUS_PASSWORD", ""),
            airflow_port=int(value("AIRFLOW_PORT", "8080")),
            mlflow_port=int(value("MLFLOW_PORT", "5000")),
            scheme=value("LINK_SCHEME", "http"),
            interval=float(value("STATUS_INTERVAL_SECONDS", "10")),
            host=value("STATUS_HOST", "127.0.0.1"),
            port=int(value("STATUS_PORT", "8081")),
            disk=value("STATUS_DISK", "/"),
            backup_report=value("STATUS_BACKUP_REPORT", ""),
        )

    def __post_init__(self) -> None:
        if not self.interval > 0:
            raise ValueError("STATUS_INTERVAL_SECONDS must be above zero")
