"""What runs to its end before the services of the standalone engine: schemas, the first account."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from orchestration.engines.base import ONE_SHOTS, image_of
from orchestration.engines.standalone.environment import State
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.settings.model import Settings

SECONDS = 180


def run_all(
    settings: Settings, environment: Mapping[str, str], made_of: str, *, anew: bool
) -> None:
    """Run them side by side: `anew`, or where what they are `made_of` is not what it was before.

    Raises StackError with the last lines of one that failed.
    """
    stamp = State.of(settings).run / "initialised"
    if not anew and stamp.exists() and stamp.read_text() == made_of:
        return
    with ThreadPoolExecutor() as pool:
        for ended in [pool.submit(run, name, settings, environment) for name in ONE_SHOTS]:
            ended.result()
    stamp.write_text(made_of)


def run(name: str, settings: Settings, environment: Mapping[str, str]) -> None:
    """Run one; what it printed is its log. Raises StackError with its last lines."""
    state = State.of(settings)
    script = settings.root / "orchestration" / "config" / f"{name.replace('-', '_')}.py"
    argv = (str(state.python(image_of(name))), str(script))
    try:
        said = runner.run(runner.Command(argv, env=environment), timeout=SECONDS).output
    except StackError as error:
        raise StackError(f"{name} failed: {error}") from None
    (state.logs / f"{name}.log").write_text(said)
