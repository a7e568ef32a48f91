"""Print the version of Airflow in .env: `python -m checks.airflow_version`."""

import os
from pathlib import Path

from orchestration.host.drafts import load_or_draft
from orchestration.project import Project

if __name__ == "__main__":
    print(load_or_draft(Project(Path.cwd(), os.environ))["AIRFLOW_VERSION"])
