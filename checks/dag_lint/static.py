"""List the DAG files of a folder, and check their sources and those of modules they import."""

import json
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pathspec

from checks.dag_lint import arguments, conventions
from checks.dag_lint.findings import RULES, Finding
from checks.dag_lint.import_time import Code
from orchestration.errors import StackError
from orchestration.process import runner

CALLS = {rule: re.compile("|".join(one.calls)) for rule, one in RULES.items() if one.calls}


@dataclass
class Sources:
    """The findings, DAGs and queues of the sources, and the text of each file for its waivers."""

    findings: list[Finding] = field(default_factory=list)
    dags: list[conventions.Dag] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)
    queues: arguments.Queues = field(default_factory=dict)


def dag_files(path: Path) -> list[Path]:
    """Return the DAG files of a folder in order, or the one file given.

    These are the files that Airflow's safe mode selects: Python and zip files that contain `dag`
    and `airflow`, except those that an `.airflowignore` in their folder or above excludes. Raises
    StackError if there is none.
    """
    if not path.exists():
        raise StackError(f"{path} does not exist.", fix="nox -s dag_lint -- FOLDER")
    if path.is_file():
        return [path]
    files = [file for file in sorted(_not_ignored(path, [])) if _may_contain_dag(file)]
    if not files:
        raise StackError(f"{path} has no DAG file: none contains both the words dag and airflow.")
    return files


def left_out(path: Path) -> list[Path]:
    """Return the Python files of a folder that Airflow's safe mode leaves out, in order."""
    files = sorted(_not_ignored(path, [])) if path.is_dir() else []
    return [file for file in files if file.suffix == ".py" and not _may_contain_dag(file)]


def _may_contain_dag(path: Path) -> bool:
    """Apply Airflow's heuristic (safe mode): the words `dag` and `airflow` in any case."""
    if path.suffix == ".zip":
        return zipfile.is_zipfile(path)
    content = path.read_bytes().lower()
    return b"dag" in content and b"airflow" in content


def _not_ignored(folder: Path, above: list[tuple[Path, pathspec.GitIgnoreSpec]]) -> Iterator[Path]:
    """Yield the Python and zip files under a folder; `above` are the rules of its parents."""
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


def read(files: Iterable[Path], root: Path) -> Sources:
    """Read the DAG files of a folder and the modules in it that they import."""
    sources = Sources()
    dag_files = {path for path in files if path.suffix == ".py"}
    waiting = list(dag_files)
    while waiting:
        path = waiting.pop()
        if path in sources.texts:
            continue
        # Bytes that are not UTF-8 stay visible as escapes.
        code = Code(path, path.read_text(encoding="utf-8", errors="backslashreplace"))
        sources.texts[path] = code.text
        sources.findings += findings(code)
        sources.queues |= arguments.queues(code)
        sources.dags += conventions.dags(code) if path in dag_files else []
        waiting += filter(None, (_module(root, name) for _, name in code.imports))
    return sources


def findings(code: Code) -> Iterator[Finding]:
    """Yield all findings of one source."""
    if code.syntax_error:
        yield code.syntax_error
    for call in code.calls():
        name = code.dotted(call.func)
        if rule := next((rule for rule, calls in CALLS.items() if calls.fullmatch(name)), ""):
            why = f"{name.replace('()', '(…)')}(…) at the top of the file"
            yield Finding(code.path, call.lineno, rule, why)
    for line, name in code.imports:
        if (top := name.partition(".")[0]) in RULES["heavy-import"].imports:
            yield Finding(
                code.path, line, "heavy-import", f"import of {top} at the top of the file"
            )
    yield from conventions.moving_start_dates(code)
    yield from arguments.findings(code)


def _module(root: Path, dotted: str) -> Path | None:
    """Return the file of the DAGs folder that a dotted name imports, or None."""
    if dotted.startswith("include."):
        root = root.parent if (root.parent / "include").is_dir() else root
    # The name is a module or a member of one: `ml.data`, `ml.data.load`.
    for name in filter(None, (dotted, dotted.rpartition(".")[0])):
        for end in (".py", "/__init__.py"):
            if (path := root / f"{name.replace('.', '/')}{end}").is_file():
                return path
    return None


def ruff_findings(files: Collection[Path]) -> list[Finding]:
    """Return the findings of ruff's rules for Airflow 3, except a rule for newer versions.

    `noqa` comments are ignored. Raises StackError if ruff's output is not JSON.
    """
    argv = ["ruff", "check", "--isolated", "--preview", "--select=AIR", "--ignore=AIR321"]
    argv += ["--ignore-noqa", "--exit-zero", "--output-format=json", "--no-cache"]
    if not files:
        return []
    output = runner.run(runner.Command([*argv, *map(str, files)])).output
    try:
        # Skip warnings about invalid syntax before the list: our own rule reports it.
        rows = json.loads(output[output.index("[\n") if "[\n" in output else output.index("[]") :])
    except ValueError:
        raise StackError(f"ruff's output is not JSON:\n{runner.tail(output)}") from None
    return [
        Finding(
            Path(one["filename"]),
            one["location"]["row"],
            one["code"],
            one["message"],
            # For a moved name, this is the new one.
            (one["fix"] or {}).get("message", "").rstrip("."),
        )
        for one in rows
        if (one["code"] or "").startswith("AIR")
    ]
