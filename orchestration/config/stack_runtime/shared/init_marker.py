"""The marker of an init job: what it brought a database to, kept as the database's comment.

With it the next start need not import Airflow or MLflow to see that nothing is to be done. A
database that was restored or recreated has no comment, and one that was renamed keeps its own.
The marker holds a digest of everything the result was made from, which reveals nothing, and the
patches that are not active in this environment, for the status page to show.
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

# Packages whose versions decide a schema, an account or a patch, unlike what DAGs need besides.
RELEVANT_PACKAGES = re.compile(
    r"airflow|mlflow|alembic|sqlalchemy|appbuilder|celery|structlog|botocore", re.IGNORECASE
)
COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
RUNTIME = Path(__file__).parents[1]


@dataclass(frozen=True)
class Marker:
    """A digest of what a database was made from, and the patches that are not active, by name."""

    digest: str
    inactive_patches: Mapping[str, str]


def digest(found: Iterable[object], *, key: str) -> str:
    """Return a digest of the relevant packages, of all of `stack_runtime` and of `found`.

    With a secret as key, the result may depend on further secrets: nobody can guess them from it.
    """
    parts = [*_packages(), *_files(RUNTIME), *map(repr, found)]
    return hmac.new(key.encode(), "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def _packages() -> Iterable[str]:
    # The folders' names hold the versions.
    there = (path.name for place in sys.path for path in Path(place).glob("*.dist-info"))
    return sorted(name for name in there if RELEVANT_PACKAGES.search(name))


def _files(folder: Path) -> Iterable[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"{path.relative_to(folder)} {content}"


def read(cursor: Any, database: str) -> Marker | None:
    """Return a database's marker, or None if it has none of this form."""
    cursor.execute(COMMENT, (database,))
    row = cursor.fetchone()
    try:
        return Marker(**json.loads((row and row[0]) or ""))
    except (ValueError, TypeError):
        return None


def write(cursor: Any, database: str, marker: Marker) -> None:
    """Write a database's marker; only its owner can."""
    text = json.dumps({"digest": marker.digest, "inactive_patches": {**marker.inactive_patches}})
    cursor.execute(f'COMMENT ON DATABASE "{database}" IS %s', (text,))
