"""Restore a backup into a temporary stack next to the running one, and check it.

The stack has no scheduler, so it starts no runs and sends no alerts. It is removed afterwards.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from orchestration.backup import create as backup_create
from orchestration.backup import restore, restore_artifacts
from orchestration.backup.archive import Manifest
from orchestration.clients import artifact_folder, object_store, postgres
from orchestration.engines import factory
from orchestration.engines.base import INIT_JOBS, Engine, runtime_module
from orchestration.errors import StackError
from orchestration.host import ports
from orchestration.process import runner
from orchestration.process.background import Steps
from orchestration.settings.model import Settings
from orchestration.settings.validation import PORTS

# The temporary stack shares these files with the clone, and gets these empty folders.
SHARED = ("orchestration", "install", ".env.example")
OWN = ("dags", "include", "datasets", "logs", "plugins", "backups/report")
VOLUME = "/mlflow_data"
CHECK = runtime_module("airflow.check_restored")
CHECK_SECONDS = 600


def restore_and_check(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> str:
    """Restore a backup into the temporary stack, and return a summary of what was checked."""
    steps.do("database server", partial(engine.up, ("postgres",)))
    postgres.wait(engine)
    restore.load(folder, manifest, engine, steps)
    postgres.switch(engine)
    for name in INIT_JOBS:
        steps.do(name, partial(engine.replace, name))
    steps.do("MLflow server", partial(engine.up, ("mlflow",)))
    steps.do("artifacts", partial(_restore_artifacts, folder, manifest, engine))
    # Only the worker has enough memory to load a model.
    check = partial(runner.run, engine.command("airflow-worker", CHECK), timeout=CHECK_SECONDS)
    checked = steps.do("keys and models", check).document()
    files = manifest.artifacts.get("rows", 0) or _check_bucket(folder, manifest, engine, steps)
    models = ", ".join(checked["predicted"]) or "no model with an alias"
    secrets = f"{checked['decrypted']} secrets decrypted"
    return f"{manifest.rows:,} rows, {files:,} files, {secrets}, {models}"


def _restore_artifacts(folder: Path, manifest: Manifest, engine: Engine) -> None:
    restore_artifacts.stage(folder, manifest, engine)
    restore_artifacts.place(manifest, engine)
    restore_artifacts.finish(manifest, engine)


def _check_bucket(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> int:
    """Check that a bucket still has the listed artifacts, and return their number."""
    listed = folder / backup_create.ARTIFACT_LIST
    # Older backups, and those that include the artifacts, have no list.
    if not listed.exists():
        return 0
    with NamedTemporaryFile() as now:
        where = manifest.destination
        steps.do("bucket list", partial(object_store.write_list, where, engine, now.file))
        now.flush()
        return object_store.refuse_lost(listed, Path(now.name), where)


@contextmanager
def temporary_stack(settings: Settings, engine: Engine) -> Iterator[Engine]:
    """Create a project with its own ports and state, yield its engine and remove it at the end."""
    root = settings.root / ".drill"
    values = {**settings.values, "COMPOSE_PROJECT_NAME": f"{settings.project}-drill"}
    values |= {"AIRFLOW_PROJ_DIR": str(root), "BIND_ADDRESS": "127.0.0.1", "TLS": "off"}
    if artifact_folder.is_used(settings[artifact_folder.SETTING]):
        # Without Docker, any other folder would be that of the running stack.
        values[artifact_folder.SETTING] = VOLUME
    values |= dict(zip(PORTS.values(), map(str, ports.free(len(PORTS))), strict=True))
    other = replace(settings, root=root, values=values)
    if root.exists():
        # A drill was killed. Stop its services while its folder still exists.
        with suppress(StackError, OSError):
            factory.engine_for(other).down(volumes=True, quietly=True)
        shutil.rmtree(root, ignore_errors=True)
    for name in OWN:
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o2775)
    for name in SHARED:
        (root / name).symlink_to(settings.root / name)
    sandbox = engine.create_sandbox(other)
    try:
        if problems := sandbox.problems():
            raise StackError(*problems)
        yield sandbox
    finally:
        sandbox.down(volumes=True, quietly=True)
        engine.remove_sandbox(other)
        shutil.rmtree(root, ignore_errors=True)
