"""`inv restore`: restore a backup, with automatic rollback."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestration import lifecycle, pending
from orchestration.backup import archive, restore
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
    """Check a backup, load it beside, switch, prove; the old state comes back where that fails.

    Raises StackError, with nothing touched, for a backup that is not whole or does not fit here.
    """
    folder, started = Path(name), time.monotonic()
    manifest = _whole(folder)
    if not yes:
        raise StackError(
            f"runs, models and Airflow's history would become those of {manifest.made_at}: "
            f"inv restore {name} --yes"
        )
    if keys_file:
        if not (phrase := backup_create.passphrase(load_or_draft(project), passphrase_file)):
            raise StackError(f"what opens {keys_file}: --passphrase-file FILE")
        restore.take_keys(project, manifest, Path(keys_file), phrase)
    drafted = load_or_draft(project)
    pending.refuse(drafted, pending.ROTATION)
    opening = backup_create.opening(manifest, drafted)
    backup_create.fit(manifest, opening, keys_matter=not without_keys)
    restore.add_keys(project, opening)
    chosen, engine = lifecycle.ready_to_start(project)
    pending.take_back(chosen, engine)
    # Nothing else has to be well: what is there may be what is to be replaced.
    engine.up(("postgres",))
    postgres.wait(engine)
    postgres.complete(engine)
    with Progress() as progress, _beside(engine):
        steps = Steps(progress)
        restore.load(folder, manifest, engine, steps)
        steps.do("artifacts", lambda: restore.unpack_artifacts(folder, manifest, engine))
    restore.replace(chosen, engine, name)
    print(f"restored and proven in {time.monotonic() - started:.0f} s")
    restore.tell_dags(folder, chosen, take=dags)


def _whole(folder: Path) -> Manifest:
    with Progress() as progress:
        try:
            return Steps(progress).do(f"{folder.name} is whole", lambda: archive.checked(folder))
        except StackError as error:
            fix = f"ls {folder.absolute().parent}"
            raise StackError(
                f"{error}\nNothing was changed. To list other backups:", fix=fix
            ) from None


@contextmanager
def _beside(engine: Engine) -> Iterator[None]:
    """What is loaded beside the live databases is not left there where it comes to nothing."""
    try:
        yield
    except BaseException:
        with suppress(StackError):
            postgres.forget(engine, "loaded")
        raise
