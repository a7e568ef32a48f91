"""The lock files in install/: their sources and how they are compiled."""

from collections.abc import Mapping

from orchestration.dependencies import uv
from orchestration.process import runner
from orchestration.settings.model import Settings

# Airflow's dependencies are resolved as of the day after its release, with which it was tested.
AIRFLOW_RELEASED = {"3.0.1": "2025-05-13", "3.0.6": "2025-08-30", "3.3.2": "2026-09-18"}
# Packages whose versions of that day have faults, and the day until which they are resolved.
NEWER_PROVIDERS = {
    "apache-airflow-providers-smtp": "2025-10-15T00:00:00Z",
    "apache-airflow-providers-standard": "2025-10-15T00:00:00Z",
}
ANY_PLATFORM = ("--universal", "--python-version", "3.11")
# In the folder of a version of Airflow: the packages of requirements.txt.
REQUIREMENTS = "requirements.lock"
IMAGES = ("--python-version", "3.11", "--python-platform", "linux")


def airflow_locks(version: str) -> dict[str, tuple[str, ...]]:
    """Return the locks of one version of Airflow, in the order in which they are compiled."""
    folder, released = f"airflow/{version}", AIRFLOW_RELEASED[version]
    # uv has the version of uv.in.
    newer = {"uv": "false"} if released > "2026" else {"uv": "false", **NEWER_PROVIDERS}
    dates = [f"--exclude-newer-package={name}={date}" for name, date in newer.items()]
    airflow, yours = f"{folder}/airflow.lock", f"{folder}/{REQUIREMENTS}"
    from_requirements = ("requirements.txt", "--constraints", airflow)
    return {
        airflow: (f"{folder}/airflow.in", f"--exclude-newer={released}T00:00:00Z", *dates, *IMAGES),
        yours: (*from_requirements, *IMAGES),
        # The packages in an image layer that stays the same while requirements.txt changes.
        f"{folder}/stock.lock": (
            *(*from_requirements, "--constraints", yours, "--no-annotate", *IMAGES),
        ),
    }


LOCKS: Mapping[str, tuple[str, ...]] = {
    "uv.lock": ("uv.in", *ANY_PLATFORM),
    "host.lock": ("--group", "../pyproject.toml:checks", *ANY_PLATFORM),
    **airflow_locks("3.0.1"),
    **airflow_locks("3.0.6"),
    **airflow_locks("3.3.2"),
    "mlflow.lock": ("mlflow.in", *IMAGES),
    "status.lock": ("status.in", *IMAGES),
    "pytest.lock": ("pytest.in", "--constraints", "airflow/3.0.1/airflow.lock", *IMAGES),
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
