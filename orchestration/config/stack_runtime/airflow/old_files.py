"""Old files of runs: task logs, and the data that tasks pass to each other.

Links are never followed. Only files and folders that Airflow or a pipeline named are removed.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stack_runtime.shared.cleanup_report import Row, allocated, count

Run = tuple[str, str]
DAY = re.compile(r"\d{4}-\d\d-\d\d")
NAMED_BY_AIRFLOW = re.compile(r"(manual|scheduled|backfill|asset_triggered)__")


def logs(
    folder: Path, processor: Path, living: Collection[Run], before: float, *, remove: bool
) -> Row:
    """List or remove logs last changed before a moment (seconds since 1970).

    Logs of the runs in `living` are kept. Raises OSError if some files could not be removed.
    """
    old = [*_old_task_logs(folder, living, before), *_old_processor_logs(processor, before)]
    # The logs of the dag-processor may be inside the folder of the task logs.
    places = [folder] if folder in processor.parents else [folder, processor]
    files = [path for path in old if not path.is_dir()]
    return _row("task logs", places, files, "file", old if remove else [], _unlink)


def data(
    folder: Path, dags: Collection[str], living: Collection[Run], gone: Collection[Run],
    before: float, *, remove: bool,
) -> Row:  # fmt: skip
    """List or remove the data of deleted runs, and of unknown runs that Airflow named."""
    kept = {(dag_id, folder_name(run_id)) for dag_id, run_id in living}
    removed = {(dag_id, folder_name(run_id)) for dag_id, run_id in gone}
    old = [
        path
        for path in _folders(folder / dag_id for dag_id in dags)
        if (name := (path.parent.name, path.name)) not in kept
        and (name in removed or NAMED_BY_AIRFLOW.match(path.name))
        and _last_change(path) < before
    ]
    return _row("data of runs", [folder], old, "folder", old if remove else [], shutil.rmtree)


def folder_name(run_id: str) -> str:
    """Return the name that dags/ml/data.py gives to the folder of a run."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", run_id)


def _row(
    what: str, places: Collection[Path], old: Collection[Path], noun: str,
    removals: Collection[Path], remove: Callable[[Path], None],
) -> Row:  # fmt: skip
    """Remove paths and return the row; raises OSError at the end if some were not removed."""
    total, size, summary = allocated(places), allocated(old), count(len(old), noun)
    errors: list[OSError] = []
    for path in removals:
        try:
            remove(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            errors.append(error)
    if errors:
        raise OSError(f"{len(errors)} of {summary} could not be removed: {errors[0]}")
    return Row(what, total, size, summary, allocated(places) if removals else None)


def _old_task_logs(folder: Path, living: Collection[Run], before: float) -> Iterator[Path]:
    for path in _folders(folder.glob("dag_id=*")):
        run = path.parent.name.partition("=")[2], path.name.partition("=")[2]
        if path.name.startswith("run_id=") and run not in living:
            yield from _old_below(path, before)
    # A deleted DAG leaves an empty folder. A run that starts would have changed its time.
    yield from [path for path in folder.glob("dag_id=*") if _written(path) < before]


def _old_processor_logs(folder: Path, before: float) -> Iterator[Path]:
    for path in _folders([folder]):
        if DAY.fullmatch(path.name):
            yield from _old_below(path, before)


def _old_below(top: Path, before: float) -> Iterator[Path]:
    """Yield old files, then the old folders that may be empty once the files are gone."""
    folders = []
    for folder, _, names in os.walk(top):
        folders.append(Path(folder))
        paths = (Path(folder, name) for name in names)
        yield from (path for path in paths if _written(path) < before)
    # The list reads the times now, because removing a file changes the time of its folder.
    yield from [path for path in reversed(folders) if _written(path) < before]


def _unlink(path: Path) -> None:
    if path.is_dir():
        with suppress(OSError):
            # This fails if the folder contains something new.
            path.rmdir()
    else:
        path.unlink()


def _folders(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders inside these folders, without links."""
    for place in places:
        if place.is_dir() and not place.is_symlink():
            paths = place.iterdir()
            yield from sorted(path for path in paths if path.is_dir() and not path.is_symlink())


def _last_change(top: Path) -> float:
    return max(
        _written(Path(folder, name)) for folder, _, names in os.walk(top) for name in [".", *names]
    )


def _written(path: Path) -> float:
    return path.lstat().st_mtime
