"""Restore a backup, and keep the previous state until the canary has passed.

The databases are loaded next to the live ones and compared with the manifest. One transaction then
switches to them. Before the switch nothing changes. After it, the next `inv up` rolls back an
interrupted restore.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestration import pending
from orchestration.backup import create as backup_create
from orchestration.backup import keyfile, restore_artifacts
from orchestration.backup.archive import Manifest
from orchestration.clients import accounts, postgres
from orchestration.clients.airflow import Airflow
from orchestration.engines import factory
from orchestration.engines.base import Engine
from orchestration.errors import StackError
from orchestration.health import canary
from orchestration.host.drafts import draft_env
from orchestration.lifecycle import resolve_engine, start
from orchestration.process.background import Steps
from orchestration.project import Project
from orchestration.settings import envfile
from orchestration.settings.model import Settings
from orchestration.settings.names import without_effect

# Settings of this machine and its volumes, which are not taken from a backup.
CLONE_SETTINGS = (
    "COMPOSE_PROJECT_NAME", "AIRFLOW_UID", "STACK_ENGINE", "AIRFLOW_PROJ_DIR", "BIND_ADDRESS",
    "AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT",
    "WORKER_CONCURRENCY", "WORKER_MEMORY", "SERVICE_MEMORY", "DEBIAN_IMAGE", "AIRFLOW_BASE_IMAGE",
    "POSTGRES_IMAGE", "REDIS_IMAGE", "PYPI_INDEX_URL", "CA_BUNDLE",
    "POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "REDIS_PASSWORD",
    "STATUS_PASSWORD", "BACKUP_PASSPHRASE_FILE",
    "TLS", "PUBLIC_HOST", "TLS_CERTIFICATE", "TLS_KEY",
)  # fmt: skip


def import_keys(project: Project, manifest: Manifest, file: Path, passphrase: str) -> None:
    """Write the settings of a backup into .env, except those of this clone.

    If this stack has data, only add the backup's Fernet key after the current one. Raises
    StackError if the file belongs to another backup.
    """
    text = keyfile.decrypt(file, passphrase)
    backup = envfile.parse(text, str(file))
    if not backup_create.keys_match(manifest, backup.get("AIRFLOW_FERNET_KEY", "")):
        cause = f"{file} contains the keys of another backup."
        raise StackError(cause, fix=f"Use the {keyfile.SUFFIX} file next to the backup.")
    draft, _ = draft_env(project)
    current = project.settings_of(draft)
    if current["AIRFLOW_FERNET_KEY"] == backup["AIRFLOW_FERNET_KEY"]:
        return
    settings = resolve_engine(current)
    if factory.engine_for(settings).surviving_data():
        both = f"{current['AIRFLOW_FERNET_KEY']},{backup['AIRFLOW_FERNET_KEY']}"
        add_keys(project, replace(current, values={**current.values, "AIRFLOW_FERNET_KEY": both}))
        return
    # Copied with their quotes, which some values need.
    raw = {n: value for n, value in envfile.raw_values(text).items() if n not in CLONE_SETTINGS}
    names = envfile.parse(draft)
    # For example of an override file that this clone does not have.
    left_out = without_effect(raw, names, settings.root)
    wanted = {n: value for n, value in raw.items() if n not in (*names, *left_out)}
    additional = [f"{n}={value}\n" for n, value in wanted.items()]
    env = envfile.fill(draft, raw, None)
    if additional:
        env = envfile.append(env, "".join(additional))
    project.write_env(env, settings.engine)
    print(f"The keys and settings of {file.name} were written to .env.")
    if left_out:
        print(f"Left out, because they have no effect in this clone: {', '.join(left_out)}")


def add_keys(project: Project, settings: Settings) -> None:
    """Write the Fernet keys of these settings to .env, where the current key stays first."""
    path, text = project.env_file, draft_env(project)[0]
    value = settings["AIRFLOW_FERNET_KEY"]
    if not path.exists() or envfile.parse(text)["AIRFLOW_FERNET_KEY"] == value:
        return
    envfile.write(path, envfile.fill(text, {"AIRFLOW_FERNET_KEY": value}, None))
    print("The backup's key was added to AIRFLOW_FERNET_KEY in .env.")
    print("To replace both keys after the restore, run: inv secrets --rotate AIRFLOW_FERNET_KEY")


def load(folder: Path, manifest: Manifest, engine: Engine, steps: Steps) -> None:
    """Load the databases next to the live ones, and compare them with the manifest.

    Backups made before MLflow had accounts lack that database, so it is created empty. Raises
    StackError if a database differs from the manifest. The live databases are not changed.
    """
    for name in postgres.NAMES:
        if name == postgres.ACCOUNTS and name not in manifest.tables:
            postgres.create_empty(engine, name, "loaded")
            continue
        dump, expected = folder / f"{name}.dump", manifest.tables[name]
        steps.do(f"{name} database", partial(postgres.load, engine, name, dump))
        steps.do(f"{name} comparison", partial(_compare, engine, name, expected))


def switch_and_verify(settings: Settings, engine: Engine, backup: str, manifest: Manifest) -> None:
    """Switch to the loaded databases and artifacts and run the canary; roll back on any failure."""
    try:
        pending.begin_restore(settings, engine, backup)
        restore_artifacts.place(manifest, engine)
        start(settings, engine, with_canary=False)
        _sync_passwords(settings, engine)
        canary.run(Airflow(settings))
    except BaseException as error:
        pending.roll_back(settings, engine)
        # Nobody has used the restored databases yet.
        postgres.drop(engine, "loaded")
        note, fix = "The previous state is back. Nothing was lost.", ""
        try:
            start(settings, engine, with_canary=False)
        except StackError as other:
            note, fix = f"The previous state is back, but did not start.\n{other}", "inv up"
        if isinstance(error, StackError):
            raise StackError(f"{error}\n{note}", fix=fix) from None
        raise
    pending.end_restore(settings, engine)
    restore_artifacts.finish(manifest, engine)


def _sync_passwords(settings: Settings, engine: Engine) -> None:
    """Set the passwords from .env for the accounts of people, if the backup has other ones."""
    message = "now has the password from .env. The backup had another one."
    if accounts.sync_airflow_password(settings, engine):
        print(f"Airflow account {settings['_AIRFLOW_WWW_USER_USERNAME']} {message}")
    if accounts.sync_admin_password(settings, engine):
        print(f"MLflow account {accounts.ADMIN} {message}")


def _compare(engine: Engine, name: str, expected: Mapping[str, object]) -> None:
    actual = postgres.tables_in_database(engine, f"{name}_loaded")
    if different := sorted(t for t in {*expected, *actual} if expected.get(t) != actual.get(t)):
        raise StackError(f"Loaded tables of {name} differ from the backup: {', '.join(different)}.")
