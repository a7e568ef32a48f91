"""Switch a stack to other versions of Airflow and MLflow, and back.

The databases are copied and the builds are retained before anything is migrated. A journal next to
.env exists from the first change until the canary has passed. If it still exists at the next start,
the upgrade was interrupted: the start finishes it or returns to the previous versions.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from orchestration import lifecycle, pending
from orchestration.clients import postgres
from orchestration.dependencies import applied, versions
from orchestration.dependencies.versions import Versions
from orchestration.engines import factory
from orchestration.engines.base import INIT_JOBS, Engine
from orchestration.errors import StackError
from orchestration.files import atomic_write
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings import envfile
from orchestration.settings.model import Settings

# The suffixes of the databases before the migration, and of migrated ones after a return.
COPIES, MIGRATED = "previous", "migrated"
KEPT = ".upgraded"
COPYING, MIGRATING, VERIFIED = "copying", "migrating", "verified"
MIGRATION_SECONDS = 24 * 3600
# What is lost on the way back: the label, database and table of each count.
LOST = {
    "DAG runs": ("airflow", "dag_run"),
    "MLflow runs": ("mlflow", "runs"),
    "metrics": ("mlflow", "metrics"),
    "model versions": ("mlflow", "model_versions"),
}


@dataclass(frozen=True)
class Journal:
    """An upgrade that has begun, or whose copies are kept; `at` is the time of its start."""

    current: Versions
    target: Versions
    stage: str = COPYING
    at: str = ""

    def write(self, path: Path) -> None:
        """Write the journal atomically."""
        atomic_write(path, f"{json.dumps(asdict(self))}\n", 0o600)


def unfinished(root: Path) -> Journal | None:
    """Return the journal of an interrupted upgrade or return, if there is one."""
    return _read(root / pending.UPGRADE)


def kept(root: Path) -> Journal | None:
    """Return the last upgrade, if its copies are still kept."""
    return _read(root / KEPT)


def upgrade(project: Project, current: Settings, target: Settings) -> None:
    """Copy the databases, migrate, replace all services and run the canary; or return.

    The builds of the target must exist, and no task may run. Raises StackError if anything fails.
    The previous versions then run again, with their data.
    """
    engine, new = factory.engine_for(current), factory.engine_for(target)
    path = current.root / pending.UPGRADE
    at = datetime.now(UTC).isoformat(timespec="seconds")
    journal = Journal(applied.recorded_versions(current), versions.locked(target), COPYING, at)
    journal.write(path)
    try:
        with Progress() as progress:
            steps = Steps(progress)
            steps.do("stop services", partial(_stop, engine))
            engine.retain()
            steps.do("copies of databases", partial(postgres.copy, engine, COPIES))
            journal = replace(journal, stage=MIGRATING)
            journal.write(path)
            _set_version(project, target)
            new.activate()
            applied.record(target)
            postgres.forget_markers(new)
            for job in INIT_JOBS:
                steps.do(job, partial(new.replace, job, MIGRATION_SECONDS))
        lifecycle.start(target, new)
    except BaseException as error:
        _return_after(error, project)
        raise
    replace(journal, stage=VERIFIED).write(path)
    _keep(current.root)


def _return_after(error: BaseException, project: Project) -> None:
    """Return to the previous versions, and raise StackError with the cause and the result."""
    note, fix = "The previous versions run again, with their data. Nothing was lost.", ""
    try:
        resume(project)
    except StackError as other:
        note, fix = f"The way back to the previous versions failed.\n{other}", "inv up"
    if isinstance(error, StackError):
        raise StackError(f"{error}\n{note}", fix=fix) from None


def resume(project: Project) -> None:
    """Finish an interrupted upgrade whose canary had passed, or return to the previous versions."""
    settings = project.settings()
    journal = unfinished(settings.root)
    if journal is None:
        return
    if journal.stage == VERIFIED:
        _keep(settings.root)
        return
    print(f"Returning to {versions.text(journal.current)}.")
    current = settings.with_airflow(journal.current["airflow"])
    engine = factory.engine_for(current)
    with Progress() as progress:
        steps = Steps(progress)
        steps.do("stop services", partial(_stop, engine))
        steps.do("database server", partial(engine.up, ("postgres",)))
        postgres.wait(engine)
        if journal.stage == MIGRATING:
            if postgres.exist(engine, COPIES):
                postgres.switch(engine, here=COPIES, away=MIGRATED)
            engine.reactivate()
        _set_version(project, current)
        applied.record(current, journal.current)
    lifecycle.start(current, engine)
    _discard(current.root, engine)
    (current.root / pending.UPGRADE).unlink()


def back(project: Project) -> None:
    """Return to the versions and the data before the last upgrade, and run the canary.

    Raises StackError if no copies are kept. If it is interrupted, the next start continues.
    """
    root = project.root
    journal = refuse_without_copies(root)
    engine = lifecycle.working_engine(project)[1]
    with Progress() as progress:
        Steps(progress).do("finish running tasks", engine.finish_tasks)
    journal.write(root / pending.UPGRADE)
    resume(project)


def done(root: Path, engine: Engine) -> None:
    """Drop the copies and the previous builds. Raises StackError if none are kept."""
    refuse_without_copies(root)
    _discard(root, engine)


def refuse_without_copies(root: Path) -> Journal:
    """Return the last upgrade. Raises StackError if its copies are not kept."""
    if journal := kept(root):
        return journal
    raise StackError("There is no upgrade to return from: no copies are kept.", fix="inv upgrade")


def losses(engine: Engine) -> dict[str, int]:
    """Return how many rows of each kind were added since the copies were made."""
    counts = {}
    for label, (database, table) in LOST.items():
        now, before = (
            int(postgres.query(engine, f"SELECT count(*) FROM {table}", name)[0])
            for name in (database, f"{database}_{COPIES}")
        )
        counts[label] = now - before
    return {label: count for label, count in counts.items() if count > 0}


def _stop(engine: Engine) -> None:
    pending.stop_writers(engine)
    # A database can only be copied while nobody uses it.
    engine.stop(("status",))


def _keep(root: Path) -> None:
    """Turn the journal of a verified upgrade into the record of its copies."""
    journal = _read(root / pending.UPGRADE)
    if journal:
        replace(journal, stage=MIGRATING).write(root / KEPT)
        (root / pending.UPGRADE).unlink()


def _discard(root: Path, engine: Engine) -> None:
    for suffix in (COPIES, MIGRATED):
        postgres.drop(engine, suffix)
    engine.release()
    engine.prune()
    (root / KEPT).unlink(missing_ok=True)


def _set_version(project: Project, settings: Settings) -> None:
    """Write AIRFLOW_VERSION to .env, which lacks it if it was written by an older stack."""
    text, name = envfile.read(project.env_file), "AIRFLOW_VERSION"
    if name not in envfile.parse(text):
        text = envfile.append(text, f"{name}=\n")
    envfile.write(project.env_file, envfile.fill(text, {name: settings[name]}, None))


def _read(path: Path) -> Journal | None:
    try:
        document: Mapping[str, object] = json.loads(path.read_text("utf-8"))
        return Journal(**document)  # type: ignore[arg-type]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StackError(f"{path} cannot be read: {error}") from None
