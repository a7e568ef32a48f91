"""Pack and restore the folder of MLflow's artifacts from inside the MLflow service.

On Docker, the folder is in a volume that only a container can read.
"""

import tempfile
from typing import IO
from urllib.parse import urlsplit

from orchestration.engines.base import Runtime, runtime_module
from orchestration.errors import StackError
from orchestration.process import runner

PACK = (*runtime_module("mlflow.artifact_folder"), "pack")
RESTORE = runtime_module("mlflow.restore_artifacts")
SETTING = "MLFLOW_ARTIFACTS_DESTINATION"


def is_used(destination: str) -> bool:
    """Return whether artifacts are stored in a folder rather than in a bucket."""
    return urlsplit(destination).scheme in ("", "file")


def pack(engine: Runtime, into: IO[bytes]) -> None:
    """Write a tar file with all artifacts. Raises StackError if one could not be restored."""
    _run(engine, PACK, into=into)


def stage(engine: Runtime, tar: IO[bytes]) -> dict[str, str]:
    """Extract a tar file next to the artifacts. The next step is `place` or `undo`.

    Returns the values of the extracted entries by name, as `backup.archive.contents` does.
    """
    with tempfile.TemporaryFile() as output:
        _run(engine, (*RESTORE, "stage"), source=tar, into=output)
        output.seek(0)
        parts = output.read().decode("utf-8", "surrogateescape").split("\0")[:-1]
    return dict(zip(parts[1::2], parts[::2], strict=True))


def place(engine: Runtime) -> None:
    """Rename missing and different artifacts to their places, and keep the previous ones."""
    _run(engine, (*RESTORE, "place"))


def undo(engine: Runtime) -> None:
    """Reverse `place` and `stage`. Does nothing if neither has run."""
    _run(engine, (*RESTORE, "undo"))


def finish(engine: Runtime) -> None:
    """Delete the remaining files of `stage`. After this, `undo` cannot reverse `place`."""
    _run(engine, (*RESTORE, "finish"))


def _run(
    engine: Runtime,
    argv: tuple[str, ...],
    *,
    source: IO[bytes] | None = None,
    into: IO[bytes] | None = None,
) -> None:
    command = engine.command("mlflow", argv)
    completed = runner.run(command, check=False, source=source, into=into)
    if completed.code:
        failure = completed.document()
        raise StackError(failure["cause"], fix=failure["fix"])
