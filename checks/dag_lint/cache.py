"""Cache Airflow's answers for files whose inputs have not changed."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Cache:
    """Answers without an error, each with the hashes of all files that it depends on."""

    def __init__(self, folder: Path, root: Path, states: Iterable[str]) -> None:
        """Read the cache of the DAGs folder `root`, unless one of `states` has changed."""
        self.file = folder / f"{_digest(str(root).encode())[:16]}.json"
        self.state = _digest("\0".join(states).encode())
        self.hash = functools.cache(_hash)
        try:
            stored = json.loads(self.file.read_text())
        except (OSError, ValueError):
            stored = {}
        valid = stored.get("state") == self.state
        self.entries: dict[str, Any] = stored.get("files", {}) if valid else {}

    def answers(self, files: Iterable[Path]) -> dict[Path, Answer]:
        """Return the answers for files that are unchanged, as are all files they depend on."""
        return {
            path: entry["answer"]
            for path in files
            if (entry := self.entries.get(str(path)))
            and all(self.hash(name) == previous for name, previous in entry["from"].items())
        }

    def store(self, answers: Mapping[Path, Answer]) -> None:
        """Store the answers without an error for files that used only their own folder."""
        for path, answer in answers.items():
            self.entries.pop(str(path), None)
            if answer.get("keep") and not answer["errors"]:
                hashes = {name: self.hash(name) for name in (str(path), *answer["needs"])}
                self.entries[str(path)] = {"from": hashes, "answer": answer}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"state": self.state, "files": self.entries}))
        part.replace(self.file)


def _hash(name: str) -> str:
    """Return the hash of a file's content, or a constant if the file is missing."""
    try:
        return _digest(Path(name).read_bytes())
    except OSError:
        return "gone"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
