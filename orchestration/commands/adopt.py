"""`inv adopt`: turn a table into a problem with its own training, monitoring and scoring."""

import json
import keyword
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestration import lifecycle
from orchestration.engines.base import Engine
from orchestration.errors import StackError, UsageError
from orchestration.files import atomic_write
from orchestration.process import runner
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings.model import SOURCE_OF, Settings

NAME = re.compile("[a-z][a-z0-9-]{0,49}")
KINDS = ("binary", "multiclass", "regression")
SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
# Where files for the pipelines are, next to the folder with the DAGs.
DATASETS = "datasets"
START = """
import os, sys
sys.path.insert(0, os.environ.get("AIRFLOW__CORE__DAGS_FOLDER", "/opt/airflow/dags"))
from ml import adopt
sys.exit(adopt.main(sys.argv[1:]))
"""
DAG_FILE = '''\
"""The DAGs of {name}: Airflow finds training, monitoring and scoring here."""

import pipelines
from problems.{module} import PROBLEM

pipelines.create(PROBLEM)
'''
BUCKET = "s3://"
EXAMPLE = "inv adopt --file FILE --name NAME --target COLUMN [--time COLUMN]"


@dataclass(frozen=True)
class Options:
    """The arguments of the command."""

    file: str = ""
    name: str = ""
    target: str = ""
    time: str = ""
    kind: str = ""
    check: str = ""
    list: bool = False
    json: bool = False


@dataclass(frozen=True)
class Place:
    """The files of a problem in a clone."""

    root: Path
    module: str

    @property
    def problem(self) -> Path:
        """The description."""
        return self.root / "dags" / "problems" / f"{self.module}.py"

    @property
    def dag_file(self) -> Path:
        """The file in which Airflow finds the DAGs."""
        return self.root / "dags" / f"{self.module}_pipelines.py"

    @property
    def data(self) -> Path:
        """The folder for the problem's own tables."""
        return self.root / DATASETS / self.module

    def existing(self) -> list[Path]:
        """Return the files that exist already, including a description that is a folder."""
        paths = (self.problem, self.problem.with_suffix(""), self.dag_file, self.data)
        return [path for path in paths if path.exists()]

    def remove(self) -> None:
        """Remove the files that `_create` wrote."""
        self.problem.unlink(missing_ok=True)
        self.dag_file.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)


def run(project: Project, options: Options) -> None:
    """Describe a table as a problem and try it, or check or list the existing problems.

    Raises StackError, and leaves no file, if the table cannot be used. Never overwrites a file.
    """
    root = project.settings().project_dir
    if options.list:
        names = _names(root)
        print(json.dumps(names) if options.json else "\n".join(names))
        return
    if not options.check:
        _require_valid(options)
    settings, engine = lifecycle.working_engine(project)
    if not engine.is_built():
        raise StackError("The stack is not built yet.", fix="inv install")
    if options.check:
        _show(options, _call(engine, "check", options.check))
        return
    place = Place(root, options.name.replace("-", "_"))
    if existing := place.existing():
        raise StackError(
            f"{existing[0].relative_to(root)} exists already.",
            fix=f"Use another name, or try the existing problem: inv adopt --check {options.name}",
        )
    if options.file.startswith(BUCKET):
        _require_setting(settings, options, place)
    _show(options, _create(engine, options, place))


def _names(root: Path) -> list[str]:
    """Return the names of the problems' modules."""
    entries = (root / "dags" / "problems").iterdir()
    names = (path.stem for path in entries if not path.name.startswith((".", "_")))
    return sorted(name for name in names if name.isidentifier())


def _require_valid(options: Options) -> None:
    missing = [name for name in ("file", "name", "target") if not getattr(options, name)]
    if missing:
        raise UsageError(f"Missing: --{', --'.join(missing)}.", fix=EXAMPLE)
    if not NAME.fullmatch(options.name) or keyword.iskeyword(options.name):
        cause = f"{options.name!r} cannot be the name of a problem."
        raise UsageError(
            cause, fix="Start with a letter. Use up to 50 lower-case letters, digits and hyphens."
        )
    if options.kind not in ("", *KINDS):
        raise UsageError(f"Unknown kind: {options.kind}.", fix=f"Use one of: {', '.join(KINDS)}")
    if not options.file.endswith(SUFFIXES):
        raise UsageError(f"{options.file} is neither a CSV nor a Parquet file.",
                         fix=f"Use a file that ends in {', '.join(SUFFIXES)}.")  # fmt: skip


def _require_setting(settings: Settings, options: Options, place: Place) -> None:
    """Raise StackError unless a setting has the bucket: only then tasks get its keys."""
    name = f"{SOURCE_OF}{place.module.upper()}"
    if not settings.values.get(name, "").startswith(BUCKET):
        line = f"{name}={options.file}"
        raise StackError(
            "Tasks get the keys of a bucket only if a setting names it.",
            fix=f"Add this line to .env, and repeat the command: {line}",
        )


def _create(engine: Engine, options: Options, place: Place) -> dict[str, Any]:
    """Write the files of a problem, or none."""
    with Progress(Console(stderr=True, highlight=False)) as progress:
        try:
            progress.show([(options.name, "wait", "reading the table and training on a sample")])
            result = _call(engine, "describe", json.dumps(_arguments(options, place)))
            place.problem.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(place.problem, result.pop("problem"), 0o644)
            text = DAG_FILE.format(name=options.name, module=place.module)
            atomic_write(place.dag_file, text, 0o644)
            # Long names of columns need other line breaks.
            _run_tool(place, "ruff", "format", str(place.problem))
            progress.show([(options.name, "wait", "checking the DAG file")])
            _require_valid_dags(place)
        except BaseException:
            place.remove()
            raise
    written = [place.problem, place.dag_file, *([place.data] if place.data.exists() else [])]
    return result | {"written": [str(path.relative_to(place.root)) for path in written]}


def _arguments(options: Options, place: Place) -> dict[str, str]:
    """Return the arguments of `ml.adopt`. Copies a local file to where the services read it."""
    source = file = options.file
    if not options.file.startswith(BUCKET):
        path = Path(options.file).expanduser()
        if not path.is_file():
            raise StackError(f"There is no file {path}.")
        try:
            place.data.mkdir(parents=True)
            # Without a time, new files must sort after this one.
            name = path.name if options.time else f"0-{path.name}"
            copy = Path(shutil.copy(path, place.data / name))
        except OSError as error:
            raise StackError(f"{path} cannot be copied: {error}.") from None
        for entry, mode in ((place.data.parent, 0o755), (place.data, 0o755), (copy, 0o644)):
            entry.chmod(mode)
        source, file = f"{DATASETS}/{place.module}/", f"{DATASETS}/{place.module}/{copy.name}"
    columns = {"target": options.target, "time": options.time, "kind": options.kind}
    return {"file": file, "source": source, "name": options.name, **columns}


def _call(engine: Engine, action: str, argument: str) -> dict[str, Any]:
    """Run `ml.adopt` where tasks run. Raises StackError with the reason if it fails."""
    worker = "airflow-worker"
    service = worker if worker in engine.services() else "airflow-scheduler"
    argv = ("python", "-c", START, action, argument)
    result = runner.run(engine.command(service, argv, fresh=True), check=False)
    if result.code and result.code != 1:
        # Docker's or the kernel's exit code, such as 137 for a process that used too much memory.
        raise StackError(f"The trial exited with {result.code}.\n{result.failure_output}")
    document: dict[str, Any] = result.document()
    if error := document.get("error"):
        is_known = action == "check" and not error.startswith("there is no problem")
        raise StackError(f"{error}.", fix=f"inv adopt --check {argument}" if is_known else "")
    return document


def _require_valid_dags(place: Place) -> None:
    """Run `nox -s dag_lint` for the new DAG file. Raises StackError with its findings."""
    if output := _run_tool(place, "nox", "-s", "dag_lint", "--", str(place.dag_file)):
        raise StackError(f"`nox -s dag_lint` failed for the new DAG file.\n{output}")


def _run_tool(place: Place, *argv: str) -> str:
    """Run a tool of this environment, and return its last lines if it fails."""
    command = runner.Command((sys.executable, "-m", *argv), cwd=place.root)
    return runner.run(command, check=False).failure_output


def _show(options: Options, result: Mapping[str, Any]) -> None:
    if options.json:
        print(json.dumps(dict(result)))
        return
    for warning in result.get("warnings", ()):
        print(f"warning: {warning}")
    print(f"{result['trained_rows']:,} rows trained, {result['held_out_rows']:,} held out")
    for name, line in result["lines"].items():
        print(f"{name:<12}{line}")
    if written := result.get("written"):
        print(f"Written: {', '.join(written)}")
    if options.file.startswith(BUCKET):
        print("Run: inv up")
    print(f"Run: inv trigger {result['dag_ids'][0]} --wait")
