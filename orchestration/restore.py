"""A backup put in the place of what is there, which is kept until the canary has come through.

Everything is loaded beside the live state and compared with the manifest first; then both
databases change places in one transaction. Interrupted before that, nothing has happened; after
it, the next `up` puts the old state back.
"""

import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

from orchestration import (
    StackError,
    archive,
    backup,
    databases,
    dotenv_file,
    keys,
    settings,
    shell,
    unfinished,
)
from orchestration.archive import Manifest
from orchestration.engine import Engine, engine_for
from orchestration.progress import Progress
from orchestration.settings import Settings
from orchestration.stack import decided, ready_to_start, running, start
from orchestration.waiting import Steps

# Of another machine or of volumes that are not there: made anew, or as they are here.
OF_THIS_CLONE = (
    "COMPOSE_PROJECT_NAME", "AIRFLOW_UID", "STACK_ENGINE", "AIRFLOW_PROJ_DIR", "BIND_ADDRESS",
    "AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT", "WORKER_CONCURRENCY", "DEBIAN_IMAGE",
    "AIRFLOW_BASE_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE", "PYPI_INDEX_URL", "CA_BUNDLE",
    "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD",
    "STATUS_PASSWORD",
)  # fmt: skip


def restore(
    name: str, *, yes: bool, keys_file: str = "", passphrase_file: str = "", dags: bool = False
) -> None:
    """Check a backup, load it beside, switch, prove; the old state comes back where that fails.

    Raises StackError, with nothing touched, for a backup that is not whole or does not fit here.
    """
    folder, started = Path(name), time.monotonic()
    with Progress() as progress:
        manifest = Steps(progress).do(f"{folder.name} is whole", lambda: archive.checked(folder))
    if not yes:
        raise StackError(
            f"runs, models and Airflow's history would become those of {manifest.made_at}: "
            f"inv restore {name} --yes"
        )
    if keys_file:
        take_keys(manifest, Path(keys_file), keys.passphrase(passphrase_file))
    backup.fit(manifest, settings.drafted())
    chosen, engine = ready_to_start()
    unfinished.take_back(chosen, engine)
    if not running(engine):
        start(chosen, engine, with_proof=False)
    with Progress() as progress:
        steps = Steps(progress)
        load(folder, manifest, engine, steps)
        steps.do("artifacts", lambda: unpack_artifacts(folder, manifest, engine))
    replace(chosen, engine, name)
    print(f"restored and proven in {time.monotonic() - started:.0f} s")
    tell_dags(folder, chosen, take=dags)


def take_keys(manifest: Manifest, file: Path, passphrase: str) -> None:
    """Write the settings of a backup into .env, except those of this clone.

    Raises StackError where they are not this backup's, or data here is locked with others.
    """
    text = keys.decrypt(file, passphrase)
    given = dotenv_file.parse(text, str(file))
    if archive.fingerprint(given.get("AIRFLOW_FERNET_KEY", "")) != manifest.fernet:
        raise StackError(f"{file} holds the keys of another backup")
    drafted, _ = settings.draft_env()
    here = settings.drafted()
    if here["AIRFLOW_FERNET_KEY"] == given["AIRFLOW_FERNET_KEY"]:
        return
    chosen = decided(here)
    if data := engine_for(chosen).surviving_data():
        raise StackError(
            f"there is data here that was encrypted with other keys ({', '.join(data)}): its "
            "connections would be lost\nnext: restore into a clone of its own, or give it up: "
            "inv down --volumes --yes"
        )
    taken = {name: value for name, value in given.items() if name not in OF_THIS_CLONE}
    settings.write_env(dotenv_file.fill(drafted, taken, None), chosen.engine)
    print(f".env: keys and settings of {file.name} taken over")


def load(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> None:
    """Load both databases beside the live ones, and compare them with the manifest.

    Raises StackError where they are not what was backed up; the live ones are as they were.
    """
    for name in databases.NAMES:
        dump, told = folder / f"{name}.dump", manifest.tables[name]
        steps.do(f"{name} database", partial(databases.load, engine, name, dump))
        steps.do(f"{name} compared", partial(_compare, engine, name, told, folder))


def replace(chosen: Settings, engine: Engine, what: str) -> None:
    """Switch to what was loaded, prove it, and forget what was before; or go back to that."""
    try:
        unfinished.begin(chosen, engine, what)
        start(chosen, engine)
    except BaseException as error:
        unfinished.take_back(chosen, engine)
        start(chosen, engine, with_proof=False)
        if isinstance(error, StackError):
            raise StackError(f"{error}\nthe old state is back, nothing was lost") from None
        raise
    unfinished.end(chosen, engine)


def tell_dags(folder: Path, chosen: Settings, *, take: bool) -> None:
    """Print which DAG files are others than those of the backup, or put its own in their place."""
    packed = folder / backup.DAGS
    root = chosen.project_dir / "dags"
    here = {name: archive.sha256_of(path) for name, path in backup.dag_files(root).items()}
    there = {n: s for n, s in archive.contents(packed).items() if not n.startswith("install/")}
    if here == there:
        return
    if not take:
        names = sorted(n for n in {*here, *there} if here.get(n) != there.get(n))
        print(f"DAG files that differ from the backup's: {', '.join(names)}; --dags takes its own")
        return
    kept = root.with_name(f"dags.before-{datetime.now():%Y%m%dT%H%M%S}")
    shutil.copytree(root, kept)
    for name in set(here) - set(there):
        (root / name).unlink()
    archive.unpack(packed, root, list(there))
    print(f"the backup's DAG files are in place; those before are in {kept}")


def _compare(engine: Engine, name: str, told: Mapping[str, object], folder: Path) -> None:
    again = folder.parent / f".compare-{name}.dump"
    try:
        databases.dump(engine, f"{name}_loaded", again)
        found = databases.tables(engine, again)
    finally:
        again.unlink(missing_ok=True)
    if wrong := sorted(t for t in {*told, *found} if told.get(t) != found.get(t)):
        raise StackError(f"loaded, these tables of {name} are not what was backed up: {wrong}")


def unpack_artifacts(folder: Path, manifest: Manifest, engine: Engine) -> None:
    """Put artifacts back beside those that are there; each is looked at afterwards.

    Raises StackError where one is not what was backed up.
    """
    if not manifest.artifacts:
        return
    tree = folder / backup.ARTIFACTS
    extract = ("sh", "-c", backup.IN_ARTIFACTS, "sh", "tar", "--extract", "--file=-")
    with tree.open("rb") as source:
        shell.pipe(engine.command("mlflow", extract), source=source)
    told, found = archive.contents(tree), artifacts_in(engine)
    if wrong := sorted(name for name in told if told[name] != found.get(name)):
        raise StackError(f"{len(wrong)} artifact files are not what was backed up: {wrong[0]} …")


def artifacts_in(engine: Engine) -> dict[str, str]:
    """The sha256 of each artifact that MLflow has, by its path."""
    each = ("find", ".", "-type", "f", "-exec", "sha256sum", "{}", "+")
    said = shell.output(engine.command("mlflow", ("sh", "-c", backup.IN_ARTIFACTS, "sh", *each)))
    pairs = (line.split("  ", 1) for line in said.splitlines())
    return {name.removeprefix("./"): found for found, name in pairs}
