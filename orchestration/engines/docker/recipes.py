"""What each image of a clone is built from. A changed file or setting makes an image outdated."""

import os
from collections.abc import Iterator
from pathlib import Path

from orchestration import checksums
from orchestration.settings.model import Settings

# Paths in install/, with the version of Airflow as {0}. Your own requirements.txt, packages.txt and
# wheels are not among them, because only `inv rebuild` applies them, with tests.
FILES = {
    "airflow": (
        *("airflow.dockerfile", "airflow-entrypoint.sh", "leave_out_tests.sh", "uv.lock"),
        *("airflow/{0}/airflow.lock", "airflow/{0}/stock.lock", "airflow/{0}/requirements.lock"),
    ),
    "mlflow": ("mlflow.dockerfile", "leave_out_tests.sh", "uv.lock", "mlflow.lock"),
    "status": ("status.dockerfile", "uv.lock", "status.lock", "../status"),
    "tls": ("tls.dockerfile",),
}
ARGUMENTS = ("DEBIAN_IMAGE", "AIRFLOW_BASE_IMAGE")


def tag(settings: Settings, image: str) -> str:
    """Return the tag of an image that is made from the current files and settings."""
    install, version = settings.root / "install", settings["AIRFLOW_VERSION"]
    files = (path for name in FILES[image] for path in _files(install / name.format(version)))
    contents = {str(os.path.relpath(path, install)): checksums.sha256_of(path) for path in files}
    arguments = {name: settings[name] for name in ARGUMENTS}
    return f"recipe-{checksums.digest_of_files({**contents, **arguments})['digest']}"


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = (file for file in path.rglob("*") if "__pycache__" not in file.parts)
        yield from (file for file in found if file.is_file())
    elif path.exists():
        yield path
