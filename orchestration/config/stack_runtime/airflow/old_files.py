"""Files of runs that nobody needs any more: task logs, and what tasks handed to each other.

A link is never followed, and nothing is touched that Airflow or a pipeline did not name.
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
    """Logs last written to before a moment (seconds since 1970), none of a run of `living`."""
    old = [*_old_task_logs(folder, living, before), *_old_processor_logs(processor, before)]
    # Those of the processor may stand below the others.
    places = [folder] if folder in processor.parents else [folder, processor]
    files = [path for path in old if not path.is_dir()]
    return _row("task logs", places, files, "file", old if remove else [], _unlink)


def data(
    folder: Path, dags: Collection[str], living: Collection[Run], gone: Collection[Run],
    before: float, *, remove: bool,
) -> Row:  # fmt: skip
    """Folders of runs that have gone, or that nobody knows of and Airflow named."""
    kept = {(dag_id, folder_name(run_id)) for dag_id, run_id in living}
    known = {(dag_id, folder_name(run_id)) for dag_id, run_id in gone}
    old = [
        path
        for path in _folders(folder / dag_id for dag_id in dags)
        if (name := (path.parent.name, path.name)) not in kept
        and (name in known or NAMED_BY_AIRFLOW.match(path.name))
        and _newest(path) < before
    ]
    return _row("data of runs", [folder], old, "folder", old if remove else [], shutil.rmtree)


def folder_name(run_id: str) -> str:
    """How dags/ml/data.py names the folder of a run."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", run_id)


def _row(
    what: str, places: Collection[Path], old: Collection[Path], noun: str,
    removed: Collection[Path], remove: Callable[[Path], None],
) -> Row:  # fmt: skip
    """Raises OSError when some of it could not be removed; the rest is gone all the same."""
    holds, size, told = allocated(places), allocated(old), count(len(old), noun)
    refused: list[OSError] = []
    for path in removed:
        try:
            remove(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(error)
    if refused:
        raise OSError(f"{len(refused)} of {told} could not be removed: {refused[0]}")
    return Row(what, holds, size, told, allocated(places) if removed else None)


def _old_task_logs(folder: Path, living: Collection[Run], before: float) -> Iterator[Path]:
    for path in _folders(folder.glob("dag_id=*")):
        run = path.parent.name.partition("=")[2], path.name.partition("=")[2]
        if path.name.startswith("run_id=") and run not in living:
            yield from _old_below(path, before)
    # A DAG that is gone leaves an empty folder; a run that begins would have touched it.
    yield from [path for path in folder.glob("dag_id=*") if _written(path) < before]


def _old_processor_logs(folder: Path, before: float) -> Iterator[Path]:
    for path in _folders([folder]):
        if DAY.fullmatch(path.name):
            yield from _old_below(path, before)


def _old_below(top: Path, before: float) -> Iterator[Path]:
    """Old files, and after them the folders that are as old and may be empty then."""
    folders = []
    for folder, _, names in os.walk(top):
        folders.append(Path(folder))
        paths = (Path(folder, name) for name in names)
        yield from (path for path in paths if _written(path) < before)
    # Their times as they are before anything in them is removed.
    yield from [path for path in reversed(folders) if _written(path) < before]


def _unlink(path: Path) -> None:
    if path.is_dir():
        with suppress(OSError):
            # Refused where something new stands in it.
            path.rmdir()
    else:
        path.unlink()


def _folders(places: Iterable[Path]) -> Iterator[Path]:
    """The folders in folders, links left out."""
    for place in places:
        if place.is_dir() and not place.is_symlink():
            found = place.iterdir()
            yield from sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _newest(top: Path) -> float:
    return max(
        _written(Path(folder, name)) for folder, _, names in os.walk(top) for name in [".", *names]
    )


def _written(path: Path) -> float:
    return path.lstat().st_mtime
