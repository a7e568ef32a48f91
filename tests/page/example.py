"""A board with realistic data for pictures: all services are up again after an outage."""

from datetime import UTC, datetime, timedelta

from status.board import Board, ServiceStatus
from status.host import Disk
from status.metadata import Metadata, Run
from status.models import Models, Version
from status.probes import Round, service_names
from status.verdict import Verdict
from status.work import verdicts

GIB = 2**30
SHARES = [0.07, 0.14, 0.07, 0.21, 0.29, 0.36, 0.21, 0.14, 0.14, 0.29, 0.21]
DRIFT = {f"2013-{number:02}": share for number, share in enumerate(SHARES, 1)}
HOPS = {"queued": 0.49, "client": 1.85, "run": 0.09, "metric": 0.05, "artifact": 0.18}
HOPS |= {"model": 0.12, "prune": 0.13}
MONTHLY = "scheduled__2013-11-01T00:00:00+00:00"
RUNS = {
    "canary": Run("manual__2026-11-26T12:00:00+00:00", "success", 250, 245),
    "training_pipeline": Run(MONTHLY, "success", 4000, 3950),
    "monitoring_pipeline": Run(MONTHLY, "success", 4100, 4052),
    "bike_rentals_training": Run("manual__2026-11-26T10:00:00+00:00", "success", 900, 870),
    "bike_rentals_monitoring": Run(MONTHLY, "success", 800, 780),
}
FLIGHTS = Models(
    {
        "champion": Version("12", "a1", "2013-10", {"auc": 0.7214, "log_loss": 0.4711}),
        "challenger": Version("13", "b2", "2013-11", {"auc": 0.7268, "log_loss": 0.4689}),
    },
    DRIFT,
    "auc",
)
BIKES = Models(
    {"champion": Version("2", "c3", "2013-11", {"rmse": 41.7301, "mae": 30.0113})},
    {"2013-10": 0.1, "2013-11": 0.4},
    "rmse",
    0.3,
)
MODELS = {"bike-rentals": BIKES, "flight-delay": FLIGHTS}
PROBLEMS = {
    "flight-delay": {"training": "training_pipeline", "monitoring": "monitoring_pipeline"},
    "bike-rentals": {
        "training": "bike_rentals_training",
        "monitoring": "bike_rentals_monitoring",
    },
}
DETAILS = {
    "airflow-apiserver": ("answers and reads its metadatabase", 33.9),
    "airflow-scheduler": ("last heartbeat 4 s ago", None),
    "airflow-dag-processor": ("last heartbeat 7 s ago", None),
    "airflow-triggerer": ("last heartbeat 2 s ago", None),
    "redis": ("append-only file is written", 2.4),
    "airflow-worker": ("consuming; 0 waiting, 1 in progress", None),
    "postgres": ("14 of 100 connections; airflow 38 MiB, mlflow 17 MiB", 13.5),
    "mlflow": ("reads its database and its artifact store", 43.1),
}
HEALTHY = ("up",) * 60
OUTAGES = {
    "airflow-worker": ("up",) * 20 + ("degraded",) * 3 + ("down",) * 8 + ("up",) * 29,
    "redis": ("up",) * 22 + ("down",) * 6 + ("up",) * 32,
    "mlflow": ("",) * 5 + ("unknown",) * 2 + ("up",) * 53,
}


class Example:
    """Replaces Rounds and always returns the same board."""

    def __init__(self, **states):
        """Create a board; `states` are services, with _ instead of -, that are not up."""
        metadata = Metadata(runs=RUNS, hops=HOPS, dags=7, problems=PROBLEMS)
        report = Verdict("backup", "up", "verified: 2 databases, 214 artifacts", seen=ago(hours=9))
        disk = Verdict("disk", "up", "67.7 GiB free of 252 GiB")
        work = [*verdicts(metadata, MODELS), report, disk]
        self.states = {name.replace("_", "-"): state for name, state in states.items()}
        space = Disk(67 * GIB, 252 * GIB)
        services = [self.verdict(name) for name in DETAILS]
        latest = Round(services, work, metadata, MODELS, 0, space)
        self._board = Board([self.status(one) for one in services], ago(seconds=3), latest)

    def verdict(self, name):
        detail, latency = DETAILS[name]
        return Verdict(name, self.states.get(name, "up"), detail, latency)

    def status(self, verdict):
        since = ago(minutes=32) if verdict.name in ("airflow-worker", "redis") else ago(days=2)
        return ServiceStatus(verdict, since, OUTAGES.get(verdict.name, HEALTHY))

    def board(self):
        return self._board


def ago(**duration):
    """Return a moment in the past."""
    return datetime.now(UTC) - timedelta(**duration)


assert list(DETAILS) == service_names("redis://x")
