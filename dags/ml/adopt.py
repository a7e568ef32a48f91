"""Describe a new table as a problem, and try a problem without a stack.

    python -m ml.adopt describe --file FILE --source URI --name NAME --target COLUMN …
    python -m ml.adopt check --name NAME

Prints one JSON object. `error` is in it if the table or the problem cannot be used.
"""

import argparse
import importlib
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ml import Refused, bucket, data, describe, problem, suspicions, trial
from ml.problem import Problem

# How many times larger than its file a table is in memory, by the ending of the file.
MEMORY_FACTORS = {".parquet": 8, ".pq": 8, ".gz": 12}
MEMORY_FACTOR = 3
ENCODING_FIX = "save it as UTF-8"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON, and return the exit code: 1 if the table cannot be used."""
    options = _options(argv)
    try:
        result = _describe(options) if options.action == "describe" else _check(options.name)
    except Refused as error:
        result = {"error": " ".join(str(error).split())}
    print(json.dumps(result, default=str))
    return int("error" in result)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ml.adopt")
    parser.add_argument("action", choices=["describe", "check"])
    for name in ("file", "source", "name", "target", "time", "kind"):
        parser.add_argument(f"--{name}", default="")
    return parser.parse_args(argv)


def _describe(options: argparse.Namespace) -> dict[str, Any]:
    with bucket.fetched(problem.absolute(options.file), data.SUFFIXES) as files:
        table = _read(files[0] if files else options.file)
    facts = describe.facts(table, options.target, options.time, options.kind)
    warnings = suspicions.find(facts)
    text = describe.module_text(options.name, options.source, facts, warnings)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{describe.identifier(options.name)}.py").write_text(text)
        result = _check(options.name, table, folder)
    return {
        **result,
        "problem": text,
        "dags": describe.dags_text(options.name),
        "warnings": [str(one) for one in warnings],
        "kind": facts.kind,
        "rows": len(table),
    }


def _read(file: str) -> pd.DataFrame:
    """Read the table. Raises Refused if it cannot be read, or is larger than the memory."""
    path = Path(file)
    if not path.is_file():
        raise Refused(f"there is no file {file}")
    factor = MEMORY_FACTORS.get(path.suffix, MEMORY_FACTOR)
    needed, free = path.stat().st_size * factor, _free_memory()
    if needed > free:
        raise Refused(
            f"{path.name} needs about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free: use a part of it, or fewer columns"
        )
    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        names = pd.read_csv(path, nrows=1, header=None, dtype=str, keep_default_na=False)
        if len(names) and (twice := _repeated(names.iloc[0].tolist())):
            raise Refused(f"repeated column: {', '.join(twice)}")
        return pd.read_csv(path, low_memory=False)
    except UnicodeDecodeError as error:
        reason = f"{path.name} is not UTF-8 (byte {error.start}): {ENCODING_FIX}"
        raise Refused(reason) from None
    except Refused:
        raise
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read {path.name}: {error}") from None


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _free_memory() -> int:
    """Return the bytes of memory that this container or machine can still use."""
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(facts["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return free if text == "max" else min(free, int(text))


def _check(name: str, rows: pd.DataFrame | None = None, folder: str = "") -> dict[str, Any]:
    """Try a problem on a sample. Raises Refused with the line of its file that is at fault.

    A description in `folder` is not among the DAG files yet.
    """
    module = describe.identifier(name)
    if not folder and module not in problem.names():
        raise Refused(f"there is no problem {name}; there are {', '.join(problem.names())}")
    try:
        described = _load(module, folder)
        found = rows if rows is not None else data.read(described)
        return trial.run(described, found)
    except Refused as error:
        raise Refused(f"{error}{_place(error, module)}") from None
    except Exception as error:
        last = traceback.format_exception_only(error)[-1].strip()
        raise Refused(f"{last}{_place(error, module)}") from None


def _load(module: str, folder: str) -> Problem:
    if folder:
        import problems

        problems.__path__.insert(0, folder)
        importlib.invalidate_caches()
    return problem.load(module)


def _place(error: BaseException, module: str) -> str:
    """Return the last line of the problem's files in a traceback, or a blank."""
    places = [(one.filename, one.lineno) for one in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((str(error.filename), error.lineno))
    own = [
        (Path(file).name, line) for file, line in places
        if Path(file).stem == module or Path(file).parent.name == module
    ]  # fmt: skip
    return f" (dags/problems: {own[-1][0]}, line {own[-1][1]})" if own else ""


if __name__ == "__main__":
    sys.exit(main())
