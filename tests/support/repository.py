"""Copies of the repository under test."""

import shutil
import subprocess
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_repository(folder: Path, *only: str, compiled: bool = False) -> Path:
    """Copy the working tree without ignored files; `only` limits the copy to these paths.

    With `compiled`, bytecode is copied too, so that processes start a tenth of a second sooner.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *only]
    for name in filter(None, subprocess.check_output(command, cwd=ROOT, text=True).split("\0")):
        files = [ROOT / name]
        if compiled and name.endswith(".py"):
            files.append(Path(cache_from_source(str(files[0]))))
        for file in files:
            # A tracked file may have been deleted. Links are copied as links.
            if file.is_symlink() or file.exists():
                target = folder / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target, follow_symlinks=False)
    return folder
