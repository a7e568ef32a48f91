"""`inv secrets`: what each secret is for, and whether it can be guessed; another value for it.

The new values lie beside .env until everything has them. Ended at any moment, a rotation is
finished by the next `up`: each step can be done again, and until .env has the new passwords the
database is asked with both.
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
from orchestration.engines.base import ONE_SHOTS, Engine, image_of, runtime_module
from orchestration.errors import StackError
from orchestration.health import canary, render
from orchestration.health import report as health_report
from orchestration.lifecycle import running, start, working_engine
from orchestration.process import lock, runner
from orchestration.process.background import Steps
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings import envfile, validation
from orchestration.settings.model import FORMER_KEYS, SECRETS, Settings

FERNET = "AIRFLOW_FERNET_KEY"
ACCOUNT = "_AIRFLOW_WWW_USER_PASSWORD"  # pragma: allowlist secret
SUPERUSER = "POSTGRES_PASSWORD"  # pragma: allowlist secret
# Whose passwords the database itself holds. The status page's role is set by airflow-init, each
# other secret is what the services are started with, and nothing more.
ROLES = {
    SUPERUSER: "postgres",
    "AIRFLOW_DB_PASSWORD": "airflow",  # pragma: allowlist secret
    "MLFLOW_DB_PASSWORD": "mlflow",  # pragma: allowlist secret
}
ALL = "all"
MADE_BY = re.compile(r"^generated(: | |$)")
AGAIN = "Run inv up or this command again to resume."


def run(project: Project, names: Sequence[str]) -> bool:
    """Rotate secrets, or print all of them if no names are given; return whether all are good."""
    if not names:
        return print_secrets(states(project))
    with lock.at_work("secrets", project.root):
        rotate(project, names)
    return True


def states(project: Project) -> list[tuple[str, str, str]]:
    """Return each secret's name, what it is for, and why its value is weak, or `good`."""
    current = project.secrets()
    purposes = envfile.comments(project.example())
    verdicts = dict.fromkeys(current, "good") | validation.weaknesses(current)
    verdicts |= {name: "blank" for name, value in current.items() if not value}
    return [
        (name, MADE_BY.sub("", purposes.get(name, "")), verdict)
        for name, verdict in verdicts.items()
    ]


def rotate(project: Project, asked: Sequence[str]) -> None:
    """Give secrets new values, in `.env` and wherever they are held; no task and no data is lost.

    Raises StackError, with nothing changed, for an unknown name or a stack that is not well; and
    where it could not be finished, with what to do.
    """
    names = wanted(asked)
    chosen, engine = working_engine(project)
    if begun := pending.new_secrets(chosen):
        finish(project, chosen, engine)
        names = [name for name in names if name not in begun]
        if not names:
            return
        chosen, engine = working_engine(project)
    _refuse(project, chosen, engine, names)
    if running(engine):
        with Progress() as progress:
            Steps(progress).do("tasks that run end first", engine.finish_tasks)
    pending.begin_rotation(chosen, {name: SECRETS[name]() for name in names})
    finish(project, chosen, engine)


def wanted(asked: Sequence[str]) -> list[str]:
    """The names of secrets that are asked for, each once; raises StackError for what is none."""
    if ALL in asked:
        return list(SECRETS)
    if unknown := sorted(set(asked) - SECRETS.keys()):
        names = ", ".join((*SECRETS, ALL))
        raise StackError(f"{', '.join(unknown)} cannot be rotated.", fix=f"Use one of: {names}")
    return list(dict.fromkeys(asked))


def _refuse(project: Project, chosen: Settings, engine: Engine, names: Iterable[str]) -> None:
    """Raises StackError where a rotation is not to be begun."""
    pending.refuse(chosen)
    written = envfile.parse(envfile.read(chosen.root / ".env"))
    if above := [name for name in names if chosen[name] != written.get(name)]:
        cause = f"{', '.join(above)} is set in this shell, which overrides .env."
        raise StackError(cause, fix=f"unset {' '.join(above)}")
    cause = "Secrets can only be rotated while the stack is healthy."
    if not running(engine):
        # A weak secret prevents a start, so it is changed while nothing is running.
        if all(verdict == "good" for *_, verdict in states(project)):
            raise StackError(f"{cause} Nothing is running.", fix="inv up")
    elif unhealthy := health_report.look(chosen, engine).waiting():
        names = ", ".join(dict.fromkeys(part.name for part in unhealthy))
        raise StackError(f"{cause} Unhealthy: {names}.", fix="inv up")


def finish(project: Project, chosen: Settings, engine: Engine) -> None:
    """Bring the new values to wherever they are not yet, restart what holds them, prove it.

    Raises StackError with what to do where that fails.
    """
    new = pending.new_secrets(chosen)
    print(f"new values for {', '.join(new)}")
    try:
        # Once .env has them all, the database has.
        if changes_data(new) and any(chosen[name] != value for name, value in new.items()):
            chosen, engine = _key_in_front(project, chosen, new)
            _change_data(chosen, engine, new)
        _write(chosen, {**new, **_former_keys(chosen, new)})
        chosen, engine = working_engine(project)
        start(chosen, engine, with_proof=False)
        if ACCOUNT in new:
            accounts.let_first_account_in(chosen, engine)
        if accounts.PASSWORDS[accounts.ADMIN] in new:
            accounts.let_admin_in(chosen, engine)
    except StackError as error:
        raise StackError(f"{error}\nThe new values are kept in .env.rotating.", fix=AGAIN) from None
    pending.end_rotation(chosen)
    try:
        canary.prove(Airflow(chosen))
    except StackError as error:
        cause = f"The new values of {', '.join(new)} are in use, but the canary failed.\n{error}"
        raise StackError(cause, fix="inv doctor") from None
    print(f"{', '.join(new)}: changed and proven; the former values are refused")
    print("copies of .env that were made before hold the former ones: inv backup")


def changes_data(new: Collection[str]) -> bool:
    """Whether one of them is held by the database itself, or opens what is in it."""
    return FERNET in new or any(name in new for name in ROLES)


def _key_in_front(
    project: Project, chosen: Settings, new: Mapping[str, str]
) -> tuple[Settings, Engine]:
    """.env with the new Fernet key before the old: from here on it opens all there may be."""
    if FERNET in new:
        keys = dict.fromkeys([new[FERNET], *chosen[FERNET].split(",")])
        _write(chosen, {FERNET: ",".join(keys)})
    return working_engine(project)


def _change_data(chosen: Settings, engine: Engine, new: Mapping[str, str]) -> None:
    keys = chosen[FERNET].split(",") if FERNET in new else []
    asked = {
        "superuser": [chosen[SUPERUSER], new.get(SUPERUSER, chosen[SUPERUSER])],
        "roles": {role: new[name] for name, role in ROLES.items() if name in new},
        "keys": keys,
    }
    with Progress() as progress:
        steps = Steps(progress)
        if keys:
            # Nobody is to write with the old key behind our back.
            services = (name for name in engine.services() if name not in ONE_SHOTS)
            airflow = [name for name in services if image_of(name) == "airflow"]
            steps.do("Airflow stops", lambda: engine.stop(airflow))
        steps.do("PostgreSQL is up", lambda: engine.up(("postgres",)))
        number = steps.do("the database", lambda: _ask(engine, asked))
    if keys:
        print(f"{number} secrets encrypted anew; the former key opens nothing in the database")


def _ask(engine: Engine, asked: Mapping[str, Any]) -> int:
    command = engine.command("airflow-init", runtime_module("airflow.rotate_fernet_key"))
    with tempfile.TemporaryFile() as source:
        source.write(json.dumps(asked).encode())
        source.seek(0)
        return int(runner.run(command, source=source).document()["encrypted_anew"])


def _former_keys(chosen: Settings, new: Mapping[str, str]) -> dict[str, str]:
    """Keys that backups below `backups` were made with; no service gets them."""
    if FERNET not in new:
        return {}
    keys = dict.fromkeys([*chosen[FERNET].split(","), *chosen[FORMER_KEYS].split(",")])
    needed = archive.fernet_fingerprints(backup_create.folder_of(chosen))
    kept = [key for key in keys if key != new[FERNET] and checksums.fingerprint(key) in needed]
    if kept:
        print(f"{FORMER_KEYS} keeps the former key for the backups that were made with it")
    return {FORMER_KEYS: ",".join(kept)}


def _write(chosen: Settings, values: Mapping[str, str]) -> None:
    path = chosen.root / ".env"
    envfile.write(path, envfile.fill(envfile.read(path), values, None))


def print_secrets(states: Iterable[tuple[str, str, str]]) -> bool:
    """Secrets by name with what each is for and how good it is; True when all are good."""
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
