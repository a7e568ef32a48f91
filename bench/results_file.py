"""Write and read the file of a benchmark's figures and of the circumstances they were taken in."""

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Results
from tests.support.repository import ROOT


class OtherCommit(Exception):
    """The file contains figures of another commit or machine."""


def write(file: Path, results: Results, state: Mapping[str, Any]) -> None:
    """Write all figures, with the result of `circumstances` from before they were taken."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps({"of": state, "results": results}, indent=1) + "\n")
    temporary.replace(file)


def read(file: Path) -> Results:
    """Return the figures in the file, or none if it does not exist.

    Raises OtherCommit if they are of another commit or machine, or if this checkout is changed.
    """
    if not file.exists():
        return {}
    document, now = json.loads(file.read_text()), circumstances()
    if is_dirty(now["commit"]):
        raise OtherCommit(f"this checkout has changes ({now['commit']}). Commit them first.")
    state = document["of"]
    if differing := [name for name in now if name != "date" and state.get(name) != now[name]]:
        differences = ", ".join(f"{name} {state.get(name)} (now {now[name]})" for name in differing)
        raise OtherCommit(f"{file} was measured under other circumstances: {differences}.")
    results: Results = document["results"]
    return results


def circumstances() -> dict[str, Any]:
    """Return the date, machine and commit of this checkout, which has a mark if it is changed."""
    commit = git("rev-parse", "--short", "HEAD")
    return {
        "date": date.today().isoformat(),
        "commit": f"{commit}-dirty" if git("status", "--porcelain") else commit,
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3),
        "system": platform.platform(terse=True),
    }


def is_dirty(commit: str) -> bool:
    """Return whether a commit of `circumstances` has the mark of a changed checkout."""
    return commit.endswith("-dirty")


def git(*arguments: str) -> str:
    """Run git in this checkout and return its output."""
    argv = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
