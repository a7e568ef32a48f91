"""What runs to its end before the services of the standalone engine: schemas, the first account."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestration import checksums
from orchestration.engines.base import ONE_SHOTS, image_of, runtime_module
from orchestration.engines.standalone.environment import State
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.settings.model import Settings

SECONDS = 180
MODULES = dict(zip(ONE_SHOTS, ("airflow.init_database", "mlflow.init_database"), strict=True))


def digest(settings: Settings) -> str:
    """Return a digest of all that the init jobs run from."""
    files = sorted((settings.root / "orchestration/config").rglob("*.py"))
    found = {str(path): checksums.sha256_of(path) for path in files}
    return str(checksums.of_files(found)["digest"])


def run_all(
    settings: Settings, environment: Mapping[str, str], made_of: str, *, anew: bool
) -> None:
    """Run them side by side: `anew`, or where what they are `made_of` is not what it was before.

    Raises StackError with the last lines of one that failed.
    """
    stamp = _stamp(settings)
    if not anew and stamp.exists() and stamp.read_text() == made_of:
        return
    with ThreadPoolExecutor() as pool:
        for ended in [pool.submit(run, name, settings, environment) for name in ONE_SHOTS]:
            ended.result()
    stamp.write_text(made_of)


def forget(settings: Settings) -> None:
    """Let the next start run them, whatever they were run from before."""
    _stamp(settings).unlink(missing_ok=True)


def _stamp(settings: Settings) -> Path:
    return State.of(settings).run / "initialised"


def run(name: str, settings: Settings, environment: Mapping[str, str]) -> None:
    """Run one; what it printed is its log. Raises StackError with its last lines."""
    state = State.of(settings)
    argv = (str(state.python(image_of(name))), *runtime_module(MODULES[name])[1:])
    try:
        said = runner.run(runner.Command(argv, env=environment), timeout=SECONDS).output
    except StackError as error:
        raise StackError(f"{name} failed: {error}") from None
    (state.logs / f"{name}.log").write_text(said)
