"""What services have said lately, each from its own last start on, read for known failures."""

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
# What a service said while it ended is in front of its next start.
ENDING = timedelta(minutes=2)


def in_error(settings: Settings, said: str) -> Iterator[Problem]:
    """What the words of a failed `inv up` tell."""
    return log_patterns.read(log_patterns.UP, said, well=False, names=_names(settings))


def in_logs(settings: Settings, engine: Runtime, report: Report) -> Iterator[Problem]:
    """What the services' last lines tell, and what the status page says of each."""
    newest = _newest_start(report)
    names = _names(settings)
    asked = [
        (row, in_background(partial(engine.tail, row.name, LINES, _since(row, newest))))
        for row in report.services
        if row.state not in ("absent", "created", "orphaned")
    ]  # fmt: skip
    for row, tail in asked:
        text = f"{row.detail}\n{tail.result()}"
        yield from log_patterns.read(row.name, text, well=row.healthy, names=names)


def _newest_start(report: Report) -> datetime:
    """When the last of Airflow's services was started: what it refused before may be mended."""
    starts = [
        datetime.fromisoformat(row.since)
        for row in report.services
        if row.since and row.state == "running" and row.name.startswith("airflow-")
    ]
    return max(starts, default=datetime.min.replace(tzinfo=UTC))


def _since(row: Row, newest: datetime) -> datetime:
    """From when on a service's words count."""
    recent = datetime.now(UTC) - RECENT
    if row.since is None:
        return recent
    started = datetime.fromisoformat(row.since)
    if row.state != "running":
        return started - ENDING
    if not row.healthy:
        return max(started - ENDING, recent)
    return max(started, recent, newest if row.name.startswith("airflow-") else started)


def _names(settings: Settings) -> Mapping[str, str]:
    logs = shlex.quote(str(settings.project_dir / "logs"))
    owner = f"sudo chown -R {settings['AIRFLOW_UID']}:0 {logs}"
    return {"mlflow": settings.public_url("MLFLOW_PORT"), "own_logs": owner}
