"""What is known of files already, for as long as all that went into it is as it was."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class Memory:
    """What was parsed well, with a hash of all that went into it."""

    def __init__(self, folder: Path, root: Path, given: Iterable[str]) -> None:
        """Of a DAGs folder `root`, kept in `folder`; `given` is all else that answers depend on."""
        self.file = folder / f"{_digest(str(root).encode())[:16]}.json"
        self.of = _digest("\0".join(given).encode())
        self.hashes: dict[str, str] = {}
        try:
            kept = json.loads(self.file.read_text())
        except (OSError, ValueError):
            kept = {}
        self.entries: dict[str, Any] = kept.get("files", {}) if kept.get("of") == self.of else {}

    def known(self, files: Sequence[Path]) -> dict[Path, dict[str, Any]]:
        """The files that are as they were, and so is all they need from their folder."""
        return {
            path: entry["answer"]
            for path in files
            if (entry := self.entries.get(str(path)))
            and all(self.hash(name) == before for name, before in entry["from"].items())
        }

    def keep(self, answers: Mapping[Path, dict[str, Any]]) -> None:
        """Remember what had no error and did not reach outside its folder."""
        for path, answer in answers.items():
            self.entries.pop(str(path), None)
            if answer.get("keep") and not answer["errors"]:
                files = [str(path), *answer["needs"]]
                hashes = {name: self.hash(name) for name in files}
                self.entries[str(path)] = {"from": hashes, "answer": answer}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"of": self.of, "files": self.entries}))
        part.replace(self.file)

    def hash(self, name: str) -> str:
        """Of a file's content; of one that is gone, nothing like it."""
        if name not in self.hashes:
            try:
                self.hashes[name] = _digest(Path(name).read_bytes())
            except OSError:
                self.hashes[name] = "gone"
        return self.hashes[name]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
