"""`inv drill`: test the newest backup in a temporary stack."""

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from orchestration import lifecycle
from orchestration.backup import archive, drill
from orchestration.backup import create as backup_create
from orchestration.errors import StackError
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project


def run(project: Project) -> None:
    """Restore the newest backup into a temporary stack, check it and report the result.

    Raises StackError if the drill fails. The status page shows the result too.
    """
    settings, engine = lifecycle.working_engine(project)
    if not engine.is_built():
        raise StackError("The stack is not built yet.", fix="inv install")
    started, folder = time.monotonic(), archive.newest(backup_create.backups_folder(settings))
    made_at = ""
    with (
        backup_create.failure_reported(settings, "drill", lambda: made_at or _written_at(folder)),
        Progress() as progress,
    ):
        steps = Steps(progress)
        manifest = steps.do(f"check of {folder.name}", partial(archive.verify, folder))
        made_at = manifest.made_at
        settings = backup_create.with_backup_keys(manifest, settings)
        backup_create.check_compatible(manifest, settings)
        with drill.temporary_stack(settings, engine) as other:
            summary = drill.restore_and_check(folder, manifest, other, steps)
    summary = f"drill passed in {time.monotonic() - started:.0f} s: {summary}"
    backup_create.report(settings, made_at, verified=True, detail=summary)
    print(summary)


def _written_at(folder: Path) -> str:
    """Return when the manifest was written, for one whose contents cannot be trusted."""
    written = (folder / archive.MANIFEST).stat().st_mtime
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
