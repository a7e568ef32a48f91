"""Run programs in tests, and replace them by shell scripts."""

import os
import subprocess
from pathlib import Path
from typing import Any


def run(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program and capture its output as text; the caller checks the exit code."""
    defaults = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    return subprocess.run(argv, **defaults | options)


def path_with_programs(folder: Path, **programs: str) -> str:
    """Write shell scripts into a folder and return a PATH that starts with it.

    Keys are program names, with _ instead of -; values are the scripts.
    """
    for name, text in programs.items():
        file = folder / name.replace("_", "-")
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
