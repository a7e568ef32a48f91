"""`inv backup`: back up databases, artifacts and DAGs."""

import time
from datetime import UTC, datetime

from orchestration import lifecycle, pending
from orchestration.backup import archive, keyfile
from orchestration.backup import create as backup_create
from orchestration.errors import StackError, UsageError
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings import envfile


def run(project: Project, *, keep: str = backup_create.KEEP, passphrase_file: str = "") -> None:
    """Write a backup while tasks run, verify it and delete all but the newest `keep` ones.

    Raises StackError, and leaves no partial backup, if it cannot be written or verified. The status
    page shows this too.
    """
    if not keep.isdecimal() or not int(keep):
        raise UsageError(f"--keep {keep} is not a number of backups.", fix="Use 1 or more.")
    settings, engine = lifecycle.working_engine(project)
    pending.ensure_none_pending(settings)
    if not lifecycle.is_running(engine):
        raise StackError("The stack is not running.", fix="inv up")
    started, passphrase = time.monotonic(), backup_create.passphrase(settings, passphrase_file)
    folder = backup_create.backups_folder(settings)
    with (
        backup_create.failure_reported(settings, "backup", _now),
        backup_create.temporary_folder(folder) as temporary,
        Progress() as progress,
    ):
        steps = Steps(progress)
        backup_create.write(settings, engine, temporary, steps)
        manifest = steps.do("verification", lambda: archive.verify(temporary))
    backup = folder / f"{datetime.fromisoformat(manifest.made_at):%Y%m%dT%H%M%SZ}"
    if passphrase:
        text = envfile.read(settings.root / ".env")
        keyfile.encrypt(text, passphrase, backup.with_name(f"{backup.name}{keyfile.SUFFIX}"))
    temporary.rename(backup)
    summary = backup_create.summary(backup, manifest)
    backup_create.report(settings, manifest.made_at, verified=True, detail=summary)
    backup_create.drop_old(folder, int(keep))
    print(f"{backup}\n{summary}, in {time.monotonic() - started:.0f} s")
    if not passphrase:
        print("The keys in .env were not saved, as no passphrase is set.")
        print("Set BACKUP_PASSPHRASE_FILE in .env, or use --passphrase-file.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
