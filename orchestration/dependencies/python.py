"""Find the Python that standalone services run on, or a download of it."""

from concurrent.futures import ThreadPoolExecutor

from orchestration.dependencies import uv
from orchestration.errors import Problem, StackError
from orchestration.host.reachability import fetch_headers
from orchestration.process import runner
from orchestration.settings.model import Settings

PYTHON = "3.11"
# Where uv downloads from, unless a mirror is set.
BUILDS = "https://github.com/astral-sh/python-build-standalone"
UV_SECONDS = 5
MISSING = Problem(
    "engine-unfit",
    f"Airflow and MLflow need Python {PYTHON}. It is not installed and cannot be downloaded.",
    f"Install it (Debian 12: sudo apt-get install python{PYTHON}), then run: inv install",
    "engine",
)


def is_installed(settings: Settings) -> bool:
    """Return whether uv finds the required Python on this machine."""
    try:
        _uv_python(settings, "find", PYTHON)
    except StackError:
        return False
    return True


def is_downloadable(settings: Settings) -> bool:
    """Return whether any address answers that uv would download the required Python from."""
    try:
        options = ("--only-downloads", "--show-urls", f"cpython-{PYTHON}")
        builds = _uv_python(settings, "list", *options)
    except StackError:
        return False
    addresses = [*(word for word in builds.split() if "://" in word), BUILDS]

    def answers(address: str) -> bool:
        is_local = address.startswith("file:")
        return is_local or fetch_headers(address, settings["CA_BUNDLE"]) is not None

    with ThreadPoolExecutor() as pool:
        return any(pool.map(answers, addresses))


def _uv_python(settings: Settings, *arguments: str) -> str:
    return runner.run(uv.command(settings, "python", *arguments), timeout=UV_SECONDS).output
