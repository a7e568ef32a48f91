"""`inv adopt`: turn a table into a problem with its own training, monitoring and scoring."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration import lifecycle
from orchestration.engines.base import Engine
from orchestration.errors import StackError, UsageError
from orchestration.files import atomic_write
from orchestration.process import runner
from orchestration.process.progress import Progress
from orchestration.project import Project
from orchestration.settings.model import Settings

NAME = re.compile("[a-z][a-z0-9-]{0,49}")
KINDS = ("binary", "multiclass", "regression")
SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
# Where files for the pipelines are, next to the folder with the DAGs.
DATASETS = "datasets"
START = """
import os, sys
sys.path.insert(0, os.environ.get("AIRFLOW__CORE__DAGS_FOLDER", "/opt/airflow/dags"))
from ml import adopt
sys.exit(adopt.main())
"""
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


def run(project: Project, options: Options) -> None:
    """Describe a table as a problem and try it, or check or list the existing problems.

    Raises StackError, and leaves no file, if the table cannot be used. Never overwrites a file.
    """
    if options.list:
        print("\n".join(_names(project.settings())))
        return
    _require_valid(options)
    settings, engine = lifecycle.working_engine(project)
    if not engine.is_built():
        raise StackError("The stack is not built yet.", fix="inv install")
    if options.check:
        result = _call(settings, engine, "check", {"name": options.check})
        _show(options, options.check, result)
        return
    _require_new(settings, options.name)
    _create(settings, engine, options)


def _require_valid(options: Options) -> None:
    if options.check:
        return
    missing = [name for name in ("file", "name", "target") if not getattr(options, name)]
    if missing:
        raise UsageError(f"--{', --'.join(missing)} is missing.", fix=f"Run: {EXAMPLE}")
    if not NAME.fullmatch(options.name):
        cause = f"{options.name!r} cannot be the name of a problem."
        raise UsageError(cause, fix="Use lower-case letters, digits and hyphens.")
    if options.kind not in ("", *KINDS):
        raise UsageError(f"There is no kind {options.kind}.", fix=f"Use one of: {', '.join(KINDS)}")
    if not options.file.endswith(SUFFIXES):
        raise UsageError(f"{options.file} is neither a CSV nor a Parquet file.",
                         fix=f"Use a file that ends in {', '.join(SUFFIXES)}.")  # fmt: skip


def _module(name: str) -> str:
    return name.replace("-", "_")


def _dags(settings: Settings) -> Path:
    return settings.project_dir / "dags"


def _names(settings: Settings) -> list[str]:
    """Return the modules that describe problems."""
    folder = _dags(settings) / "problems"
    found = (path.stem for path in folder.iterdir() if not path.name.startswith((".", "_")))
    return sorted(name for name in found if name.isidentifier())


def _require_new(settings: Settings, name: str) -> None:
    """Raise StackError if a file of the problem exists."""
    files = [*_files(settings, name).values(), _dags(settings) / "problems" / _module(name)]
    if existing := [path for path in files if path.exists()]:
        raise StackError(
            f"{existing[0]} exists already.",
            fix=f"Use another name, or delete it. To try it, run: inv adopt --check {name}",
        )


def _files(settings: Settings, name: str) -> dict[str, Path]:
    """Return the files of a problem that the command writes."""
    dags = _dags(settings)
    return {
        "problem": dags / "problems" / f"{_module(name)}.py",
        "dags": dags / f"{_module(name)}_pipelines.py",
    }


def _create(settings: Settings, engine: Engine, options: Options) -> None:
    with Progress() as progress:
        progress.show([(options.name, "wait", "reading the table and training on a sample")])
        folder = _copy(settings, options)
        try:
            result = _describe(settings, engine, options, folder)
            for kind, path in _files(settings, options.name).items():
                path.parent.mkdir(exist_ok=True)
                atomic_write(path, result[kind], 0o644)
        except BaseException:
            if folder:
                shutil.rmtree(folder)
            raise
    _show(options, options.name, result)


def _copy(settings: Settings, options: Options) -> Path | None:
    """Copy a local file to where the services can read it, and return its new folder."""
    if options.file.startswith("s3://"):
        return None
    file = Path(options.file).expanduser()
    if not file.is_file():
        raise StackError(f"There is no file {file}.")
    folder = settings.project_dir / DATASETS / _module(options.name)
    if folder.exists():
        raise StackError(f"{folder} exists already.", fix="Use another name, or delete it.")
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        path.chmod(0o755)
    copy = Path(shutil.copy(file, folder))
    copy.chmod(0o644)
    return folder


def _describe(
    settings: Settings, engine: Engine, options: Options, folder: Path | None
) -> dict[str, Any]:
    source = f"{DATASETS}/{folder.name}/" if folder else options.file
    file = f"{DATASETS}/{folder.name}/{Path(options.file).name}" if folder else options.file
    arguments = {"file": file, "source": source, "name": options.name, "target": options.target}
    arguments |= {"time": options.time, "kind": options.kind}
    return _call(settings, engine, "describe", arguments)


def _call(
    settings: Settings, engine: Engine, action: str, arguments: Mapping[str, str]
) -> dict[str, Any]:
    """Run `ml.adopt` where tasks run. Raises StackError with the reason if it fails."""
    worker = "airflow-worker"
    service = worker if worker in engine.services() else "airflow-scheduler"
    options = [f"--{name}={value}" for name, value in arguments.items() if value]
    argv = ("python", "-c", START, action, *options)
    result = runner.run(engine.command(service, argv, fresh=True), check=False)
    document: dict[str, Any] = result.document()
    if error := document.get("error"):
        fix = f"inv adopt --check {arguments['name']}" if action == "check" else ""
        raise StackError(f"{error}.", fix=fix and f"Correct this, then run: {fix}")
    return document


def _show(options: Options, name: str, result: Mapping[str, Any]) -> None:
    if options.json:
        print(json.dumps(dict(result)))
        return
    for warning in result.get("warnings", ()):
        print(f"warning: {warning}")
    names = result["shown"]
    print(f"{result['trained_rows']:,} rows trained, {result['held_out_rows']:,} held out")
    for model, metrics in result["scores"].items():
        shown = "  ".join(f"{one.replace('_', ' ')} {metrics[one]:.4f}" for one in names)
        print(f"{model:<12}{shown}")
    if "problem" in result:
        module = _module(name)
        print(f"Written: dags/problems/{module}.py, dags/{module}_pipelines.py")
    print(f"Run: inv trigger {result['dag_ids'][0]} --wait")
