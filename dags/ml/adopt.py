"""Describe a new table as a problem, and try a problem without a running stack.

`inv adopt` runs this where tasks run, and reads the result: one JSON object. `error` is in it if
the table or the problem cannot be used.
"""

import importlib
import json
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ml import Refused, bucket, data, describe, facts, problem, suspicions, trial

# How many times larger than its file a table is in memory, by the ending of the file.
MEMORY_FACTORS = {".parquet": 8, ".pq": 8, ".gz": 12, ".csv": 3}


def main(argv: Sequence[str]) -> int:
    """Print the result as JSON, and return the exit code: 1 if the table cannot be used.

    `argv` is ["describe", JSON of file, source, name, target, time and kind] or ["check", NAME].
    """
    action, argument = argv
    try:
        result = _describe(json.loads(argument)) if action == "describe" else _check(argument)
    except Exception as error:
        line = traceback.format_exception_only(error)[-1].removeprefix("ml.Refused: ")
        result = {"error": " ".join(line.split())}
    print(json.dumps(result, default=str))
    return int("error" in result)


def _describe(options: Mapping[str, str]) -> dict[str, Any]:
    name, file = options["name"], problem.absolute(options["file"])
    if taken := [one for one in problem.names() if problem.load(one).name == name]:
        raise Refused(f"the model name {name} is that of the problem {taken[0]}: use another name")
    with bucket.local_copies(file, data.SUFFIXES) as files:
        table = _read(Path(files[0] if files else file))
    found = facts.of(table, options["target"], options["time"], options["kind"])
    warnings = suspicions.find(found)
    text = describe.module_text(name, options["source"], found, warnings)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name.replace('-', '_')}.py").write_text(text)
        result = _check(name, table, folder)
    return {**result, "problem": text, "kind": found.kind, "rows": len(table),
            "warnings": [str(warning) for warning in warnings]}  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    """Read the table. Raises Refused if it is unreadable or probably does not fit into memory."""
    if not path.is_file():
        raise Refused(f"there is no file {path}")
    needed, free = path.stat().st_size * MEMORY_FACTORS[path.suffix], _free_memory()
    if needed > free:
        raise Refused(
            f"{path.name} needs about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free: use a part of it, or fewer columns"
        )
    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path).rename(columns=str)
        header = pd.read_csv(path, nrows=1, header=None, dtype=str, keep_default_na=False)
        columns = pd.Index(header.iloc[0])
        missing = {"keep_default_na": False, "na_values": data.MISSING}
        table = pd.read_csv(path, index_col=False, low_memory=False, **missing)
    except UnicodeDecodeError as error:
        reason = f"{path.name} is not UTF-8 (byte {error.start}): save it as UTF-8"
        raise Refused(reason) from None
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read {path.name}: {error}") from None
    if len(columns) == 1:
        raise Refused(f"{path.name} has only one column; the separator must be a comma")
    if columns.has_duplicates:
        repeated = sorted(set(map(repr, columns[columns.duplicated()])))
        raise Refused(f"{path.name} has a repeated column: {', '.join(repeated)}")
    return table


def _free_memory() -> int:
    """Return the machine's free memory in bytes, or the container's limit if it is lower."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", limit)
        text = file.read_text().strip() if file.exists() else "max"
        free = free if text == "max" else min(free, int(text))
    return free


def _check(name: str, rows: pd.DataFrame | None = None, folder: str = "") -> dict[str, Any]:
    """Try a problem on a sample. Raises Refused, with the line if the error is in its files.

    A description in `folder` is not among the DAG files yet.
    """
    module = name.replace("-", "_")
    if not folder and module not in problem.names():
        raise Refused(f"there is no problem {name}; known: {', '.join(problem.names()) or 'none'}")
    try:
        if folder:
            import problems

            problems.__path__.insert(0, folder)
            importlib.invalidate_caches()
        description = problem.load(module)
        trial.require_complete(description)
        return trial.run(description, data.read(description) if rows is None else rows)
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, one['loc']))} {one['msg']}" for one in error.errors())
        raise Refused(f"PROBLEM: {'; '.join(reasons)}{_place(error, module)}") from None
    except (Exception, SystemExit) as error:
        line = traceback.format_exception_only(error)[-1].strip()
        line = str(error) if isinstance(error, Refused | bucket.Unreached) else line
        raise Refused(f"{line}{_place(error, module)}") from None


def _place(error: BaseException, module: str) -> str:
    """Return the last line of the problem's files in a traceback, or a blank."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(Path(f.filename), f.lineno) for f in frames if "/ml/" not in f.filename]
    if isinstance(error, SyntaxError):
        places.append((Path(str(error.filename)), error.lineno))
    own = [(path.name, line) for path, line in places if module in (path.stem, path.parent.name)]
    return f" (line {own[-1][1]} of {own[-1][0]} of {module})" if own else ""
