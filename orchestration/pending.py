"""Roll back an interrupted restore, and keep the values of an interrupted rotation.

A marker file exists while a restored state is live but not verified yet. The new values of secrets
are stored next to .env until every service uses them; `commands/secrets.py` resumes with them.
"""

from collections.abc import Mapping
from pathlib import Path

from orchestration.clients import artifact_folder, postgres
from orchestration.engines.base import Runtime
from orchestration.errors import Problem, StackError
from orchestration.settings import envfile
from orchestration.settings.model import Settings

# The switch needs PostgreSQL, Redis has no data to restore, and the status page only reads.
KEEP_RUNNING = ("postgres", "redis", "status")
ROTATION = "rotation-unfinished"


def begin_restore(settings: Settings, engine: Runtime, backup: str) -> None:
    """Stop all services that write, and switch to the loaded databases.

    The restore is pending from here until `end_restore` or `roll_back`.
    """
    # An earlier restore may have been killed before it dropped them.
    postgres.drop(engine, "before")
    _marker(settings).write_text(f"{backup}\n", encoding="utf-8")
    _stop(engine)
    postgres.switch(engine)


def end_restore(settings: Settings, engine: Runtime) -> None:
    """Confirm the restored state and drop the previous databases."""
    _marker(settings).unlink()
    postgres.drop(engine, "before")


def roll_back(settings: Settings, engine: Runtime) -> None:
    """Put the previous state back if a restore is pending, and leave the services stopped.

    The restored databases are kept as `…_loaded` until the next restore, because they may contain
    new work.
    """
    marker = _marker(settings)
    if not marker.exists():
        return
    backup = marker.read_text(encoding="utf-8").strip()
    print(f"The restore of {backup} was interrupted and is rolled back.")
    _stop(engine)
    # Start only the database: nothing else may use a state that is not verified.
    engine.up(("postgres",))
    postgres.wait(engine)
    if f"{postgres.NAMES[-1]}_before" in postgres.list_databases(engine):
        postgres.switch(engine, back=True)
    if artifact_folder.is_used(settings[artifact_folder.SETTING]):
        artifact_folder.undo(engine)
    marker.unlink()


def problems(settings: Settings) -> list[Problem]:
    """Return a problem for each interrupted operation. `inv up` rolls it back or resumes it."""
    interrupted = []
    if _marker(settings).exists():
        cause = "A restore was interrupted and must be rolled back."
        interrupted.append(Problem("restore-unfinished", cause, "inv up", "databases"))
    if names := new_secrets(settings):
        cause = f"A rotation of {', '.join(names)} was interrupted and must be resumed."
        interrupted.append(Problem(ROTATION, cause, "inv up", "databases"))
    return interrupted


def ensure_none_pending(settings: Settings, *codes: str) -> None:
    """Raise StackError if an operation was interrupted; with `codes`, only for these kinds."""
    if blocking := [one for one in problems(settings) if not codes or one.code in codes]:
        raise StackError(*blocking)


def new_secrets(settings: Settings) -> dict[str, str]:
    """Return the new values of an unfinished rotation; empty if there is none."""
    path = _new_secrets_file(settings)
    return envfile.parse(envfile.read(path), path.name) if path.exists() else {}


def begin_rotation(settings: Settings, values: Mapping[str, str]) -> None:
    """Store the new values next to .env with mode 0600, before anything uses them."""
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    envfile.write(_new_secrets_file(settings), text)


def end_rotation(settings: Settings) -> None:
    """Delete the stored values, once everything uses them."""
    _new_secrets_file(settings).unlink()


def _stop(engine: Runtime) -> None:
    # Init jobs of a killed start may still run, so they are stopped too.
    engine.stop([name for name in engine.services() if name not in KEEP_RUNNING])


def _new_secrets_file(settings: Settings) -> Path:
    return settings.root / ".env.rotating"


def _marker(settings: Settings) -> Path:
    return settings.root / ".restoring"
