"""Programs that are run to their end."""

import subprocess
from pathlib import Path
from typing import Any


def run(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program with both streams kept as text; its exit code is the caller's to check."""
    given = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    return subprocess.run(argv, **given | options)
