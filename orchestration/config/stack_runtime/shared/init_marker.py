"""Marker of an init job, stored as the comment of the database that it initialized.

With it, the next start can skip all work without importing Airflow or MLflow. A restored or
recreated database has no comment; a renamed one keeps its own. The marker contains a digest of all
inputs, which reveals nothing. It also lists the inactive patches, for the status page.
"""

import hashlib
import hmac
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Packages whose versions affect a schema, an account or a patch. Other packages are for DAGs only.
RELEVANT_PACKAGES = re.compile(
    r"airflow|mlflow|alembic|sqlalchemy|appbuilder|celery|structlog|botocore", re.IGNORECASE
)
COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
RUNTIME = Path(__file__).parents[1]


@dataclass(frozen=True)
class Marker:
    """The digest of all inputs, and the inactive patches: name and reason."""

    digest: str
    inactive_patches: Mapping[str, str]


def digest(rows: Iterable[object], *, key: str) -> str:
    """Return a digest of the relevant packages, all files of `stack_runtime`, and `rows`.

    If the key is secret, the rows may contain secrets: nobody can guess them from the digest.
    """
    parts = [*_packages(), *_files(RUNTIME), *map(repr, rows)]
    return hmac.new(key.encode(), "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def _packages() -> Iterable[str]:
    # The names of these folders contain the versions.
    names = (path.name for place in sys.path for path in Path(place).glob("*.dist-info"))
    return sorted(name for name in names if RELEVANT_PACKAGES.search(name))


def _files(folder: Path) -> Iterable[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"{path.relative_to(folder)} {content}"


def read(cursor: Any, database: str) -> Marker | None:
    """Return the marker of a database, or None if it has no valid one."""
    cursor.execute(COMMENT, (database,))
    row = cursor.fetchone()
    try:
        return Marker(**json.loads((row and row[0]) or ""))
    except (ValueError, TypeError):
        return None


def write(cursor: Any, database: str, marker: Marker) -> None:
    """Write the marker of a database. Only the owner of the database can do that."""
    text = json.dumps({"digest": marker.digest, "inactive_patches": {**marker.inactive_patches}})
    cursor.execute(f'COMMENT ON DATABASE "{database}" IS %s', (text,))
