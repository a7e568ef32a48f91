"""A backup: the databases, MLflow's artifacts and the DAGs, read back before it counts as one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.version import Version

from orchestration import checksums
from orchestration.backup import archive, keyfile
from orchestration.backup.archive import Manifest
from orchestration.clients import object_store, postgres
from orchestration.dependencies import requirements
from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.files import atomic_write
from orchestration.process import runner
from orchestration.process.background import Steps
from orchestration.settings.model import FORMER_KEYS, Settings

KEPT = "7"
ARTIFACTS, DAGS = "artifacts.tar", "dags.tar"
# Of a bucket, what it holds.
LISTED = "artifacts.list"
# Beside the DAGs, what the image is made of.
WITH_DAGS = ("requirements.txt", "requirements.lock")
LOCKED = {"airflow": ("airflow.lock", "apache-airflow"), "mlflow": ("mlflow.lock", "mlflow")}
# Where MLflow keeps them; on a stack that was never used, where it will.
IN_ARTIFACTS = """
there=${MLFLOW_ARTIFACTS_DESTINATION#file://}
mkdir -p "$there" && cd "$there" && exec "$@"
"""
# 1: a file changed or went while it was packed; a run that is written to is not lost for it. Told
# apart here, because what carries the command may end with 1 too.
PACK = ("sh", "-c", "tar --create --file=- . || [ $? -eq 1 ]")


def folder_of(chosen: Settings) -> Path:
    """Where the backups of a clone are."""
    return chosen.project_dir / "backups"


def write(chosen: Settings, engine: Engine, into: Path, steps: Steps) -> None:
    """Write every part of a backup and its manifest into a folder."""
    # Before the artifacts: what a run that is recorded has written is there by then.
    tables = {}
    postgres.complete(engine)
    for name in postgres.NAMES:
        file = into / f"{name}.dump"
        steps.do(f"{name} database", partial(postgres.dump, engine, name, file))
        tables[name] = steps.do(f"{name} read back", partial(postgres.tables, engine, file))
    artifacts = steps.do("artifacts", lambda: _pack_artifacts(chosen, engine, into))
    steps.do("DAGs", lambda: _pack_dags(chosen, into / DAGS))
    manifest = Manifest(
        project=chosen.project,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=chosen.engine,
        versions={**versions(chosen), "postgres": postgres.version(engine)},
        fernet=fingerprints(chosen["AIRFLOW_FERNET_KEY"]),
        destination=chosen["MLFLOW_ARTIFACTS_DESTINATION"],
        tables=tables,
        artifacts=artifacts,
    )
    archive.write_manifest(into, manifest)


def versions(chosen: Settings) -> dict[str, str]:
    """What this clone runs, by its locks."""
    found = {}
    for name, (lock, package) in LOCKED.items():
        text = (chosen.root / "install" / lock).read_text(encoding="utf-8")
        found[name] = dict(requirements.PINNED.findall(text))[package]
    return found


def fingerprints(keys: str) -> str:
    """What tells Fernet keys from others, where several are in use after a rotation too."""
    return ",".join(checksums.fingerprint(key) for key in keys.split(","))


def known_keys(manifest: Manifest, keys: str) -> bool:
    """Whether what the backup holds was encrypted with keys among these."""
    return set(manifest.fernet.split(",")) <= set(fingerprints(keys).split(","))


def opening(manifest: Manifest, chosen: Settings) -> Settings:
    """The settings with those former keys behind the one in use that the backup was made with."""
    needed = manifest.fernet.split(",")
    former = [k for k in chosen[FORMER_KEYS].split(",") if checksums.fingerprint(k) in needed]
    keys = dict.fromkeys([*chosen["AIRFLOW_FERNET_KEY"].split(","), *former])
    return replace(chosen, values={**chosen.values, "AIRFLOW_FERNET_KEY": ",".join(keys)})


def fit(manifest: Manifest, chosen: Settings, *, keys_matter: bool = True) -> None:
    """Raises StackError where a backup is of newer software, other keys or another bucket."""
    for name, here in versions(chosen).items():
        if Version(manifest.versions[name]) > Version(here):
            raise StackError(
                f"the backup is of {name} {manifest.versions[name]}, here is {here}: git pull, "
                "inv rebuild, then restore it"
            )
    destination = chosen["MLFLOW_ARTIFACTS_DESTINATION"]
    if not manifest.artifacts and manifest.destination != destination:
        raise StackError(
            f"the backup's artifacts are in {manifest.destination}, this stack keeps its own in "
            f"{destination}: set MLFLOW_ARTIFACTS_DESTINATION in .env, then restore it"
        )
    if keys_matter and not known_keys(manifest, chosen["AIRFLOW_FERNET_KEY"]):
        raise StackError(
            "AIRFLOW_FERNET_KEY in .env cannot decrypt the connections in this backup. Nothing was "
            "changed.",
            fix=(
                "Add --keys FILE.keys.age --passphrase-file FILE to use the backup's key, or "
                "--without-keys to give up the passwords of connections."
            ),
        )


def report(chosen: Settings, made_at: str, *, verified: bool, detail: str) -> None:
    """Leave what the status page tells of backups."""
    place = folder_of(chosen) / "report"
    place.mkdir(parents=True, exist_ok=True)
    document = {"made_at": made_at, "verified": verified, "detail": detail}
    # The status page, which reads it, runs as another user.
    place.chmod(0o755)
    atomic_write(place / "report.json", json.dumps(document), 0o644)


def carried(destination: str) -> bool:
    """Whether a backup holds the artifacts themselves: those of a bucket stay in it."""
    return urlsplit(destination).scheme in ("", "file")


def _pack_artifacts(chosen: Settings, engine: Engine, into: Path) -> dict[str, Any]:
    if object_store.is_one(chosen):
        with (into / LISTED).open("wb") as file:
            object_store.write_list(chosen[object_store.ARTIFACTS], engine, file)
    if not carried(chosen["MLFLOW_ARTIFACTS_DESTINATION"]):
        return {}
    with (into / ARTIFACTS).open("wb") as file:
        runner.run(in_artifacts(engine, *PACK), into=file)
    return checksums.of_files(archive.contents(into / ARTIFACTS))


def in_artifacts(engine: Engine, *argv: str) -> runner.Command:
    """A command in the folder of MLflow's artifacts, where its server runs."""
    return engine.command("mlflow", ("sh", "-c", IN_ARTIFACTS, "sh", *argv))


def _pack_dags(chosen: Settings, into: Path) -> None:
    install = chosen.root / "install"
    dags = dag_files(chosen.project_dir / "dags").items()
    beside = {f"install/{name}": install / name for name in WITH_DAGS}
    archive.pack(into, {f"dags/{name}": path for name, path in dags} | beside)


def dag_files(root: Path) -> dict[str, Path]:
    """The files of a DAGs folder by their names in it, bytecode left out."""
    found = (path for path in sorted(root.rglob("*")) if "__pycache__" not in path.parts)
    return {str(path.relative_to(root)): path for path in found if path.is_file()}


@contextmanager
def in_making(folder: Path) -> Iterator[Path]:
    making = folder / f".making-{os.getpid()}"
    # What a backup that was killed left behind; one verb at a time is at work here.
    for left in folder.glob(".making-*"):
        shutil.rmtree(left, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)
    try:
        yield making
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def drop_old(folder: Path, keep: int) -> None:
    for old in archive.all_of(folder)[:-keep]:
        shutil.rmtree(old)
        old.with_name(f"{old.name}{keyfile.SUFFIX}").unlink(missing_ok=True)


def passphrase(chosen: Settings, given: str) -> str:
    """That of a file that was named, or of the one that .env names; blank for none."""
    set_once = chosen["BACKUP_PASSPHRASE_FILE"]
    # In .env it is seen from there, wherever the verb is typed.
    file = given or (set_once and str(chosen.root / set_once))
    return keyfile.passphrase(file) if file else ""


def summary(made: Path, manifest: Manifest) -> str:
    size = sum(path.stat().st_size for path in made.iterdir()) / 2**20
    held = f"artifacts stay in {manifest.destination}"
    if (made / LISTED).exists():
        held = f"{len(object_store.read_list(made / LISTED)):,} {held}"
    if manifest.artifacts:
        held = f"{manifest.artifacts['rows']:,} artifact files"
    return f"{manifest.rows:,} rows, {held}, {size:,.0f} MiB"
