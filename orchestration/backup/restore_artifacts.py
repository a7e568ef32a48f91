"""Restore the artifacts of a backup. Until `finish`, `undo` puts the previous ones back.

Every function does nothing if the backup contains no artifacts, because they are in a bucket.
"""

from pathlib import Path

from orchestration.backup import archive
from orchestration.backup.archive import Manifest
from orchestration.clients import artifact_folder
from orchestration.engines.base import Engine
from orchestration.errors import StackError

ARTIFACTS = "artifacts.tar"


def stage(folder: Path, manifest: Manifest, engine: Engine) -> None:
    """Extract the artifacts next to the current ones, and compare them with the backup.

    Nothing that MLflow uses changes. Raises StackError if something is missing or different.
    """
    if not manifest.artifacts:
        return
    expected = archive.contents(folder / ARTIFACTS)
    with (folder / ARTIFACTS).open("rb") as tar:
        staged = artifact_folder.stage(engine, tar)
    names = sorted(n for n in {*expected, *staged} if expected.get(n) != staged.get(n))
    if names:
        raise StackError(
            f"{len(names):,} artifacts are not what was backed up, among them {names[0]!r}.",
            fix="Restore another backup, or use another disk.",
        )


def place(manifest: Manifest, engine: Engine) -> None:
    """Move what was staged to its place. Previous versions are kept as `NAME.before-restore`."""
    if manifest.artifacts:
        artifact_folder.place(engine)


def undo(manifest: Manifest, engine: Engine) -> None:
    """Put the previous artifacts back, and delete what was staged."""
    if manifest.artifacts:
        artifact_folder.undo(engine)


def finish(manifest: Manifest, engine: Engine) -> None:
    """Accept the restored artifacts."""
    if manifest.artifacts:
        artifact_folder.finish(engine)
