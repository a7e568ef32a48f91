"""The Python that services run on without containers: found by uv, or to be fetched by it."""

from concurrent.futures import ThreadPoolExecutor

from orchestration.dependencies import uv
from orchestration.errors import Problem, StackError
from orchestration.host.reachability import headers_of
from orchestration.process import runner
from orchestration.settings.model import Settings

PYTHON = "3.11"
# Where uv looks last, unless a mirror is set.
BUILDS = "https://github.com/astral-sh/python-build-standalone"
UV_SECONDS = 5
MISSING = Problem(
    "engine-unfit",
    f"Airflow and MLflow need Python {PYTHON}. None was found or can be downloaded.",
    f"Install it (Debian 12: sudo apt-get install python{PYTHON}), then run: inv install",
    "engine",
)


def is_found(settings: Settings) -> bool:
    """uv finds it on this machine."""
    try:
        _ask(settings, "find", PYTHON)
    except StackError:
        return False
    return True


def is_offered(settings: Settings) -> bool:
    """A place that uv would fetch it from answers; whether uv then gets it, it alone knows."""
    try:
        told = _ask(settings, "list", "--only-downloads", "--show-urls", f"cpython-{PYTHON}")
    except StackError:
        return False
    places = [*(word for word in told.split() if "://" in word), BUILDS]

    def answers(place: str) -> bool:
        local = place.startswith("file:")
        return local or headers_of(place, settings["CA_BUNDLE"]) is not None

    with ThreadPoolExecutor() as pool:
        return any(pool.map(answers, places))


def _ask(settings: Settings, *question: str) -> str:
    return runner.run(uv.command(settings, "python", *question), timeout=UV_SECONDS).output
