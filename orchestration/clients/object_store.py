"""The buckets that things are kept in, tried and listed from where they are used."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from orchestration.engines.base import Runtime, runtime_module
from orchestration.errors import Problem, StackError
from orchestration.process import runner
from orchestration.settings.model import Settings

# Imports of AWS's library, and twice as long as it waits for each of five questions at most.
PATIENCE_SECONDS = 120


ARTIFACTS = "MLFLOW_ARTIFACTS_DESTINATION"
# What each of these settings is the place of, and the service that writes there.
WRITTEN = {ARTIFACTS: ("artifacts", "mlflow"),
           "AIRFLOW_LOGS_DESTINATION": ("task logs", "airflow-worker")}  # fmt: skip


def is_one(settings: Settings) -> bool:
    """Whether artifacts are kept in one, and not in a folder."""
    return settings[ARTIFACTS].startswith("s3://")


def findings(
    settings: Settings, engine: Runtime, *, anew: bool = False, names: Iterable[str] = WRITTEN
) -> Iterator[Problem]:
    """What is in the way of objects that are written, read and deleted again, if anything is.

    By the settings that the services run with, or `anew` by those of now. Raises StackError where
    it cannot be tried.
    """
    for name in names:
        what, service = WRITTEN[name]
        held = {} if anew else engine.environment(service)
        where = held.get(name, settings[name])
        if where.startswith("s3://") and (told := _tried(where, service, engine, anew)):
            cause = f"The {what} in {where} cannot be used: {told['cause']}."
            yield Problem(told["name"], cause, told["fix"], where)


def _tried(where: str, service: str, engine: Runtime, anew: bool) -> dict[str, str]:
    argv = (*runtime_module("shared.s3"), "try", where)
    trial = runner.run(engine.command(service, argv, anew=anew), timeout=PATIENCE_SECONDS)
    answer: dict[str, str] = trial.document()
    return answer


def refuse_unusable(settings: Settings, engine: Runtime, names: Iterable[str] = WRITTEN) -> None:
    """Raise StackError where something could not be stored there."""
    if problems := [*findings(settings, engine, anew=True, names=names)]:
        raise StackError(*problems)


def write_list(where: str, engine: Runtime, into: IO[bytes]) -> None:
    """Write what MLflow finds there, a line of JSON each: name, size in bytes, the server's hash.

    Raises StackError with what is in the way.
    """
    argv = (*runtime_module("shared.s3"), "list", where)
    runner.run(engine.command("mlflow", argv, anew=True), into=into)


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
            f"{len(lost):,} of {len(held):,} artifacts in {where} are missing or were changed, "
            f"among them {lost[0]}.",
            fix="Restore them from the bucket's versions or from a copy of it.",
        )
    return len(held)
