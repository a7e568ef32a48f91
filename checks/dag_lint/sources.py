"""Which files of a folder are DAG files, as Airflow decides it."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pathspec

from orchestration.errors import StackError


def dag_files(path: Path) -> list[Path]:
    """Return the DAG files of a folder, or the one file given, in order.

    As Airflow's safe mode: Python files and zip files that speak of a DAG and of Airflow, without
    those that an `.airflowignore` of their folder or one above names. Raises StackError where
    there is none.
    """
    if not path.exists():
        raise StackError(f"{path} does not exist: nox -s dag_lint -- FOLDER")
    if path.is_file():
        return [path]
    files = [file for file in sorted(_not_ignored(path, [])) if _may_hold_a_dag(file)]
    if not files:
        raise StackError(f"{path} holds no DAG file: one has the words dag and airflow in it")
    return files


def _may_hold_a_dag(path: Path) -> bool:
    """Return Airflow's own guess (safe mode): the words `dag` and `airflow` in any case."""
    if path.suffix == ".zip":
        return zipfile.is_zipfile(path)
    content = path.read_bytes().lower()
    return b"dag" in content and b"airflow" in content


def _not_ignored(folder: Path, above: list[tuple[Path, pathspec.GitIgnoreSpec]]) -> Iterator[Path]:
    """Yield the Python and zip files under a folder; `above` is what folders above ignore."""
    rules = list(above)
    if (own := folder / ".airflowignore").is_file():
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
        rules.append((folder, pathspec.GitIgnoreSpec.from_lines(lines)))
    for path in sorted(folder.iterdir()):
        end = "/" * path.is_dir()
        if any(spec.match_file(f"{path.relative_to(base)}{end}") for base, spec in rules):
            continue
        if path.is_dir():
            if path.name not in ("__pycache__", ".git"):
                yield from _not_ignored(path, rules)
        elif path.suffix in (".py", ".zip"):
            yield path
