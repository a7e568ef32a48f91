"""The versions of Airflow and MLflow, which own the schemas of the databases."""

import hashlib

from orchestration.dependencies import requirements
from orchestration.settings.model import Settings

Versions = dict[str, str]
LABELS = {"airflow": "Airflow", "mlflow": "MLflow"}


def locked(settings: Settings) -> Versions:
    """Return the version of Airflow in .env, and the version of MLflow in its lock."""
    text = (settings.root / "install" / "mlflow.lock").read_text(encoding="utf-8")
    pinned = dict(requirements.PINNED.findall(text))
    return {"airflow": settings["AIRFLOW_VERSION"], "mlflow": pinned["mlflow"]}


def digest(settings: Settings) -> str:
    """Return a digest of everything that the builds of these versions are made of."""
    install = settings.root / "install"
    files = [*sorted(settings.airflow_locks.glob("*.lock")), install / "mlflow.lock"]
    files += [install / "packages.txt"]
    content = b"".join(file.read_bytes() for file in files if file.exists())
    return hashlib.sha256(content).hexdigest()


def text(versions: Versions) -> str:
    """Return versions as words: `Airflow 3.0.1 and MLflow 3.17.2`."""
    return " and ".join(f"{LABELS[name]} {version}" for name, version in versions.items())
