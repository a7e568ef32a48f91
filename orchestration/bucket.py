"""The bucket that artifacts are kept in, tried and listed from where MLflow's server asks it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestration import StackError, shell
from orchestration.engine import Engine
from orchestration.settings import Settings
from orchestration.signatures import Finding

# Imports of AWS's library, and twice as long as it waits for each of five questions at most.
PATIENCE_SECONDS = 120


def is_one(settings: Settings) -> bool:
    """Whether artifacts are kept in a bucket, and not in a folder."""
    return settings["MLFLOW_ARTIFACTS_DESTINATION"].startswith("s3://")


def finding(settings: Settings, engine: Engine, *, anew: bool = False) -> Iterator[Finding]:
    """What is in the way of an object that is written, read and deleted again, if anything is.

    By the settings that MLflow runs with, or `anew` by those of now. Raises StackError where it
    cannot be tried.
    """
    if is_one(settings):
        argv = ("python", engine.script("artifact_store.py"))
        command = engine.command("mlflow", argv, anew=anew)
        said = shell.output(command, timeout=PATIENCE_SECONDS)
        if told := json.loads(said.splitlines()[-1]):
            where = settings["MLFLOW_ARTIFACTS_DESTINATION"]
            yield Finding(
                told["name"], f"artifacts in {where}: {told['cause']}", told["fix"], where
            )


def refuse_unusable(settings: Settings, engine: Engine) -> None:
    """Raises StackError where artifacts could not be kept, with the fix."""
    for one in finding(settings, engine, anew=True):
        raise StackError(f"{one.cause}\nnext: {one.fix}")


def write_list(engine: Engine, into: IO[bytes]) -> None:
    """Write what it holds, a line of JSON each: name, size in bytes, the server's hash of it.

    Raises StackError with what is in the way.
    """
    argv = ("python", engine.script("artifact_store.py"), "list")
    shell.pipe(engine.command("mlflow", argv, anew=True), into=into)


def read_list(path: Path) -> dict[str, tuple[int, str]]:
    """Size and hash of each artifact that such a file names."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["name"]: (line["size"], line["etag"]) for line in lines}


def refuse_lost(listed: Path, now: Path, where: str) -> int:
    """How many artifacts one list names, all of which another has as they were.

    Raises StackError where some are gone or are others now.
    """
    held, there = read_list(listed), read_list(now)
    if lost := [name for name, known in held.items() if there.get(name) != known]:
        raise StackError(
            f"{len(lost):,} of {len(held):,} artifacts are gone from {where} or were changed, "
            f"{lost[0]} among them\nnext: put them back by the bucket's versioning, or a copy of it"
        )
    return len(held)
