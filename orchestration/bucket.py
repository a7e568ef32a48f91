"""The bucket that artifacts are kept in, tried from where MLflow's server asks it."""

import json
from collections.abc import Iterator

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
