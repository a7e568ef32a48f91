"""Parse a folder in the built Airflow image, which can have libraries that this machine lacks."""

import os
from pathlib import Path

from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.process import runner
from orchestration.project import Project

ROOT = Path(__file__).resolve().parents[2]
PARSE = ROOT / "orchestration/config/stack_runtime/airflow/parse_dags.py"
HOME = "/opt/airflow"
LIMIT_SECONDS = 300


def import_errors(root: Path) -> str | None:
    """Return the import errors of a DAG folder in the image, or None without Docker or image."""
    image = f"{load_or_draft(Project(ROOT, os.environ)).project}-airflow"
    include = root.parent / "include"
    mounts = {root: f"{HOME}/dags", PARSE: "/parse_dags.py"}
    mounts |= {include: f"{HOME}/include"} if include.is_dir() else {}
    argv = [
        *("docker", "run", "--rm", "--pull=never", "--network=none"),
        *(f"--volume={path}:{target}:ro" for path, target in mounts.items()),
        *(image, "python", "-P", "/parse_dags.py", f"{HOME}/dags"),
    ]
    try:
        result = runner.run(runner.Command(tuple(argv)), timeout=LIMIT_SECONDS, check=False)
    except StackError:
        return None
    return result.output if result.code in (0, 1) else None
