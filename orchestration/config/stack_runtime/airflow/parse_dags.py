"""Load the plugins and parse every DAG file of a folder with Airflow: `parse_dags FOLDER`.

Needs Airflow: run it in the image or in an environment from the same locks. Prints each import
error with its file. The exit code is 1 if there is an import error or no DAG at all.
"""

import logging
import os
import sys
import tempfile
import time
from pathlib import Path


def main(folder: str) -> int:
    """Parse the folder's files and return the exit code."""
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    sys.path.insert(0, str(Path(folder).resolve()))
    from airflow import plugins_manager
    from airflow.models.dagbag import DagBag

    # Airflow also logs each error, with its whole traceback.
    logging.disable(logging.CRITICAL)
    started = time.perf_counter()
    plugins_manager.ensure_plugins_loaded()
    bag = DagBag(folder, include_examples=False, safe_mode=True)
    errors = {**plugins_manager.import_errors, **bag.import_errors}
    for file, error in errors.items():
        # A plugin of a package has the name of its module.
        name = os.path.relpath(file, Path(folder).resolve().parent) if "/" in file else file
        message = error.strip().rpartition("\n")[2]
        print(f"{name}: {message}")
    if not bag.dags and not errors:
        print(f"{folder}: no DAG found")
    if errors or not bag.dags:
        return 1
    seconds = time.perf_counter() - started
    print(f"{len(bag.dags)} DAGs parsed in {seconds:.1f} s: {', '.join(sorted(bag.dags))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
