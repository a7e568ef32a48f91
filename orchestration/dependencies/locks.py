"""The lock files in install/: their sources and how they are compiled."""

from collections.abc import Mapping

from orchestration.dependencies import uv
from orchestration.process import runner
from orchestration.settings.model import Settings

# Airflow's dependencies are resolved as of the release of 3.0.1, with which it was tested.
AIRFLOW_RELEASED = "2025-05-13T00:00:00Z"
# Packages whose versions of that day have faults, and the day until which they are resolved. uv has
# the version of uv.in.
AIRFLOW_NEWER = (
    *("--exclude-newer-package", "apache-airflow-providers-smtp=2025-10-15T00:00:00Z"),
    *("--exclude-newer-package", "apache-airflow-providers-standard=2025-10-15T00:00:00Z"),
    *("--exclude-newer-package", "uv=false"),
)
ANY_PLATFORM = ("--universal", "--python-version", "3.11")
IMAGES = ("--python-version", "3.11", "--python-platform", "linux")

LOCKS: Mapping[str, tuple[str, ...]] = {
    "uv.lock": ("uv.in", *ANY_PLATFORM),
    "host.lock": ("--group", "../pyproject.toml:checks", *ANY_PLATFORM),
    "airflow.lock": ("airflow.in", "--exclude-newer", AIRFLOW_RELEASED, *AIRFLOW_NEWER, *IMAGES),
    "requirements.lock": ("requirements.txt", "--constraints", "airflow.lock", *IMAGES),
    # The packages in an image layer that stays the same while requirements.txt changes.
    "stock.lock": (
        *("requirements.txt", "--constraints", "airflow.lock"),
        *("--constraints", "requirements.lock", "--no-annotate", *IMAGES),
    ),
    "mlflow.lock": ("mlflow.in", *IMAGES),
    "status.lock": ("status.in", *IMAGES),
    "pytest.lock": ("pytest.in", "--constraints", "airflow.lock", *IMAGES),
    "audit.lock": ("audit.in", *ANY_PLATFORM),
    "bench.lock": ("bench.in", *IMAGES),
    "s3.lock": ("s3.in", *IMAGES),
    # Only the tables in the packages are used, so their dependencies are not needed.
    "problems.lock": ("problems.in", "--no-deps", *IMAGES),
    "page.lock": ("page.in", "status.in", "--constraints", "status.lock", *IMAGES),
    "base/postgres.lock": ("base/postgres.in", "--no-deps", *IMAGES),
}


def compile_lock(lock: str, settings: Settings) -> None:
    """Compile one lock file; pins that still satisfy the requirements are kept.

    Raises StackError with uv's message if a requirement cannot be satisfied.
    """
    argv = ("pip", "compile", "--quiet", *LOCKS[lock], "--generate-hashes")
    argv += ("--custom-compile-command", "inv lock", "--output-file", lock)
    runner.run(uv.command(settings, *argv, folder=settings.root / "install"))
