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
    """Restore the newest backup beside the stack, look at it, and leave the verdict.

    Raises StackError with what is wrong with it; the status page tells it too.
    """
    chosen, engine = lifecycle.working_engine(project)
    if not engine.is_built():
        raise StackError("The stack is not built yet.", fix="inv install")
    started, folder = time.monotonic(), archive.newest(backup_create.folder_of(chosen))
    made_at = ""
    try:
        with Progress() as progress:
            steps = Steps(progress)
            manifest = steps.do(f"{folder.name} is whole", partial(archive.checked, folder))
            made_at = manifest.made_at
            chosen = backup_create.opening(manifest, chosen)
            backup_create.fit(manifest, chosen)
            with drill.project_beside(chosen, engine) as other:
                told = drill.restored(folder, manifest, other, steps)
    except Exception as error:
        # Of any kind: what was told before must not stand.
        made_at = made_at or _moment(folder)
        backup_create.report(
            chosen, made_at, verified=False, detail=f"drill failed: {_reason(error)}"
        )
        raise
    told = f"drill passed in {time.monotonic() - started:.0f} s: {told}"
    backup_create.report(chosen, made_at, verified=True, detail=told)
    print(told)


def _reason(error: Exception) -> str:
    """Return one line: the last one is what a failed command itself printed."""
    text = error.reason if isinstance(error, StackError) else str(error)
    return text.splitlines()[-1] if text else type(error).__name__


def _moment(folder: Path) -> str:
    """When a backup was written, where its manifest cannot be believed."""
    written = (folder / archive.MANIFEST).stat().st_mtime
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
