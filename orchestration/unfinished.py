"""The moment in which a restored state takes the live one's place, and the way back from it."""

from pathlib import Path

from orchestration import databases
from orchestration.engine import ONE_SHOTS, Engine
from orchestration.settings import Settings

# These go on: they hold no state that is replaced, or are asked for it; the page only looks.
STAY = ("postgres", "redis", "status")


def begin(chosen: Settings, engine: Engine, what: str) -> None:
    """Stop who writes, and put what was loaded in the place of what is live.

    From here on it is unfinished, until `end`.
    """
    _marker(chosen).write_text(f"{what}\n", encoding="utf-8")
    _stop(engine)
    databases.switch(engine)


def end(chosen: Settings, engine: Engine) -> None:
    """What was live before is not needed any more."""
    _marker(chosen).unlink()
    databases.drop(engine, *(f"{name}_before" for name in databases.NAMES))


def take_back(chosen: Settings, engine: Engine) -> None:
    """Put the old state back where there is something unfinished; what writes is stopped then."""
    marker = _marker(chosen)
    if not marker.exists():
        return
    what = marker.read_text(encoding="utf-8").strip()
    print(f"the restore of {what} did not come to its end: it is taken back")
    if not any(s.state == "running" for s in engine.ps() if s.name == "postgres"):
        engine.up()
    _stop(engine)
    if f"{databases.NAMES[0]}_before" in databases.existing(engine):
        databases.switch(engine, back=True)
    databases.drop(engine, *(f"{name}_loaded" for name in databases.NAMES))
    marker.unlink()


def _stop(engine: Engine) -> None:
    engine.stop([name for name in engine.services() if name not in (*STAY, *ONE_SHOTS)])


def _marker(chosen: Settings) -> Path:
    return chosen.root / ".restoring"
