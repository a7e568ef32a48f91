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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Packages whose versions affect a schema, an account or a patch. Other packages are for DAGs only.
RELEVANT_PACKAGES = re.compile(
    r"airflow|mlflow|alembic|sqlalchemy|appbuilder|celery|structlog|botocore", re.IGNORECASE
)
COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
# Markers of older stacks name no version.
FIRST_VERSIONS = {"apache-airflow": "3.0.1", "mlflow": "3.17.2"}
RUNTIME = Path(__file__).parents[1]


@dataclass(frozen=True)
class Marker:
    """The digest of all inputs, the inactive patches with reasons, and the unneeded ones.

    `versions` are those of packages, first the one that owns the schema. Markers of older stacks
    have none.
    """

    digest: str
    inactive_patches: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    unneeded_patches: Sequence[str] = ()


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


def installed_versions(marker: Marker | None, *packages: str) -> dict[str, str]:
    """Return the versions of packages; the first one owns the schema.

    Exits if the database is of another version: its migration needs copies and a rehearsal.
    """
    versions, owner = {package: version(package) for package in packages}, packages[0]
    if marker:
        current = marker.versions.get(owner, FIRST_VERSIONS[owner])
        if current != versions[owner]:
            sys.exit(
                f"The database is of {owner} {current}, and this is {versions[owner]}.\n"
                "Run: inv upgrade --help"
            )
    return versions


def write(cursor: Any, database: str, marker: Marker) -> None:
    """Write the marker of a database. Only the owner of the database can do that."""
    text = json.dumps(asdict(marker))
    cursor.execute(f'COMMENT ON DATABASE "{database}" IS %s', (text,))
