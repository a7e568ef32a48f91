"""Load the plugins and parse every DAG file of a folder with Airflow: `parse_dags FOLDER`.

Needs Airflow: run it in the image or in an environment from the same locks. Prints each import
error with its file and line. The exit code is 1 if there is an import error or no DAG at all.
"""

import logging
import os
import re
import sys
import tempfile
import time
from pathlib import Path


def main(folder: str) -> int:
    """Parse the folder's files and return the exit code."""
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    sys.path.insert(0, str(Path(folder).resolve()))
    from airflow import configuration  # noqa: F401  Airflow's other modules need it first.

    from stack_runtime.airflow.moved_names import import_dag_bag, load_plugins

    # Airflow also logs each error, with its whole traceback.
    logging.disable(logging.CRITICAL)
    started = time.perf_counter()
    plugin_errors = load_plugins()
    bag = import_dag_bag()(folder, safe_mode=True)
    errors = {**plugin_errors, **bag.import_errors}
    for file, error in errors.items():
        message = error.strip().rpartition("\n")[2]
        print(f"{place(file, error, Path(folder).resolve().parent)}: {message}")
    if not bag.dags and not errors:
        print(f"{folder}: no DAG found")
    if errors or not bag.dags:
        return 1
    seconds = time.perf_counter() - started
    print(f"{len(bag.dags)} DAGs parsed in {seconds:.1f} s: {', '.join(sorted(bag.dags))}")
    return 0


def place(file: str, error: str, root: Path) -> str:
    """Return the file of an error below `root`, with the last line of it in the traceback."""
    # A plugin of a package has the name of its module.
    if "/" not in file:
        return file
    numbers = re.findall(rf'File "{re.escape(file)}", line (\d+)', error)
    return f"{os.path.relpath(file, root)}{f' line {numbers[-1]}' if numbers else ''}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
