"""Scan recent service logs for known failure patterns."""

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from orchestration.doctor import log_patterns
from orchestration.engines.base import Runtime
from orchestration.errors import Problem
from orchestration.health.report import Report, Row
from orchestration.process.background import in_background
from orchestration.settings.model import Settings

LINES, RECENT = 200, timedelta(minutes=10)
# How long before its next start a service may print why it exited.
EXIT_TIME = timedelta(minutes=2)


def scan_error(settings: Settings, message: str) -> Iterator[Problem]:
    """Yield known failures in the error message of a failed `inv up`."""
    return log_patterns.match(log_patterns.UP, message, healthy=False, names=_names(settings))


def scan_logs(settings: Settings, engine: Runtime, report: Report) -> Iterator[Problem]:
    """Yield known failures in each service's last log lines and its status page detail."""
    newest = _newest_start(report)
    names = _names(settings)
    tails = [
        (row, in_background(partial(engine.tail, row.name, LINES, _since(row, newest))))
        for row in report.services
        if row.state not in ("absent", "created", "orphaned")
    ]  # fmt: skip
    for row, tail in tails:
        text = f"{row.detail}\n{tail.result()}"
        yield from log_patterns.match(row.name, text, healthy=row.healthy, names=names)


def _newest_start(report: Report) -> datetime:
    """Return the last start of an Airflow service; it may have fixed what was rejected before."""
    starts = [
        datetime.fromisoformat(row.since)
        for row in report.services
        if row.since and row.state == "running" and row.name.startswith("airflow-")
    ]
    return max(starts, default=datetime.min.replace(tzinfo=UTC))


def _since(row: Row, newest: datetime) -> datetime:
    """Return the time from which a service's log lines count."""
    recent = datetime.now(UTC) - RECENT
    if row.since is None:
        return recent
    started = datetime.fromisoformat(row.since)
    if row.state != "running":
        return started - EXIT_TIME
    if not row.healthy:
        return max(started - EXIT_TIME, recent)
    return max(started, recent, newest if row.name.startswith("airflow-") else started)


def _names(settings: Settings) -> Mapping[str, str]:
    logs = shlex.quote(str(settings.project_dir / "logs"))
    owner = f"sudo chown -R {settings['AIRFLOW_UID']}:0 {logs}"
    return {"mlflow": settings.public_url("MLFLOW_PORT"), "own_logs": owner}
