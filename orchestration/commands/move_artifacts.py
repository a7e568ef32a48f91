"""`inv move-artifacts`: move MLflow's artifacts from its volume to a bucket while tasks run.

All files are copied and compared while MLflow runs. MLflow then stops for seconds while newer files
are copied, and is set to the bucket. After a failure it continues to use its volume.
"""

import json
import re
import time
from dataclasses import replace
from typing import Any

from orchestration import pending
from orchestration.clients import artifact_folder, object_store
from orchestration.engines import factory
from orchestration.engines.base import Engine, runtime_module
from orchestration.errors import StackError, UsageError
from orchestration.lifecycle import is_running, start, working_engine
from orchestration.process import runner
from orchestration.process.progress import Line, Progress
from orchestration.project import Project
from orchestration.settings import envfile, rules, validation
from orchestration.settings.model import Settings

DESTINATION = "MLFLOW_ARTIFACTS_DESTINATION"
MODULE = runtime_module("mlflow.move_artifacts")


def run(project: Project, to: str, *, dry_run: bool) -> None:
    """Move all artifacts, or only report their number and size. Can be repeated at any time.

    Raises StackError if they are already in a bucket, the new one cannot be used, or a copy
    differs.
    """
    settings, engine = working_engine(project)
    pending.ensure_none_pending(settings)
    new_settings = replace(settings, values={**settings.values, DESTINATION: to})
    if not re.fullmatch(rules.BUCKET, to):
        cause = f"--to {to} is not a bucket." if to else "A bucket is required."
        raise UsageError(cause, fix="Use --to s3://bucket/prefix.")
    if problems := validation.problems(new_settings.values, ()):
        raise StackError(*problems)
    if not artifact_folder.is_used(settings[DESTINATION]):
        raise StackError(
            f"The artifacts are already in {settings[DESTINATION]}.",
            fix=f"Copy them with a tool for buckets, then set {DESTINATION} in .env.",
        )
    written = envfile.parse(envfile.read(settings.root / ".env"))
    if written.get(DESTINATION, settings[DESTINATION]) != settings[DESTINATION]:
        cause = f"{DESTINATION} is set in this shell, which overrides .env."
        raise StackError(cause, fix=f"unset {DESTINATION}")
    target = factory.engine_for(new_settings)
    object_store.refuse_unusable(new_settings, target, [DESTINATION])
    folder = engine.intended_environment("mlflow")[DESTINATION].removeprefix("file://")
    if dry_run:
        print(f"Would copy {_total(_copy(target, folder, 0, dry=True))} to {to}.")
        return
    started_at = time.time()
    with Progress() as progress:
        print(f"Copied {_total(_copy(target, folder, 0, progress=progress))} to {to}.")
    _switch(project, settings, engine, target, to, folder, started_at)
    print(f"MLflow now stores artifacts in {to}. Its volume was not changed.")


def _switch(
    project: Project,
    settings: Settings,
    engine: Engine,
    target: Engine,
    to: str,
    folder: str,
    since: float,
) -> None:
    """Stop MLflow, copy the files written since then, and start it with the bucket."""
    was_running = is_running(engine)
    try:
        engine.stop(["mlflow"])
        _copy(target, folder, since)
        path = settings.root / ".env"
        text = envfile.fill(envfile.read(path), {DESTINATION: to}, None)
        envfile.write(path, text)
    except BaseException:
        if was_running:
            engine.up(["mlflow"])
        raise
    if was_running:
        start(project.settings(), target)


def _copy(
    target: Engine,
    folder: str,
    since: float,
    *,
    dry: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Copy or count the files written since then. Raises StackError if that fails."""
    argv = (*MODULE, folder, f"{int(since)}", "count" if dry else "copy")
    status: dict[str, Any] = {}
    with runner.stream_output(target.command("mlflow", argv, fresh=True)) as lines:
        for line in lines:
            status = json.loads(line)
            if "cause" in status:
                raise StackError(
                    f"Copying the artifacts failed: {status['cause']}. MLflow still uses the old "
                    "location. To continue, run the command again after this fix:",
                    fix=status["fix"],
                )
            if progress:
                progress.show([_progress_line(status)])
    return status


def _progress_line(status: dict[str, int]) -> Line:
    done, total = status["files"], status["of_files"]
    detail = f"{done:,} of {total:,} files, {status['bytes'] / 2**20:,.0f} MiB"
    return ("artifacts", "ok" if done == total else "wait", detail)


def _total(status: dict[str, int]) -> str:
    return f"{status['of_files']:,} files, {status['of_bytes'] / 2**20:,.1f} MiB"
