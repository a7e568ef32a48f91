"""Compare the options that .env can contain with those of the installed Airflow."""

import os
import sys

from tests.support.process import run
from tests.support.repository import ROOT


def test_list_contains_the_options_of_this_airflow(tmp_path):
    argv = (sys.executable, "-W", "ignore", ROOT / "checks/airflow_options.py")
    done = run(*argv, env={**os.environ, "AIRFLOW_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    listed = (ROOT / "orchestration/settings/airflow_options.txt").read_text()
    hint = "Write the file again: see checks/airflow_options.py"
    assert done.stdout.splitlines() == listed.splitlines(), hint
