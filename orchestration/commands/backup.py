"""`inv backup`: back up databases, artifacts and DAGs."""

import time
from datetime import datetime

from orchestration import lifecycle, pending
from orchestration.backup import archive, keyfile
from orchestration.backup import create as backup_create
from orchestration.errors import StackError
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings import envfile


def run(project: Project, *, keep: str = backup_create.KEPT, passphrase_file: str = "") -> None:
    """Write a backup while the stack is used, read it back, keep the newest ones.

    Raises StackError where it cannot be written or read back; there is none of it then.
    """
    if not keep.isdecimal() or not int(keep):
        raise StackError(f"--keep {keep} is no number of backups: --keep {backup_create.KEPT}")
    chosen, engine = lifecycle.working_engine(project)
    pending.refuse(chosen)
    if not lifecycle.running(engine):
        raise StackError("nothing runs that could be backed up: inv up")
    started, secret = time.monotonic(), backup_create.passphrase(chosen, passphrase_file)
    with backup_create.in_making(backup_create.folder_of(chosen)) as making, Progress() as progress:
        steps = Steps(progress)
        backup_create.write(chosen, engine, making, steps)
        manifest = steps.do("checked", lambda: archive.checked(making))
    made = (
        backup_create.folder_of(chosen)
        / f"{datetime.fromisoformat(manifest.made_at):%Y%m%dT%H%M%SZ}"
    )
    if secret:
        text = envfile.read(chosen.root / ".env")
        keyfile.encrypt(text, secret, made.with_name(f"{made.name}{keyfile.SUFFIX}"))
    making.rename(made)
    backup_create.report(
        chosen, manifest.made_at, verified=True, detail=backup_create.summary(made, manifest)
    )
    backup_create.drop_old(backup_create.folder_of(chosen), int(keep))
    print(f"{made}\n{backup_create.summary(made, manifest)}, in {time.monotonic() - started:.0f} s")
    if not secret:
        print("without the keys of .env: --passphrase-file, or BACKUP_PASSPHRASE_FILE in .env")
