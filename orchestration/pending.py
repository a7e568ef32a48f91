"""Interrupted operations: a restore that is rolled back, a rotation that is resumed.

A marker says that a restored state has replaced the live one and is not verified yet. New values
of secrets lie next to .env until everything has them; `commands/secrets.py` continues with those.
"""

from collections.abc import Mapping
from pathlib import Path

from orchestration.clients import postgres
from orchestration.engines.base import Runtime
from orchestration.errors import Problem, StackError
from orchestration.settings import envfile
from orchestration.settings.model import Settings

# These go on: they hold no state that is replaced, or are asked for it; the page only looks.
STAY = ("postgres", "redis", "status")
ROTATION = "rotation-unfinished"


def begin(chosen: Settings, engine: Runtime, what: str) -> None:
    """Stop who writes, and put what was loaded in the place of what is live.

    From here on it is unfinished, until `end`.
    """
    # Left by one that was ended while it forgot them: they are of no use to anybody.
    postgres.forget(engine, "before")
    _marker(chosen).write_text(f"{what}\n", encoding="utf-8")
    _stop(engine)
    postgres.switch(engine)


def end(chosen: Settings, engine: Runtime) -> None:
    """What was live before is not needed any more."""
    _marker(chosen).unlink()
    postgres.forget(engine, "before")


def take_back(chosen: Settings, engine: Runtime) -> None:
    """Put the old state back where there is something unfinished; what writes is stopped then.

    What had taken its place is kept as `…_loaded` until the next restore: somebody may have worked
    with it.
    """
    marker = _marker(chosen)
    if not marker.exists():
        return
    what = marker.read_text(encoding="utf-8").strip()
    print(f"The restore of {what} was interrupted and is rolled back.")
    _stop(engine)
    # The database alone: nothing is to run on a state that nobody has proven.
    engine.up(("postgres",))
    postgres.wait(engine)
    if f"{postgres.NAMES[-1]}_before" in postgres.existing(engine):
        postgres.switch(engine, back=True)
    marker.unlink()


def problems(chosen: Settings) -> list[Problem]:
    """Return each interrupted operation, which the next `inv up` rolls back or resumes."""
    found = []
    if _marker(chosen).exists():
        cause = "A restore was interrupted and must be rolled back."
        found.append(Problem("restore-unfinished", cause, "inv up", "databases"))
    if names := new_secrets(chosen):
        cause = f"A rotation of {', '.join(names)} was interrupted and must be resumed."
        found.append(Problem(ROTATION, cause, "inv up", "databases"))
    return found


def refuse(chosen: Settings, *codes: str) -> None:
    """Raise StackError while an operation is interrupted, or only one of these kinds."""
    if found := [one for one in problems(chosen) if not codes or one.code in codes]:
        raise StackError(*found)


def new_secrets(chosen: Settings) -> dict[str, str]:
    """The secrets that are being changed, with their new values; none where none is."""
    path = _beside(chosen)
    return envfile.parse(envfile.read(path), path.name) if path.exists() else {}


def begin_rotation(chosen: Settings, values: Mapping[str, str]) -> None:
    """Keep the new values beside .env (0600), before anything has them."""
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    envfile.write(_beside(chosen), text)


def end_rotation(chosen: Settings) -> None:
    """Everything has the new values."""
    _beside(chosen).unlink()


def _stop(engine: Runtime) -> None:
    # One-shots too: those of a start that was killed in its midst still run.
    engine.stop([name for name in engine.services() if name not in STAY])


def _beside(chosen: Settings) -> Path:
    return chosen.root / ".env.rotating"


def _marker(chosen: Settings) -> Path:
    return chosen.root / ".restoring"
