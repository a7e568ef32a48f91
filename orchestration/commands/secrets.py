"""`inv secrets`: list secrets, flag weak ones and rotate them.

The new values are kept next to .env until every service has them. The next `inv up` finishes an
interrupted rotation: each step can be repeated, and until .env has the new passwords both the old
and the new superuser password are tried.
"""

import json
import re
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestration import checksums, pending
from orchestration.backup import archive
from orchestration.backup import create as backup_create
from orchestration.clients import accounts
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import INIT_JOBS, Engine, image_of, runtime_module
from orchestration.errors import StackError, UsageError
from orchestration.health import canary, render
from orchestration.health import report as health_report
from orchestration.lifecycle import is_running, start, working_engine
from orchestration.process import lock, runner
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings import envfile, validation
from orchestration.settings.model import PREVIOUS_KEYS, SECRETS, Settings

FERNET = "AIRFLOW_FERNET_KEY"
ACCOUNT = "_AIRFLOW_WWW_USER_PASSWORD"  # pragma: allowlist secret
SUPERUSER = "POSTGRES_PASSWORD"  # pragma: allowlist secret
# Secrets that the database stores as passwords of these roles. airflow-init sets the status page's
# role; every other secret exists only in the environment of the services.
ROLES = {
    SUPERUSER: "postgres",
    "AIRFLOW_DB_PASSWORD": "airflow",  # pragma: allowlist secret
    "MLFLOW_DB_PASSWORD": "mlflow",  # pragma: allowlist secret
}
ALL = "all"
GENERATED = re.compile(r"^generated(: | |$)")
RESUME = "Run inv up or this command again to resume."


def run(project: Project, names: Sequence[str]) -> bool:
    """Rotate the named secrets, or list all of them; return whether no secret is weak."""
    if not names:
        return print_secrets(states(project))
    with lock.acquire("secrets", project.root):
        rotate(project, names)
    return True


def states(project: Project) -> list[tuple[str, str, str]]:
    """Return name, purpose and verdict of every secret; the verdict is `good` or why it is weak."""
    current = project.secrets()
    purposes = envfile.comments(project.example())
    verdicts = dict.fromkeys(current, "good") | validation.weaknesses(current)
    verdicts |= {name: "blank" for name, value in current.items() if not value}
    return [
        (name, GENERATED.sub("", purposes.get(name, "")), verdict)
        for name, verdict in verdicts.items()
    ]


def rotate(project: Project, requested: Sequence[str]) -> None:
    """Change secrets in `.env` and everywhere they are stored, without losing a task or data.

    Raises StackError before any change for an unknown name or an unhealthy stack. If the rotation
    cannot be finished, raises StackError with the next step.
    """
    names = select(requested)
    settings, engine = working_engine(project)
    if interrupted := pending.new_secrets(settings):
        finish(project, settings, engine)
        names = [name for name in names if name not in interrupted]
        if not names:
            return
        settings, engine = working_engine(project)
    _refuse(project, settings, engine, names)
    if is_running(engine):
        with Progress() as progress:
            Steps(progress).do("finish running tasks", engine.finish_tasks)
    pending.begin_rotation(settings, {name: SECRETS[name]() for name in names})
    finish(project, settings, engine)


def select(requested: Sequence[str]) -> list[str]:
    """Return the requested secrets without duplicates. Raises UsageError for an unknown name."""
    if ALL in requested:
        return list(SECRETS)
    if unknown := sorted(set(requested) - SECRETS.keys()):
        names = ", ".join((*SECRETS, ALL))
        raise UsageError(f"{', '.join(unknown)} cannot be rotated.", fix=f"Use one of: {names}")
    return list(dict.fromkeys(requested))


def _refuse(project: Project, settings: Settings, engine: Engine, names: Iterable[str]) -> None:
    """Raise StackError if a rotation must not start now."""
    pending.ensure_none_pending(settings)
    values = envfile.parse(envfile.read(settings.root / ".env"))
    if exported := [name for name in names if settings[name] != values.get(name)]:
        cause = f"{', '.join(exported)} is set in this shell, which overrides .env."
        raise StackError(cause, fix=f"unset {' '.join(exported)}")
    cause = "Secrets can only be rotated while the stack is healthy."
    if not is_running(engine):
        # A weak secret prevents a start, so it is changed while nothing is running.
        if all(verdict == "good" for *_, verdict in states(project)):
            raise StackError(f"{cause} Nothing is running.", fix="inv up")
    elif unhealthy := health_report.collect(settings, engine).unhealthy():
        names = ", ".join(dict.fromkeys(part.name for part in unhealthy))
        raise StackError(f"{cause} Unhealthy: {names}.", fix="inv up")


def finish(project: Project, settings: Settings, engine: Engine) -> None:
    """Store the new values wherever they are missing, restart the services and run the canary.

    Raises StackError with the next step if that fails.
    """
    new = pending.new_secrets(settings)
    print(f"Rotating {', '.join(new)}.")
    try:
        # .env is written after the database, so once it is complete the database is too.
        if changes_data(new) and any(settings[name] != value for name, value in new.items()):
            settings, engine = _prepend_key(project, settings, new)
            _change_data(settings, engine, new)
        _write(settings, {**new, **_previous_keys(settings, new)})
        settings, engine = working_engine(project)
        start(settings, engine, with_canary=False)
        if ACCOUNT in new:
            accounts.sync_airflow_password(settings, engine)
        if accounts.PASSWORDS[accounts.ADMIN] in new:
            accounts.sync_admin_password(settings, engine)
    except StackError as error:
        cause = f"{error}\nThe new values are kept in .env.rotating."
        raise StackError(cause, fix=RESUME) from None
    pending.end_rotation(settings)
    try:
        canary.run(Airflow(settings))
    except StackError as error:
        cause = f"The new values of {', '.join(new)} are in use, but the canary failed.\n{error}"
        raise StackError(cause, fix="inv doctor") from None
    print(f"Changed and verified: {', '.join(new)}. The old values no longer work.")
    print("Older copies of .env contain the old values. To save the new ones, run: inv backup")


def changes_data(new: Collection[str]) -> bool:
    """Return whether one of these secrets is stored in the database or decrypts its content."""
    return FERNET in new or any(name in new for name in ROLES)


def _prepend_key(
    project: Project, settings: Settings, new: Mapping[str, str]
) -> tuple[Settings, Engine]:
    """Put the new Fernet key before the old one in .env, so that both decrypt from here on."""
    if FERNET in new:
        keys = dict.fromkeys([new[FERNET], *settings[FERNET].split(",")])
        _write(settings, {FERNET: ",".join(keys)})
    return working_engine(project)


def _change_data(settings: Settings, engine: Engine, new: Mapping[str, str]) -> None:
    keys = settings[FERNET].split(",") if FERNET in new else []
    request = {
        "superuser": [settings[SUPERUSER], new.get(SUPERUSER, settings[SUPERUSER])],
        "roles": {role: new[name] for name, role in ROLES.items() if name in new},
        "keys": keys,
    }
    with Progress() as progress:
        steps = Steps(progress)
        if keys:
            # While Airflow runs, it could encrypt more values with the old key.
            services = (name for name in engine.services() if name not in INIT_JOBS)
            airflow = [name for name in services if image_of(name) == "airflow"]
            steps.do("stop Airflow", lambda: engine.stop(airflow))
        steps.do("start PostgreSQL", lambda: engine.up(("postgres",)))
        number = steps.do("update the database", lambda: _update_database(engine, request))
    if keys:
        print(f"Re-encrypted {number} values. The old key decrypts nothing in the database.")


def _update_database(engine: Engine, request: Mapping[str, Any]) -> int:
    """Change passwords and re-encrypt values; return the number of re-encrypted values."""
    command = engine.command("airflow-init", runtime_module("airflow.rotate_fernet_key"))
    with tempfile.TemporaryFile() as source:
        source.write(json.dumps(request).encode())
        source.seek(0)
        return int(runner.run(command, source=source).document()["reencrypted"])


def _previous_keys(settings: Settings, new: Mapping[str, str]) -> dict[str, str]:
    """Return the setting with old keys that existing backups need. No service gets them."""
    if FERNET not in new:
        return {}
    keys = dict.fromkeys([*settings[FERNET].split(","), *settings[PREVIOUS_KEYS].split(",")])
    needed = archive.fernet_fingerprints(backup_create.backups_folder(settings))
    kept = [key for key in keys if key != new[FERNET] and checksums.fingerprint(key) in needed]
    if kept:
        print(f"{PREVIOUS_KEYS} in .env keeps the old key for backups that need it.")
    return {PREVIOUS_KEYS: ",".join(kept)}


def _write(settings: Settings, values: Mapping[str, str]) -> None:
    path = settings.root / ".env"
    envfile.write(path, envfile.fill(envfile.read(path), values, None))


def print_secrets(states: Iterable[tuple[str, str, str]]) -> bool:
    """Print a table of the secrets without their values; return whether all are good."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "secret", "value", "for"):
        table.add_column(column)
    good = True
    for name, purpose, verdict in states:
        good = good and verdict == "good"
        colour, mark = render.WORK_MARKS["up" if verdict == "good" else "down"]
        table.add_row(Text(mark, style=colour), name, escape(verdict), escape(purpose))
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width).print(table)
    return good
