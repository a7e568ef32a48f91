"""Answers of Airflow that still hold, because all that went into them is as it was."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Cache:
    """Answers without an error, each with a hash of all files that went into it."""

    def __init__(self, folder: Path, root: Path, states: Iterable[str]) -> None:
        """Read what `folder` keeps of a DAGs folder `root`; `states` is all else that counts."""
        self.file = folder / f"{_digest(str(root).encode())[:16]}.json"
        self.of = _digest("\0".join(states).encode())
        self.hash = functools.cache(_hash)
        try:
            kept = json.loads(self.file.read_text())
        except (OSError, ValueError):
            kept = {}
        self.entries: dict[str, Any] = kept.get("files", {}) if kept.get("of") == self.of else {}

    def answers(self, files: Iterable[Path]) -> dict[Path, Answer]:
        """Return the answers for files that are as they were, as is all they need beside them."""
        return {
            path: entry["answer"]
            for path in files
            if (entry := self.entries.get(str(path)))
            and all(self.hash(name) == before for name, before in entry["from"].items())
        }

    def store(self, answers: Mapping[Path, Answer]) -> None:
        """Keep the answers without an error for files that did not reach outside their folder."""
        for path, answer in answers.items():
            self.entries.pop(str(path), None)
            if answer.get("keep") and not answer["errors"]:
                hashes = {name: self.hash(name) for name in (str(path), *answer["needs"])}
                self.entries[str(path)] = {"from": hashes, "answer": answer}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"of": self.of, "files": self.entries}))
        part.replace(self.file)


def _hash(name: str) -> str:
    """Return the hash of a file's content; of one that is gone, nothing like it."""
    try:
        return _digest(Path(name).read_bytes())
    except OSError:
        return "gone"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
