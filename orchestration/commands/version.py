"""`inv version`: print the name and version of the stack."""

import tomllib
from pathlib import Path


def run(root: Path) -> None:
    """Print what pyproject.toml says, as `mlops-stack 0.1.0`."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    stack = tomllib.loads(text)["project"]
    print(stack["name"], stack["version"])
