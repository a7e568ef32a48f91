"""The files that git knows: what is ignored or not added yet is nobody's business."""

from pathlib import Path

from orchestration.process.runner import Command, run


def tracked(root: Path, *patterns: str) -> list[str]:
    """Paths below `root`, as git's patterns ask (none: all); no links, nothing deleted.

    Raises StackError where git is missing or `root` is in no repository.
    """
    listed = run(Command(("git", "ls-files", "-z", "--", *patterns), cwd=root)).output
    paths = [path for path in listed.split("\0") if path]
    return [path for path in paths if (root / path).is_file() and not (root / path).is_symlink()]
