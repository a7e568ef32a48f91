"""The *.lock files: what each is made of, and how it is compiled."""

from collections.abc import Mapping

from orchestration.dependencies import uv
from orchestration.process import runner
from orchestration.settings.model import Settings

# Airflow's own world is resolved as of 3.0.1's release: what it was tested with.
AIRFLOW_RELEASED = "2025-05-13T00:00:00Z"
ANY_PLATFORM = ("--universal", "--python-version", "3.11")
IMAGES = ("--python-version", "3.11", "--python-platform", "linux")

LOCKS: Mapping[str, tuple[str, ...]] = {
    "uv.lock": ("uv.in", *ANY_PLATFORM),
    "host.lock": ("--group", "../pyproject.toml:checks", *ANY_PLATFORM),
    "airflow.lock": ("airflow.in", "--exclude-newer", AIRFLOW_RELEASED, *IMAGES),
    "requirements.lock": ("requirements.txt", "--constraints", "airflow.lock", *IMAGES),
    # What stays in its layer of the image while requirements.txt changes.
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
    "page.lock": ("page.in", "status.in", "--constraints", "status.lock", *IMAGES),
    "base/postgres.lock": ("base/postgres.in", "--no-deps", *IMAGES),
}


def compile_one(lock: str, settings: Settings) -> None:
    """Compile one lock; pins that still fit stay as they are.

    Raises StackError with uv's words where a requirement cannot be met.
    """
    argv = ("pip", "compile", "--quiet", *LOCKS[lock], "--generate-hashes")
    argv += ("--custom-compile-command", "inv lock", "--output-file", lock)
    runner.run(uv.command(settings, *argv, folder=settings.root / "install"))
