"""Whether the newest backup could be used: restored into a project of its own, and looked at.

Beside the running stack, with nothing in it that starts runs or sends alerts; gone afterwards.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from orchestration import StackError, archive, backup, bucket, databases, ports, restore, shell
from orchestration.archive import Manifest
from orchestration.engine import ONE_SHOTS, Engine
from orchestration.factory import engine_for
from orchestration.preflight import PORTS
from orchestration.progress import Progress
from orchestration.settings import Settings
from orchestration.stack import working_engine
from orchestration.waiting import Steps

# What the other project has of the clone; the rest is its own.
SHARED = ("orchestration", "install", ".env.example")
OWN = ("dags", "logs", "plugins", "backups/report")
# On the path of both engines' services.
LOOK = ("python", "-m", "restored")
SECONDS = 600
FOUND = '{"decrypted": '


def drill() -> None:
    """Restore the newest backup beside the stack, look at it, and leave the verdict.

    Raises StackError with what is wrong with it; the status page tells it too.
    """
    chosen, engine = working_engine()
    if not engine.is_built():
        raise StackError("what a backup is restored with is not built: inv install")
    started, folder = time.monotonic(), archive.newest(backup.folder_of(chosen))
    made_at = ""
    try:
        with Progress() as progress:
            steps = Steps(progress)
            manifest = steps.do(f"{folder.name} is whole", partial(archive.checked, folder))
            made_at = manifest.made_at
            chosen = backup.opening(manifest, chosen)
            backup.fit(manifest, chosen)
            with _project_beside(chosen, engine) as other:
                told = _restored(folder, manifest, other, steps)
    except Exception as error:
        # Of any kind: what was told before must not stand.
        made_at = made_at or _moment(folder)
        backup.report(chosen, made_at, verified=False, detail=f"drill failed: {_reason(error)}")
        raise
    told = f"drill passed in {time.monotonic() - started:.0f} s: {told}"
    backup.report(chosen, made_at, verified=True, detail=told)
    print(told)


def _restored(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> str:
    steps.do("a database server", partial(engine.up, ("postgres",)))
    databases.wait(engine)
    restore.load(folder, manifest, engine, steps)
    databases.switch(engine)
    for name in ONE_SHOTS:
        steps.do(name, partial(engine.replace, name))
    steps.do("an MLflow server", partial(engine.up, ("mlflow",)))
    steps.do("artifacts", partial(restore.unpack_artifacts, folder, manifest, engine))
    # A model needs the worker's memory.
    look = partial(shell.run, engine.command("airflow-worker", LOOK), timeout=SECONDS)
    said = steps.do("keys and models", look).output.splitlines()
    found = json.loads(next(line for line in reversed(said) if line.startswith(FOUND)))
    files = manifest.artifacts.get("rows", 0) or _in_bucket(folder, manifest, engine, steps)
    models = ", ".join(found["predicted"]) or "no model to ask"
    return f"{manifest.rows:,} rows, {files:,} files, {found['decrypted']} secrets opened, {models}"


def _in_bucket(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> int:
    """The artifacts that were in a bucket, all of which are there as they were."""
    listed = folder / backup.LISTED
    # Backups of before, and those that carry artifacts, have no list.
    if not listed.exists():
        return 0
    with NamedTemporaryFile() as now:
        where = manifest.destination
        steps.do("the bucket's list", partial(bucket.write_list, where, engine, now.file))
        now.flush()
        return bucket.refuse_lost(listed, Path(now.name), where)


@contextmanager
def _project_beside(chosen: Settings, engine: Engine) -> Iterator[Engine]:
    """An engine for another project, with ports and state of its own, removed at the end."""
    root = chosen.root / ".drill"
    values = {**chosen.values, "COMPOSE_PROJECT_NAME": f"{chosen.project}-drill"}
    values |= {"AIRFLOW_PROJ_DIR": str(root), "BIND_ADDRESS": "127.0.0.1", "TLS": "off"}
    values |= dict(zip(PORTS, map(str, ports.free(len(PORTS))), strict=True))
    other = replace(chosen, root=root, values=values)
    if root.exists():
        # A drill was killed; what of it still runs is asked to end while it can be found.
        with suppress(StackError, OSError):
            engine_for(other).down(volumes=True, quietly=True)
        shutil.rmtree(root, ignore_errors=True)
    for name in OWN:
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o2775)
    for name in SHARED:
        (root / name).symlink_to(chosen.root / name)
    beside = engine.create_sandbox(other)
    try:
        if wrong := beside.problems():
            raise StackError("\n".join(wrong))
        yield beside
    finally:
        beside.down(volumes=True, quietly=True)
        engine.remove_sandbox(other)
        shutil.rmtree(root, ignore_errors=True)


def _reason(error: Exception) -> str:
    """Its last line that is not the way on: what a command said stands below the command."""
    lines = [line for line in str(error).splitlines() if not line.startswith("next: ")]
    return lines[-1] if lines else type(error).__name__


def _moment(folder: Path) -> str:
    """When a backup was written, where its manifest cannot be believed."""
    written = (folder / archive.MANIFEST).stat().st_mtime
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
