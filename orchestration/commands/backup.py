"""`inv backup`: back up databases, artifacts and DAGs."""

import time
from datetime import datetime

from orchestration import archive, backup, dotenv_file, keys, lifecycle, unfinished
from orchestration.background import Steps
from orchestration.errors import StackError
from orchestration.progress import Progress
from orchestration.project import Project


def run(project: Project, *, keep: str = backup.KEPT, passphrase_file: str = "") -> None:
    """Write a backup while the stack is used, read it back, keep the newest ones.

    Raises StackError where it cannot be written or read back; there is none of it then.
    """
    if not keep.isdecimal() or not int(keep):
        raise StackError(f"--keep {keep} is no number of backups: --keep {backup.KEPT}")
    chosen, engine = lifecycle.working_engine(project)
    unfinished.refuse(chosen)
    if not lifecycle.running(engine):
        raise StackError("nothing runs that could be backed up: inv up")
    started, secret = time.monotonic(), backup.passphrase(chosen, passphrase_file)
    with backup.in_making(backup.folder_of(chosen)) as making, Progress() as progress:
        steps = Steps(progress)
        backup.write(chosen, engine, making, steps)
        manifest = steps.do("checked", lambda: archive.checked(making))
    made = backup.folder_of(chosen) / f"{datetime.fromisoformat(manifest.made_at):%Y%m%dT%H%M%SZ}"
    if secret:
        text = dotenv_file.read(chosen.root / ".env")
        keys.encrypt(text, secret, made.with_name(f"{made.name}{keys.SUFFIX}"))
    making.rename(made)
    backup.report(chosen, manifest.made_at, verified=True, detail=backup.summary(made, manifest))
    backup.drop_old(backup.folder_of(chosen), int(keep))
    print(f"{made}\n{backup.summary(made, manifest)}, in {time.monotonic() - started:.0f} s")
    if not secret:
        print("without the keys of .env: --passphrase-file, or BACKUP_PASSPHRASE_FILE in .env")
