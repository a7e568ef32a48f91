"""List the files that git tracks. Checks skip ignored and untracked files."""

from pathlib import Path

from orchestration.process.runner import Command, run


def tracked(root: Path, *patterns: str) -> list[str]:
    """Return tracked paths below `root` that match git's patterns, or all without a pattern.

    Skips symbolic links and deleted files. Raises StackError without git or a repository.
    """
    output = run(Command(("git", "ls-files", "-z", "--", *patterns), cwd=root)).output
    paths = [path for path in output.split("\0") if path]
    return [path for path in paths if (root / path).is_file() and not (root / path).is_symlink()]
