"""The file that keeps a benchmark's figures, with what they are of."""

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
    """What is kept is not of what is measured now."""


def write(file: Path, results: Results, of: Mapping[str, Any]) -> None:
    """Keep all figures with what they are of, as `circumstances` told it before they were taken."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_suffix(".new")
    written.write_text(json.dumps({"of": of, "results": results}, indent=1) + "\n")
    written.replace(file)


def read(file: Path) -> Results:
    """The figures kept before; none where there is no file.

    Raises OtherCommit unless they are of this commit, unchanged, on this machine.
    """
    if not file.exists():
        return {}
    kept, now = json.loads(file.read_text()), circumstances()
    if changed(now["commit"]):
        raise OtherCommit(f"this checkout is changed ({now['commit']}): commit it first")
    if differing := [name for name in now if name != "date" and kept["of"].get(name) != now[name]]:
        told = [f"{name} {kept['of'].get(name)}, now {now[name]}" for name in differing]
        raise OtherCommit(f"{file} is of another state: {'; '.join(told)}")
    results: Results = kept["results"]
    return results


def circumstances() -> dict[str, Any]:
    """Where and when; the commit is that of this checkout, with a mark where it is changed."""
    commit = git("rev-parse", "--short", "HEAD")
    return {
        "date": date.today().isoformat(),
        "commit": f"{commit}-dirty" if git("status", "--porcelain") else commit,
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3),
        "system": platform.platform(terse=True),
    }


def changed(commit: str) -> bool:
    """Whether a commit of `circumstances` has a mark."""
    return commit.endswith("-dirty")


def git(*arguments: str) -> str:
    """What git tells of this checkout."""
    argv = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
