"""MLflow's artifacts moved from its volume into a bucket, while tasks go on.

Copied and compared while MLflow runs, then once more what was written meanwhile, while it stands
still for seconds; only then it is set to the bucket. Where anything fails, it stays as it was.
"""

import json
import re
import time
from dataclasses import replace
from typing import Any

from orchestration import pending
from orchestration.backup import create as backup_create
from orchestration.clients import object_store
from orchestration.engines import factory
from orchestration.engines.base import Engine, runtime_module
from orchestration.errors import StackError
from orchestration.lifecycle import running, start, working_engine
from orchestration.process import runner
from orchestration.process.progress import Line, Progress
from orchestration.project import Project
from orchestration.settings import envfile, validation
from orchestration.settings.model import Settings

DESTINATION = "MLFLOW_ARTIFACTS_DESTINATION"
MODULE = runtime_module("mlflow.move_artifacts")


def run(project: Project, to: str, *, dry_run: bool) -> None:
    """Move all artifacts, or only tell what and how much; safe to run again after any end.

    Raises StackError where they are in a bucket already, the new one cannot be used, or a copy
    differs.
    """
    chosen, engine = working_engine(project)
    pending.refuse(chosen)
    there = replace(chosen, values={**chosen.values, DESTINATION: to})
    if not re.fullmatch(validation.BUCKET, to):
        wrong = f"--to {to} is no bucket" if to else "a bucket is needed"
        raise StackError(f"{wrong}: --to s3://bucket/prefix")
    if problems := validation.problems(there.values, ()):
        raise StackError(*problems)
    if not backup_create.carried(chosen[DESTINATION]):
        raise StackError(
            f"artifacts are in {chosen[DESTINATION]} already: from there to another bucket, use a "
            f"tool of its server, then set {DESTINATION} in .env"
        )
    written = envfile.parse(envfile.read(chosen.root / ".env"))
    if written.get(DESTINATION, chosen[DESTINATION]) != chosen[DESTINATION]:
        raise StackError(f"{DESTINATION} is exported and stands above .env: unset {DESTINATION}")
    target = factory.engine_for(there)
    object_store.refuse_unusable(there, target, [DESTINATION])
    folder = engine.intended("mlflow")[DESTINATION].removeprefix("file://")
    if dry_run:
        print(f"would move {_words(_copied(target, folder, 0, dry=True))} to {to}")
        return
    began = time.time()
    with Progress() as progress:
        print(f"{_words(_copied(target, folder, 0, progress=progress))} are in {to} too")
    _switch(project, chosen, engine, target, to, folder, began)
    print(f"MLflow keeps artifacts in {to} now; what is in its volume stays there")


def _switch(
    project: Project,
    chosen: Settings,
    engine: Engine,
    target: Engine,
    to: str,
    folder: str,
    copied_at: float,
) -> None:
    """Copy what was written meanwhile, and have MLflow use the bucket from here on."""
    was_running = running(engine)
    try:
        engine.stop(["mlflow"])
        _copied(target, folder, copied_at)
        path = chosen.root / ".env"
        text = envfile.fill(envfile.read(path), {DESTINATION: to}, None)
        envfile.write(path, text)
    except BaseException:
        if was_running:
            engine.up(["mlflow"])
        raise
    if was_running:
        start(project.settings(), target)


def _copied(
    target: Engine,
    folder: str,
    since: float,
    *,
    dry: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """What came of one round; raises StackError with what is in the way."""
    argv = (*MODULE, folder, f"{int(since)}", "tell" if dry else "copy")
    told: dict[str, Any] = {}
    with runner.reading(target.command("mlflow", argv, anew=True)) as said:
        for line in said:
            told = json.loads(line)
            if "cause" in told:
                raise StackError(
                    f"Artifacts: {told['cause']}. MLflow still uses the old place. Run the command "
                    "again to continue where it stopped.",
                    fix=told["fix"],
                )
            if progress:
                progress.show([_line(told)])
    return told


def _line(told: dict[str, int]) -> Line:
    done = told["files"] == told["of_files"]
    detail = f"{told['files']:,} of {told['of_files']:,} files, {told['bytes'] / 2**20:,.0f} MiB"
    return ("artifacts", "ok" if done else "wait", detail)


def _words(told: dict[str, int]) -> str:
    return f"{told['of_files']:,} files, {told['of_bytes'] / 2**20:,.1f} MiB"
