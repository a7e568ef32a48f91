"""A backup put in the place of what is there, which is kept until the canary has come through.

Everything is loaded beside the live state and compared with the manifest first; then all
databases change places in one transaction. Interrupted before that, nothing has happened; after
it, the next `up` puts the old state back.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace as replaced
from datetime import datetime
from functools import partial
from pathlib import Path

from orchestration import checksums, pending
from orchestration.backup import archive, keyfile
from orchestration.backup import create as backup_create
from orchestration.backup.archive import Manifest
from orchestration.clients import accounts, postgres
from orchestration.clients.airflow import Airflow
from orchestration.engines import factory
from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.host.drafts import draft_env
from orchestration.lifecycle import resolve_engine, start
from orchestration.process import runner
from orchestration.process.background import Steps
from orchestration.project import Project
from orchestration.settings import envfile
from orchestration.settings.model import Settings

EXTRACT = ("tar", "--extract", "--file=-")
KEEPING = ("--backup=simple", "--suffix=.before-restore")
# A line of sha256sum, among what the engine may have to say.
SUMMED = re.compile("[0-9a-f]{64}  ")
# Of another machine or of volumes that are not there: made anew, or as they are here.
OF_THIS_CLONE = (
    "COMPOSE_PROJECT_NAME", "AIRFLOW_UID", "STACK_ENGINE", "AIRFLOW_PROJ_DIR", "BIND_ADDRESS",
    "AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT",
    "WORKER_CONCURRENCY", "WORKER_MEMORY", "SERVICE_MEMORY", "DEBIAN_IMAGE", "AIRFLOW_BASE_IMAGE",
    "POSTGRES_IMAGE", "REDIS_IMAGE", "PYPI_INDEX_URL", "CA_BUNDLE",
    "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD",
    "STATUS_PASSWORD", "BACKUP_PASSPHRASE_FILE",
    "TLS", "PUBLIC_HOST", "TLS_CERTIFICATE", "TLS_KEY",
)  # fmt: skip


def take_keys(project: Project, manifest: Manifest, file: Path, passphrase: str) -> None:
    """Write the settings of a backup into .env, except those of this clone.

    Where there is data, only what opens the backup, behind the key in use. Raises StackError where
    they are not this backup's.
    """
    text = keyfile.decrypt(file, passphrase)
    given = envfile.parse(text, str(file))
    if not backup_create.known_keys(manifest, given.get("AIRFLOW_FERNET_KEY", "")):
        raise StackError(f"{file} holds the keys of another backup")
    drafted, _ = draft_env(project)
    here = project.settings_of(drafted)
    if here["AIRFLOW_FERNET_KEY"] == given["AIRFLOW_FERNET_KEY"]:
        return
    chosen = resolve_engine(here)
    if factory.engine_for(chosen).surviving_data():
        both = f"{here['AIRFLOW_FERNET_KEY']},{given['AIRFLOW_FERNET_KEY']}"
        add_keys(project, replaced(here, values={**here.values, "AIRFLOW_FERNET_KEY": both}))
        return
    # As they are written: quotes have their reason.
    taken = {n: value for n, value in envfile.raw(text).items() if n not in OF_THIS_CLONE}
    here_too = envfile.parse(drafted)
    of_their_own = [f"{n}={value}\n" for n, value in taken.items() if n not in here_too]
    whole = envfile.fill(drafted, taken, None)
    if of_their_own:
        whole = envfile.append(whole, "".join(of_their_own))
    project.write_env(whole, chosen.engine)
    print(f".env: keys and settings of {file.name} taken over")


def add_keys(project: Project, opening: Settings) -> None:
    """Have .env open what a backup holds, where it does not yet; the key in use stays first."""
    path, text = project.env_file, draft_env(project)[0]
    value = opening["AIRFLOW_FERNET_KEY"]
    if not path.exists() or envfile.parse(text)["AIRFLOW_FERNET_KEY"] == value:
        return
    envfile.write(path, envfile.fill(text, {"AIRFLOW_FERNET_KEY": value}, None))
    print(
        "AIRFLOW_FERNET_KEY: the backup's key is added behind the one in use; once it is restored,"
    )
    print("  inv secrets --rotate AIRFLOW_FERNET_KEY  encrypts all anew")


def load(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> None:
    """Load the databases beside the live ones, and compare them with the manifest.

    One that a backup of before has not, MLflow's accounts, is empty then. Raises StackError where
    they are not what was backed up; the live ones are as they were.
    """
    for name in postgres.NAMES:
        if name == postgres.LATER and name not in manifest.tables:
            postgres.make_empty(engine, name, "loaded")
            continue
        dump, told = folder / f"{name}.dump", manifest.tables[name]
        steps.do(f"{name} database", partial(postgres.load, engine, name, dump))
        steps.do(f"{name} compared", partial(_compare, engine, name, told))


def replace(chosen: Settings, engine: Engine, what: str) -> None:
    """Switch to what was loaded, prove it, and forget what was before; or go back to that."""
    try:
        pending.begin(chosen, engine, what)
        start(chosen, engine, with_proof=False)
        _let_in(chosen, engine)
        canary.prove(Airflow(chosen))
    except BaseException as error:
        pending.take_back(chosen, engine)
        # Nobody has worked with it.
        postgres.forget(engine, "loaded")
        how = "the old state is back, nothing was lost"
        try:
            start(chosen, engine, with_proof=False)
        except StackError as other:
            how = f"the old state is back, and does not come up by itself: inv up\n{other}"
        if isinstance(error, StackError):
            raise StackError(f"{error}\n{how}") from None
        raise
    pending.end(chosen, engine)


def _let_in(chosen: Settings, engine: Engine) -> None:
    """Give the accounts that people use the passwords of .env, where the backup's were others."""
    told = "has the password of .env, in the backup it was another"
    if accounts.let_first_account_in(chosen, engine):
        print(f"the account {chosen['_AIRFLOW_WWW_USER_USERNAME']} {told}")
    if accounts.let_admin_in(chosen, engine):
        print(f"MLflow's account {accounts.ADMIN} {told}")


def tell_dags(folder: Path, chosen: Settings, *, take: bool) -> None:
    """Print which DAG files are others than those of the backup, or put its own in their place."""
    packed = folder / backup_create.DAGS
    root = chosen.project_dir / "dags"
    here = {name: checksums.sha256_of(path) for name, path in backup_create.dag_files(root).items()}
    packed_files = archive.contents(packed).items()
    there = {n.removeprefix("dags/"): s for n, s in packed_files if n.startswith("dags/")}
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
    archive.unpack(packed, root.parent, [f"dags/{name}" for name in there])
    print(f"the backup's DAG files are in place; those before are in {kept}")


def _compare(engine: Engine, name: str, told: Mapping[str, object]) -> None:
    found = postgres.tables_of(engine, f"{name}_loaded")
    if wrong := sorted(t for t in {*told, *found} if told.get(t) != found.get(t)):
        raise StackError(f"loaded, these tables of {name} are not what was backed up: {wrong}")


def unpack_artifacts(folder: Path, manifest: Manifest, engine: Engine) -> None:
    """Put back artifacts that are missing or are others now; each is looked at afterwards.

    One that is another now is kept beside, as `….before-restore`. Raises StackError where one is
    not what was backed up in the end.
    """
    if not manifest.artifacts:
        return
    tree = folder / backup_create.ARTIFACTS
    told = archive.contents(tree)
    with tree.open("rb") as source:
        runner.run(backup_create.in_artifacts(engine, *EXTRACT, "--skip-old-files"), source=source)
    if others := _others(told, engine):
        with tempfile.TemporaryFile() as source:
            archive.part(tree, others, source)
            source.seek(0)
            runner.run(backup_create.in_artifacts(engine, *EXTRACT, *KEEPING), source=source)
    if wrong := _others(told, engine):
        raise StackError(f"{len(wrong)} artifact files are not what was backed up: {wrong[0]} …")


def _others(told: Mapping[str, str], engine: Engine) -> list[str]:
    """Artifacts that are not as told, by their paths."""
    each = ("find", ".", "-type", "f", "-exec", "sha256sum", "{}", "+")
    said = runner.run(backup_create.in_artifacts(engine, *each)).output
    pairs = [line.split("  ", 1) for line in said.splitlines() if SUMMED.match(line)]
    found = {name.removeprefix("./"): sha256 for sha256, name in pairs}
    return sorted(name for name in told if told[name] != found.get(name))
