"""Back up the databases, MLflow's artifacts and the DAGs, and read the dumps back."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from packaging.version import Version

from orchestration import checksums
from orchestration.backup import archive, dag_files, keyfile, restore_artifacts
from orchestration.backup.archive import Manifest
from orchestration.clients import artifact_folder, object_store, postgres
from orchestration.dependencies import requirements
from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.files import atomic_write
from orchestration.process.background import Steps
from orchestration.settings.model import PREVIOUS_KEYS, Settings

KEEP = "7"
# Artifacts in a bucket are listed, not copied.
ARTIFACT_LIST = "artifacts.list"
LOCKS = {"airflow": ("airflow.lock", "apache-airflow"), "mlflow": ("mlflow.lock", "mlflow")}


def backups_folder(settings: Settings) -> Path:
    """Return the folder that contains the backups of a clone."""
    return settings.project_dir / "backups"


def write(settings: Settings, engine: Engine, into: Path, steps: Steps) -> None:
    """Write all files of a backup and its manifest into a folder."""
    # Databases first: the artifacts of every run in a dump are then packed too.
    tables = {}
    postgres.create_missing(engine)
    for name in postgres.NAMES:
        file = into / f"{name}.dump"
        steps.do(f"{name} database", partial(postgres.dump, engine, name, file))
        tables[name] = steps.do(f"{name} check", partial(postgres.tables_in_dump, engine, file))
    artifacts = steps.do("artifacts", lambda: _pack_artifacts(settings, engine, into))
    steps.do("DAGs", partial(dag_files.pack, settings, into))
    manifest = Manifest(
        project=settings.project,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=settings.engine,
        versions={**versions(settings), "postgres": postgres.version(engine)},
        fernet=fingerprints(settings["AIRFLOW_FERNET_KEY"]),
        destination=settings["MLFLOW_ARTIFACTS_DESTINATION"],
        tables=tables,
        artifacts=artifacts,
    )
    archive.write_manifest(into, manifest)


def versions(settings: Settings) -> dict[str, str]:
    """Return the versions of Airflow and MLflow in the lock files."""
    pinned = {}
    for name, (lock, package) in LOCKS.items():
        text = (settings.root / "install" / lock).read_text(encoding="utf-8")
        pinned[name] = dict(requirements.PINNED.findall(text))[package]
    return pinned


def fingerprints(keys: str) -> str:
    """Return the fingerprints of a comma-separated list of Fernet keys, in the same form."""
    return ",".join(checksums.fingerprint(key) for key in keys.split(","))


def keys_match(manifest: Manifest, keys: str) -> bool:
    """Return whether these keys include all keys that the backup was encrypted with."""
    return set(manifest.fernet.split(",")) <= set(fingerprints(keys).split(","))


def with_backup_keys(manifest: Manifest, settings: Settings) -> Settings:
    """Return the settings with the old Fernet keys that the backup needs after the current one."""
    needed = manifest.fernet.split(",")
    old = [k for k in settings[PREVIOUS_KEYS].split(",") if checksums.fingerprint(k) in needed]
    keys = dict.fromkeys([*settings["AIRFLOW_FERNET_KEY"].split(","), *old])
    return replace(settings, values={**settings.values, "AIRFLOW_FERNET_KEY": ",".join(keys)})


def check_compatible(manifest: Manifest, settings: Settings, *, keys_matter: bool = True) -> None:
    """Raise StackError if a backup has newer software, other keys or another bucket."""
    for name, here in versions(settings).items():
        if Version(manifest.versions[name]) > Version(here):
            raise StackError(
                f"The backup needs {name} {manifest.versions[name]}. This stack has {here}.",
                fix="Run git pull and inv rebuild, then try again.",
            )
    destination = settings[artifact_folder.SETTING]
    # Artifacts of a folder can be restored into any folder, but not into a bucket.
    movable = manifest.artifacts and artifact_folder.is_used(destination)
    if not movable and manifest.destination != destination:
        raise StackError(
            f"The backup's artifacts are in {manifest.destination}. This stack uses {destination}.",
            fix=f"Set MLFLOW_ARTIFACTS_DESTINATION={manifest.destination} in .env, then try again.",
        )
    if keys_matter and not keys_match(manifest, settings["AIRFLOW_FERNET_KEY"]):
        raise StackError(
            "AIRFLOW_FERNET_KEY in .env cannot decrypt the connections in this backup. Nothing was "
            "changed.",
            fix=(
                "Add --keys FILE.keys.age --passphrase-file FILE to use the backup's key, or "
                "--without-keys to give up the passwords of connections."
            ),
        )


def report(settings: Settings, made_at: str, *, verified: bool, detail: str) -> None:
    """Write the result of a backup or drill for the status page."""
    folder = backups_folder(settings) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    document = {"made_at": made_at, "verified": verified, "detail": detail}
    # The status page reads it as another user.
    folder.chmod(0o755)
    atomic_write(folder / "report.json", json.dumps(document), 0o644)


@contextmanager
def failure_reported(settings: Settings, what: str, made_at: Callable[[], str]) -> Iterator[None]:
    """Write any error as the result of a backup or drill, in place of an earlier good one."""
    try:
        yield
    except Exception as error:
        report(settings, made_at(), verified=False, detail=f"{what} failed: {_reason(error)}")
        raise


def _reason(error: Exception) -> str:
    """Return the cause of an error, or its last line: that of a failed command's output."""
    text = str(error)
    if isinstance(error, StackError):
        text = error.problems[0].cause if error.problems else error.reason
    return text.splitlines()[-1] if text else type(error).__name__


def _pack_artifacts(settings: Settings, engine: Engine, into: Path) -> dict[str, Any]:
    if object_store.is_used(settings):
        with (into / ARTIFACT_LIST).open("wb") as file:
            object_store.write_list(settings[object_store.ARTIFACTS], engine, file)
    if not artifact_folder.is_used(settings[artifact_folder.SETTING]):
        return {}
    tar = into / restore_artifacts.ARTIFACTS
    with tar.open("wb") as file:
        artifact_folder.pack(engine, file)
    values = archive.contents(tar).items()
    return checksums.digest_of_files({n: value for n, value in values if value != archive.FOLDER})


@contextmanager
def temporary_folder(backups: Path) -> Iterator[Path]:
    """Create a folder for a new backup, and remove it if the backup fails."""
    temporary = backups / f".making-{os.getpid()}"
    # Left by a killed backup. The lock of the command excludes a running one.
    for stale in backups.glob(".making-*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def drop_old(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` backups, and their encrypted keys."""
    for old in archive.list_backups(folder)[:-keep]:
        shutil.rmtree(old)
        old.with_name(f"{old.name}{keyfile.SUFFIX}").unlink(missing_ok=True)


def passphrase(settings: Settings, given: str) -> str:
    """Return the passphrase in the given file or in BACKUP_PASSPHRASE_FILE; blank without both."""
    setting = settings["BACKUP_PASSPHRASE_FILE"]
    # A path in .env is relative to .env, not to the working directory.
    file = given or (setting and str(settings.root / setting))
    return keyfile.passphrase(file) if file else ""


def summary(backup: Path, manifest: Manifest) -> str:
    """Return the rows, artifacts and size of a backup as one line."""
    size = sum(path.stat().st_size for path in backup.iterdir()) / 2**20
    artifacts = f"artifacts stay in {manifest.destination}"
    if (backup / ARTIFACT_LIST).exists():
        artifacts = f"{len(object_store.read_list(backup / ARTIFACT_LIST)):,} {artifacts}"
    if manifest.artifacts:
        artifacts = f"{manifest.artifacts['rows']:,} artifact files"
    return f"{manifest.rows:,} rows, {artifacts}, {size:,.0f} MiB"
