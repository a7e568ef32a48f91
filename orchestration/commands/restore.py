"""`inv restore`: restore a backup, with automatic rollback."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from orchestration import lifecycle, pending
from orchestration.backup import archive, dag_files, restore, restore_artifacts
from orchestration.backup import create as backup_create
from orchestration.backup.archive import Manifest
from orchestration.clients import postgres
from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project


def run(
    project: Project,
    name: str,
    *,
    yes: bool,
    keys_file: str = "",
    passphrase_file: str = "",
    without_keys: bool = False,
    dags: bool = False,
) -> None:
    """Verify a backup, load it next to the live state, switch to it and run the canary.

    Raises StackError if a step fails. The live state is then unchanged, or put back.
    """
    folder, started = Path(name), time.monotonic()
    _ensure_backup(project, folder)
    manifest = _verify(folder)
    if not yes:
        raise StackError(
            "This replaces all runs, models and Airflow history with the backup from "
            f"{manifest.made_at}. To confirm:",
            fix=f"inv restore {name} --yes",
        )
    if keys_file:
        if not (passphrase := backup_create.passphrase(load_or_draft(project), passphrase_file)):
            raise StackError(f"{keys_file} is encrypted.", fix="Add --passphrase-file FILE.")
        restore.import_keys(project, manifest, Path(keys_file), passphrase)
    draft = load_or_draft(project)
    pending.ensure_none_pending(draft, pending.ROTATION)
    with_keys = backup_create.with_backup_keys(manifest, draft)
    backup_create.check_compatible(manifest, with_keys, keys_matter=not without_keys)
    restore.add_keys(project, with_keys)
    settings, engine = lifecycle.prepare_start(project)
    pending.roll_back(settings, engine)
    # No other service has to be healthy, because the restore may be meant to fix it.
    engine.up(("postgres",))
    postgres.wait(engine)
    postgres.create_missing(engine)
    with Progress() as progress, _undone_on_failure(engine, manifest):
        steps = Steps(progress)
        restore.load(folder, manifest, engine, steps)
        steps.do("artifacts", partial(restore_artifacts.stage, folder, manifest, engine))
    restore.switch_and_verify(settings, engine, name, manifest)
    print(f"Restored and verified in {time.monotonic() - started:.0f} s.")
    dag_files.restore(folder, settings, overwrite=dags)


def _ensure_backup(project: Project, folder: Path) -> None:
    """Raise StackError unless the folder is a backup, with the path of one that is."""
    if (folder / archive.MANIFEST).is_file():
        return
    backups = archive.list_backups(backup_create.backups_folder(load_or_draft(project)))
    same = [one for one in backups if one.name == folder.name]
    cause = f"{folder} is not a backup." if folder.exists() else f"There is no folder {folder}."
    if not backups:
        raise StackError(f"{cause} backups/ contains no backup.", fix="inv backup")
    newest = (same or backups)[-1]
    which = "A backup of this name" if same else "The newest backup"
    cause += f" {which} is in backups/. Nothing was changed."
    raise StackError(cause, fix=f"inv restore {os.path.relpath(newest)}")


def _verify(folder: Path) -> Manifest:
    with Progress() as progress:
        try:
            return Steps(progress).do(f"check of {folder.name}", lambda: archive.verify(folder))
        except StackError as error:
            cause = f"{error}\nNothing was changed. To list other backups:"
            raise StackError(cause, fix=f"ls {folder.absolute().parent}") from None


@contextmanager
def _undone_on_failure(engine: Engine, manifest: Manifest) -> Iterator[None]:
    """Delete what was loaded next to the live databases and artifacts, if anything fails."""
    try:
        yield
    except BaseException:
        with suppress(StackError):
            postgres.drop(engine, "loaded")
        with suppress(StackError):
            restore_artifacts.undo(manifest, engine)
        raise
