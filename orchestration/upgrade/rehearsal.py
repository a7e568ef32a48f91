"""Rehearse an upgrade: migrate a restored backup in a temporary stack, and report the result."""

import io
import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from rich.console import Console

from orchestration.backup import drill, restore
from orchestration.backup.archive import Manifest
from orchestration.clients import accounts, postgres
from orchestration.clients.airflow import Airflow
from orchestration.dependencies import applied, versions
from orchestration.dependencies.versions import Versions
from orchestration.engines import factory
from orchestration.engines.base import INIT_JOBS, Engine
from orchestration.errors import StackError
from orchestration.files import atomic_write
from orchestration.health import canary
from orchestration.process.background import Steps
from orchestration.settings import airflow_variables
from orchestration.settings.model import Settings
from orchestration.upgrade.switch import MIGRATION_SECONDS

RECORD = ".rehearsed"
VALID = timedelta(days=7)
# The services that the canary needs. Without a triggerer no deferred task of the copy continues.
SERVICES = (
    *("airflow-apiserver", "airflow-scheduler", "airflow-worker", "airflow-dag-processor"),
    "mlflow",
)
# Nothing leaves the temporary stack, and its artifacts and logs are its own.
CLOSED = {
    "STACK_IS_SANDBOX": "true",
    "MLFLOW_ARTIFACTS_DESTINATION": drill.VOLUME,
    **dict.fromkeys(("AIRFLOW_LOGS_DESTINATION", "ALERT_WEBHOOK_URL", "SMTP_HOST"), ""),
}
PAUSE = f"UPDATE dag SET is_paused = dag_id <> '{canary.CANARY}'"
# Tables that no migration may take rows from.
PRESERVED = {
    "airflow": ("dag_run", "task_instance", "xcom", "connection", "variable", "ab_user"),
    "mlflow": ("experiments", "runs", "metrics", "params", "registered_models", "model_versions"),
    "mlflow_auth": ("users",),
}


Tables = Mapping[str, Mapping[str, int]]


@dataclass
class Rehearsal:
    """The result of a rehearsal. Times are in seconds, `rows` and `bytes` before and after."""

    current: Versions
    target: Versions
    digest: str
    backup: str
    finished_at: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    bytes: tuple[int, int] = (0, 0)
    import_errors: list[str] = field(default_factory=list)
    current_import_errors: list[str] = field(default_factory=list)
    inactive_patches: dict[str, str] = field(default_factory=dict)
    unneeded_patches: list[str] = field(default_factory=list)
    outdated_options: list[str] = field(default_factory=list)
    canary: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def run(
    current: Settings, target: Settings, folder: Path, manifest: Manifest, steps: Steps
) -> Rehearsal:
    """Restore a backup with the newest builds, migrate it and run the canary.

    The builds of the target must exist. Problems are listed in the result and not raised.
    """
    engine, new = factory.engine_for(current), factory.engine_for(target)
    result = Rehearsal(
        applied.recorded_versions(current),
        versions.locked(target),
        versions.digest(target),
        folder.name,
        outdated_options=airflow_variables.outdated_options(
            target.airflow_variables, target["AIRFLOW_VERSION"]
        ),
    )
    result.import_errors = steps.do("DAG files", new.import_errors).splitlines()
    result.current_import_errors = _import_errors_today(engine)
    if new_errors := [*set(result.import_errors) - set(result.current_import_errors)]:
        result.problems.append(f"DAG files cannot be imported: {', '.join(sorted(new_errors))}")
    other = drill.temporary_settings(target, **CLOSED)
    with drill.temporary_stack(target, other, new, newest=True) as sandbox:
        try:
            _migrate(result, folder, manifest, sandbox, steps)
            result.canary = _run_canary(target, other, sandbox, steps)
        except StackError as error:
            result.problems.append(str(error))
    result.finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return result


def _import_errors_today(engine: Engine) -> list[str]:
    """Return the files that the running stack cannot import."""
    with suppress(StackError):
        return postgres.query(engine, "SELECT filename FROM import_error ORDER BY 1", "airflow")
    return []


def _migrate(
    result: Rehearsal, folder: Path, manifest: Manifest, sandbox: Engine, steps: Steps
) -> None:
    steps.do("database server", partial(sandbox.up, ("postgres",)))
    postgres.wait(sandbox)
    restore.load(folder, manifest, sandbox, steps)
    postgres.switch(sandbox)
    postgres.query(sandbox, PAUSE, "airflow")
    before = postgres.bytes_of(sandbox)
    for job in INIT_JOBS:
        started = time.monotonic()
        steps.do(job, partial(sandbox.replace, job, MIGRATION_SECONDS))
        result.seconds[job] = round(time.monotonic() - started, 1)
    result.bytes = before, postgres.bytes_of(sandbox)
    for name in postgres.NAMES:
        counted = partial(postgres.tables_in_database, sandbox, name)
        compare(result, name, manifest.tables.get(name, {}), steps.do(f"{name} rows", counted))
    for marker in postgres.markers(sandbox).values():
        result.inactive_patches |= marker["inactive_patches"]
        result.unneeded_patches += marker["unneeded_patches"]


def compare(result: Rehearsal, name: str, before: Tables, after: Tables) -> None:
    """Add the tables whose number of rows changed, and a problem for each loss that matters."""
    for table in sorted({*before, *after} - {"(sequences)"}):
        counts = tuple(
            tables[table]["rows"] if table in tables else 0 for tables in (before, after)
        )
        if counts[0] != counts[1]:
            result.rows[f"{name}.{table}"] = counts[0], counts[1]
        if table in PRESERVED[name] and counts[1] < counts[0]:
            result.problems.append(f"{name}.{table} loses {counts[0] - counts[1]} rows.")


def _run_canary(
    settings: Settings, other: Settings, sandbox: Engine, steps: Steps
) -> dict[str, float]:
    """Start the services of the temporary stack, with the canary as its only DAG."""
    shutil.copy(settings.root / "dags" / "canary.py", other.project_dir / "dags")
    services = [name for name in SERVICES if name in sandbox.services()]
    steps.do("start", partial(sandbox.up, services))
    # The backup may have another password.
    steps.do("login", partial(accounts.sync_airflow_password, other, sandbox))
    silent = Console(file=io.StringIO())
    return steps.do(canary.CANARY, partial(canary.run, Airflow(other), silent))


def record(root: Path, result: Rehearsal) -> None:
    """Keep the result of the last rehearsal."""
    atomic_write(root / RECORD, json.dumps(asdict(result), indent=1), 0o600)


def refuse_unrehearsed(target: Settings) -> None:
    """Raise StackError unless these locks were rehearsed with success within 7 days."""
    fix = f"inv upgrade --rehearse --to {target['AIRFLOW_VERSION']}"
    try:
        document = json.loads((target.root / RECORD).read_text("utf-8"))
        result = Rehearsal(**document)
        age = datetime.now(UTC) - datetime.fromisoformat(result.finished_at)
    except FileNotFoundError:
        raise StackError("This upgrade was not rehearsed.", fix=fix) from None
    except (ValueError, TypeError):
        raise StackError("The result of the rehearsal cannot be read.", fix=fix) from None
    if result.digest != versions.digest(target):
        raise StackError("Another upgrade was rehearsed, or the locks changed since.", fix=fix)
    if age > VALID:
        raise StackError(f"The rehearsal is {age.days} days old.", fix=fix)
    if result.problems:
        raise StackError("The rehearsal failed.", *result.problems, fix=fix)
