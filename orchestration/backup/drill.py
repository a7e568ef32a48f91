"""Whether the newest backup could be used: restored into a project of its own, and looked at.

Beside the running stack, with nothing in it that starts runs or sends alerts; gone afterwards.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from orchestration.backup import create as backup_create
from orchestration.backup import restore
from orchestration.backup.archive import Manifest
from orchestration.clients import object_store, postgres
from orchestration.engines import factory
from orchestration.engines.base import ONE_SHOTS, Engine, runtime_module
from orchestration.errors import StackError
from orchestration.host import ports
from orchestration.process import runner
from orchestration.process.background import Steps
from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS

# What the other project has of the clone; the rest is its own.
SHARED = ("orchestration", "install", ".env.example")
OWN = ("dags", "logs", "plugins", "backups/report")
# On the path of both engines' services.
LOOK = runtime_module("airflow.check_restored")
SECONDS = 600


def restored(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> str:
    steps.do("a database server", partial(engine.up, ("postgres",)))
    postgres.wait(engine)
    restore.load(folder, manifest, engine, steps)
    postgres.switch(engine)
    for name in ONE_SHOTS:
        steps.do(name, partial(engine.replace, name))
    steps.do("an MLflow server", partial(engine.up, ("mlflow",)))
    steps.do("artifacts", partial(restore.unpack_artifacts, folder, manifest, engine))
    # A model needs the worker's memory.
    look = partial(runner.run, engine.command("airflow-worker", LOOK), timeout=SECONDS)
    found = steps.do("keys and models", look).document()
    files = manifest.artifacts.get("rows", 0) or _in_bucket(folder, manifest, engine, steps)
    models = ", ".join(found["predicted"]) or "no model to ask"
    return f"{manifest.rows:,} rows, {files:,} files, {found['decrypted']} secrets opened, {models}"


def _in_bucket(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> int:
    """The artifacts that were in a bucket, all of which are there as they were."""
    listed = folder / backup_create.LISTED
    # Backups of before, and those that carry artifacts, have no list.
    if not listed.exists():
        return 0
    with NamedTemporaryFile() as now:
        where = manifest.destination
        steps.do("the bucket's list", partial(object_store.write_list, where, engine, now.file))
        now.flush()
        return object_store.refuse_lost(listed, Path(now.name), where)


@contextmanager
def project_beside(chosen: Settings, engine: Engine) -> Iterator[Engine]:
    """An engine for another project, with ports and state of its own, removed at the end."""
    root = chosen.root / ".drill"
    values = {**chosen.values, "COMPOSE_PROJECT_NAME": f"{chosen.project}-drill"}
    values |= {"AIRFLOW_PROJ_DIR": str(root), "BIND_ADDRESS": "127.0.0.1", "TLS": "off"}
    values |= dict(zip(PORTS.values(), map(str, ports.free(len(PORTS))), strict=True))
    other = replace(chosen, root=root, values=values)
    if root.exists():
        # A drill was killed; what of it still runs is asked to end while it can be found.
        with suppress(StackError, OSError):
            factory.engine_for(other).down(volumes=True, quietly=True)
        shutil.rmtree(root, ignore_errors=True)
    for name in OWN:
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o2775)
    for name in SHARED:
        (root / name).symlink_to(chosen.root / name)
    beside = engine.create_sandbox(other)
    try:
        if problems := beside.problems():
            raise StackError(*problems)
        yield beside
    finally:
        beside.down(volumes=True, quietly=True)
        engine.remove_sandbox(other)
        shutil.rmtree(root, ignore_errors=True)
