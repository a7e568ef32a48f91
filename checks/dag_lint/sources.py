"""Which files of a folder are DAG files, as Airflow decides it, and their syntax trees."""

import ast
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pathspec

from checks.dag_lint.findings import Finding
from orchestration.errors import StackError

IGNORED = ".airflowignore"


@dataclass
class Source:
    """A Python file: its text, and its tree where it has one."""

    path: Path
    root: Path
    text: str
    broken: Finding | None = field(default=None, init=False)

    @classmethod
    def read(cls, path: Path, root: Path) -> "Source":
        """A file of a DAGs folder; bytes that are not UTF-8 are shown as such."""
        return cls(path, root, path.read_text(encoding="utf-8", errors="backslashreplace"))

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree, empty where the file has none; `broken` tells why."""
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None) or 1
            self.broken = Finding(self.path, line, "syntax", getattr(error, "msg", str(error)))
            return ast.Module([], [])

    def module(self, dotted: str) -> Path | None:
        """The file of this source's DAGs folder that a dotted name imports, if it is one."""
        # A name is a module or something in it: `ml.data`, `ml.data.load`.
        for name in (dotted, dotted.rpartition(".")[0]):
            place = self.root.joinpath(*name.split("."))
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if name and path.is_file():
                    return path
        return None


def dag_files(given: Path) -> list[Path]:
    """The DAG files of a folder, or the one file given, in order.

    As Airflow's safe mode: Python files and zip files that speak of a DAG and of Airflow, without
    those that an `.airflowignore` of their folder or one above names. Raises StackError where
    there is nothing to look at.
    """
    if not given.exists():
        raise StackError(f"{given} does not exist: nox -s dag_lint -- FOLDER")
    if given.is_file():
        return [given]
    found = [path for path in sorted(_allowed(given, [])) if may_hold_a_dag(path)]
    if not found:
        raise StackError(f"{given} holds no DAG file: one has the words dag and airflow in it")
    return found


def may_hold_a_dag(path: Path) -> bool:
    """Airflow's own guess (safe mode): the words `dag` and `airflow` in any case."""
    if path.suffix == ".zip":
        return zipfile.is_zipfile(path)
    content = path.read_bytes().lower()
    return b"dag" in content and b"airflow" in content


def _allowed(folder: Path, above: list[tuple[Path, pathspec.GitIgnoreSpec]]) -> Iterator[Path]:
    rules = list(above)
    if (own := folder / IGNORED).is_file():
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
        rules.append((folder, pathspec.GitIgnoreSpec.from_lines(lines)))
    for path in sorted(folder.iterdir()):
        name = "/" * path.is_dir()
        if any(spec.match_file(f"{path.relative_to(base)}{name}") for base, spec in rules):
            continue
        if path.is_dir():
            if path.name not in ("__pycache__", ".git"):
                yield from _allowed(path, rules)
        elif path.suffix in (".py", ".zip"):
            yield path
