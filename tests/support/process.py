"""Programs that are run to their end."""

import os
import subprocess
from pathlib import Path
from typing import Any


def run(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program with both streams kept as text; its exit code is the caller's to check."""
    given = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    return subprocess.run(argv, **given | options)


def put_before(folder: Path, **programs: str) -> str:
    """Write shell programs, with _ for - in their names, into a folder; a PATH that finds them."""
    for name, text in programs.items():
        file = folder / name.replace("_", "-")
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
