"""Run the standalone engine's init jobs, which create the schemas and the first account."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestration import checksums
from orchestration.engines.base import INIT_JOBS, RECOVERY_SECONDS, image_of, runtime_module
from orchestration.engines.standalone.environment import State, service_environment
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.settings.model import Settings

TIMEOUT_SECONDS = 180 + RECOVERY_SECONDS
MODULES = dict(zip(INIT_JOBS, ("airflow.init_database", "mlflow.init_database"), strict=True))


def digest(settings: Settings) -> str:
    """Return a digest of all files that the init jobs run from."""
    files = sorted((settings.root / "orchestration/config").rglob("*.py"))
    sums = {str(path): checksums.sha256_of(path) for path in files}
    return str(checksums.digest_of_files(sums)["digest"])


def run_all(
    settings: Settings, environment: Mapping[str, str], inputs: str, *, force: bool
) -> None:
    """Run all init jobs at once, unless they last ran with the same `inputs`; with `force` always.

    Raises StackError with the last lines that a failed one printed.
    """
    stamp = _stamp(settings)
    if not force and stamp.exists() and stamp.read_text() == inputs:
        return
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(run, name, settings, environment) for name in INIT_JOBS]:
            future.result()
    stamp.write_text(inputs)


def reset(settings: Settings) -> None:
    """Make the next start run the init jobs, whatever their inputs are."""
    _stamp(settings).unlink(missing_ok=True)


def _stamp(settings: Settings) -> Path:
    return State.of(settings).run / "initialised"


def run(name: str, settings: Settings, environment: Mapping[str, str]) -> None:
    """Run one init job and write its output to its log; raise StackError if it fails."""
    state = State.of(settings)
    argv = (str(state.python(image_of(name))), *runtime_module(MODULES[name])[1:])
    command = runner.Command(argv, env=service_environment(environment, name))
    try:
        output = runner.run(command, timeout=TIMEOUT_SECONDS).output
    except StackError as error:
        raise StackError(f"The init job {name} failed.", str(error)) from None
    (state.logs / f"{name}.log").write_text(output)
