"""`inv upgrade`: rehearse an upgrade of Airflow or MLflow, do it, return from it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path

from packaging.version import Version

from orchestration import lifecycle, pending
from orchestration.backup import archive
from orchestration.backup import create as backup_create
from orchestration.clients import postgres
from orchestration.commands import backup as backup_command
from orchestration.dependencies import applied, requirements, versions
from orchestration.engines import factory
from orchestration.engines.base import IMAGES, Engine
from orchestration.errors import StackError, UsageError
from orchestration.health import report as health_report
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings.model import Settings
from orchestration.settings.rules import AIRFLOW_VERSIONS
from orchestration.upgrade import rehearsal, switch
from orchestration.upgrade.rehearsal import Rehearsal

GIB, MIB = 2**30, 2**20
# A copy of the databases, and the rows that a migration writes again.
SIZES_NEEDED = 2.5


def show(project: Project, *, as_json: bool) -> None:
    """Print the versions of the stack, those it can be upgraded to, and what is kept."""
    settings, _ = lifecycle.working_engine(project)
    current, kept = applied.recorded_versions(settings), switch.kept(project.root)
    newer = [v for v in AIRFLOW_VERSIONS if Version(v) > Version(current["airflow"])]
    if as_json:
        kept_document = asdict(kept) if kept else None
        print(json.dumps({"current": current, "available": newer, "kept": kept_document}))
        return
    print(f"This stack has {versions.text(current)}.")
    if kept:
        print(f"{versions.text(kept.current)} of {kept.at} is kept.")
        print("To return: inv upgrade --back\nTo free its disk space: inv upgrade --done")
    locked = versions.locked(settings)
    for name in newer:
        print(f"To rehearse Airflow {name}: inv upgrade --rehearse --to {name}")
    if current["mlflow"] != locked["mlflow"]:
        print(f"MLflow {locked['mlflow']} is locked. "
              f"To rehearse it: inv upgrade --rehearse --to {current['airflow']}")  # fmt: skip


def rehearse(project: Project, to: str, *, as_json: bool) -> bool:
    """Migrate a restored backup in a temporary stack; return whether an upgrade would succeed.

    The stack is not changed. Raises StackError if the rehearsal cannot be started.
    """
    current, target = _settings(project, to)
    engine = factory.engine_for(current)
    # With --json, only the result is printed to stdout.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        folder = _backup(project, current, engine)
        _build(target)
        with Progress() as progress:
            steps = Steps(progress)
            manifest = steps.do(f"check of {folder.name}", lambda: archive.verify(folder))
            with_keys = backup_create.with_backup_keys(manifest, target)
            result = rehearsal.run(current, with_keys, folder, manifest, steps)
    rehearsal.record(project.root, result)
    print(json.dumps(asdict(result)) if as_json else "\n".join(_lines(result)))
    return not result.problems


def _backup(project: Project, current: Settings, engine: Engine) -> Path:
    """Return the newest backup if it is of the current versions; otherwise make one."""
    pending.ensure_none_pending(current)
    folder, now = backup_create.backups_folder(current), applied.recorded_versions(current)
    for newest in archive.list_backups(folder)[-1:]:
        if archive.versions(newest).items() >= now.items():
            return newest
    if not lifecycle.is_running(engine):
        cause = f"There is no backup of {versions.text(now)} to rehearse on."
        raise StackError(cause, fix="inv up")
    backup_command.run(project)
    return archive.newest(folder)


def perform(project: Project, to: str, *, unrehearsed: bool) -> None:
    """Upgrade to other versions, and return to the current ones if anything fails.

    Raises StackError, with nothing changed, if it was not rehearsed or the stack is not healthy.
    """
    current, target = _settings(project, to)
    engine = factory.engine_for(current)
    pending.ensure_none_pending(current)
    if not unrehearsed:
        rehearsal.refuse_unrehearsed(target)
    exported = project.environ.get("AIRFLOW_VERSION", to)
    if exported != to:
        cause = f"AIRFLOW_VERSION={exported} is set in this shell, which overrides .env."
        raise StackError(cause, fix="unset AIRFLOW_VERSION")
    if kept := switch.kept(project.root):
        cause = f"{versions.text(kept.current)} is still kept, and an upgrade would replace it."
        raise StackError(cause, fix="inv upgrade --done")
    if unhealthy := health_report.collect(current, engine).unhealthy():
        names = ", ".join(dict.fromkeys(part.name for part in unhealthy))
        raise StackError(f"Only a healthy stack can be upgraded. Unhealthy: {names}.", fix="inv up")
    refuse_full_disk(engine)
    started = time.monotonic()
    backup_command.run(project)
    _build(target)
    if errors := factory.engine_for(target).import_errors():
        cause = f"These DAGs cannot be imported with Airflow {to}. Nothing was changed.\n{errors}"
        raise StackError(cause, fix="nox -s dag_lint")
    with Progress() as progress:
        Steps(progress).do("finish running tasks", engine.finish_tasks)
    switch.upgrade(project, current, target)
    print(f"Upgraded to {versions.text(versions.locked(target))} and verified in "
          f"{time.monotonic() - started:.0f} s.")  # fmt: skip
    print("To return: inv upgrade --back\nTo free the disk space of the copies: inv upgrade --done")


def back(project: Project, *, yes: bool) -> None:
    """Return to the versions and the data before the last upgrade.

    Raises StackError with what would be lost, unless `yes`.
    """
    settings, engine = lifecycle.working_engine(project)
    pending.ensure_none_pending(settings)
    kept = switch.refuse_without_copies(project.root)
    if not yes:
        lost = [f"{label} {count:,}" for label, count in switch.losses(engine).items()]
        cause = f"This returns to {versions.text(kept.current)}, as it was at {kept.at}.\n"
        cause += f"Rows added since, which are lost: {', '.join(lost) or 'none'}. "
        cause += "Artifacts and logs stay. To confirm:"
        raise StackError(cause, fix="inv upgrade --back --yes")
    started = time.monotonic()
    switch.back(project)
    print(f"Returned to {versions.text(kept.current)} in {time.monotonic() - started:.0f} s.")


def done(project: Project) -> None:
    """Delete the copies and builds that the last upgrade kept."""
    settings, engine = lifecycle.working_engine(project)
    pending.ensure_none_pending(settings)
    kept = switch.refuse_without_copies(project.root)
    switch.done(project.root, engine)
    print(f"Deleted the copies of {versions.text(kept.current)}.")


def _settings(project: Project, to: str) -> tuple[Settings, Settings]:
    """Return the settings with the current version and those with the requested one.

    Raises UsageError for an unknown version, and StackError if there is nothing to upgrade or
    Airflow or MLflow would become older.
    """
    if to and to not in AIRFLOW_VERSIONS:
        raise UsageError(f"--to {to}: there are no locks of this version of Airflow.",
                         fix=f"Use one of: {', '.join(AIRFLOW_VERSIONS)}")  # fmt: skip
    settings, engine = lifecycle.working_engine(project)
    if not engine.surviving_data():
        cause = "There is no data yet, so AIRFLOW_VERSION can be set in .env."
        raise StackError(cause, fix="inv up")
    now = applied.recorded_versions(settings)
    current = settings.with_airflow(now["airflow"])
    target = settings.with_airflow(to or settings["AIRFLOW_VERSION"])
    wanted = versions.locked(target)
    if wanted == now:
        raise StackError(f"This stack already has {versions.text(now)}.", fix="inv upgrade")
    for name, version in wanted.items():
        if Version(version) < Version(now[name]):
            cause = f"{versions.LABELS[name]} {now[name]} cannot become {version}: a schema is "
            cause += "never migrated back."
            kept = switch.kept(project.root)
            raise StackError(cause, fix="inv upgrade --back" if kept else "inv upgrade")
    return current, target


def _build(target: Settings) -> None:
    """Build the target's images or environments next to those in use."""
    with requirements.updated_lock(target):
        factory.engine_for(target).build(IMAGES)


def refuse_full_disk(engine: Engine) -> None:
    """Raise StackError if the databases' copies do not fit on the disk."""
    needed, free = SIZES_NEEDED * postgres.bytes_of(engine), postgres.free_bytes(engine)
    if free < needed:
        cause = f"The copies of the databases need {needed / GIB:.1f} GiB, and "
        cause += f"{free / GIB:.1f} GiB are free."
        raise StackError(cause, fix="inv clean --dry-run")


def _lines(result: Rehearsal) -> Iterator[str]:
    """Yield the report of a rehearsal for people."""
    yield f"From {versions.text(result.current)} to {versions.text(result.target)}, rehearsed on "
    yield f"the backup {result.backup}:"
    for job, seconds in result.seconds.items():
        yield f"  {job:<16}{seconds:.1f} s"
    changes = [f"{name} {before:,} → {after:,}" for name, (before, after) in result.rows.items()]
    yield f"  {'rows':<16}{', '.join(changes) or 'the same in every table'}"
    before, after = (size / MIB for size in result.bytes)
    needed = SIZES_NEEDED * before
    yield f"  {'disk':<16}{before:,.0f} MiB → {after:,.0f} MiB; copies need {needed:,.0f} MiB"
    today = len(result.current_import_errors)
    yield f"  {'DAG errors':<16}{len(result.import_errors)}, today {today}"
    yield from (f"    {line}" for line in result.import_errors)
    yield f"  {'patches':<16}{len(result.unneeded_patches)} are not needed (docs/patches.md)"
    yield from (f"  {'patch off':<16}{n}: {why}" for n, why in result.inactive_patches.items())
    yield from (f"  {'setting':<16}{line}" for line in result.outdated_options)
    if result.canary:
        yield f"  {'canary':<16}passed in {sum(result.canary.values()):.1f} s"
    if result.problems:
        yield "\n".join(["The upgrade would fail:", *result.problems])
    else:
        yield f"The upgrade would succeed.\nRun: inv upgrade --to {result.target['airflow']}"
