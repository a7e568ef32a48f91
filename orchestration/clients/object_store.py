"""Check and list S3 buckets from inside the services that use them."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from orchestration.engines.base import Runtime, runtime_module
from orchestration.errors import Problem, StackError
from orchestration.process import runner
from orchestration.settings.model import Settings

# Enough to import AWS's library and to send five requests with twice their time limit.
TIMEOUT_SECONDS = 120
ARTIFACTS = "MLFLOW_ARTIFACTS_DESTINATION"
# By setting: what its bucket stores, and the service that writes there.
BUCKETS = {ARTIFACTS: ("artifacts", "mlflow"),
           "AIRFLOW_LOGS_DESTINATION": ("task logs", "airflow-worker")}  # fmt: skip


def is_used(settings: Settings) -> bool:
    """Return whether artifacts are stored in a bucket rather than in a folder."""
    return settings[ARTIFACTS].startswith("s3://")


def problems(
    settings: Settings, engine: Runtime, *, fresh: bool = False, names: Iterable[str] = BUCKETS
) -> Iterator[Problem]:
    """Write, read and delete an object in each bucket in use; yield what prevents that.

    Uses the settings that the services run with, or the current ones with `fresh`. Raises
    StackError if the check cannot run.
    """
    for name in names:
        content, service = BUCKETS[name]
        environment = {} if fresh else engine.environment(service)
        where = environment.get(name, settings[name])
        if where.startswith("s3://") and (result := _check(where, service, engine, fresh)):
            cause = f"The {content} in {where} cannot be used: {result['cause']}."
            yield Problem(result["name"], cause, result["fix"], where)


def _check(where: str, service: str, engine: Runtime, fresh: bool) -> dict[str, str]:
    argv = (*runtime_module("shared.s3"), "try", where)
    completed = runner.run(engine.command(service, argv, fresh=fresh), timeout=TIMEOUT_SECONDS)
    result: dict[str, str] = completed.document()
    return result


def refuse_unusable(settings: Settings, engine: Runtime, names: Iterable[str] = BUCKETS) -> None:
    """Raise StackError if a bucket of the current settings cannot be used."""
    if unusable := [*problems(settings, engine, fresh=True, names=names)]:
        raise StackError(*unusable)


def write_list(where: str, engine: Runtime, into: IO[bytes]) -> None:
    """Write one line of JSON per artifact in a bucket: name, size in bytes, the server's hash.

    Raises StackError if the bucket cannot be listed.
    """
    argv = (*runtime_module("shared.s3"), "list", where)
    runner.run(engine.command("mlflow", argv, fresh=True), into=into)


def read_list(path: Path) -> dict[str, tuple[int, str]]:
    """Return size and hash by artifact name from a file that `write_list` wrote."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["name"]: (line["size"], line["etag"]) for line in lines}


def refuse_lost(listed: Path, now: Path, where: str) -> int:
    """Return how many artifacts a list contains, if the list of `now` has all of them unchanged.

    Raises StackError if some are missing or were changed.
    """
    expected, current = read_list(listed), read_list(now)
    if lost := [name for name, entry in expected.items() if current.get(name) != entry]:
        raise StackError(
            f"{len(lost):,} of {len(expected):,} artifacts in {where} are missing or were changed, "
            f"among them {lost[0]}.",
            fix="Restore them from the bucket's versions or from a copy of it.",
        )
    return len(expected)
