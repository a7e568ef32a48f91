"""Digests of files, rows and secrets."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PIECE = 2**20


def fingerprint(secret: str) -> str:
    """What tells a secret from another and gives nothing of it away."""
    return hashlib.sha256(f"mlops-stack {secret}".encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return sha256_of_stream(file)


def digest(lines: Iterable[bytes]) -> dict[str, Any]:
    """How many lines there are, and what tells them from others in whatever order they come."""
    count = total = 0
    for line in lines:
        count += 1
        total += int.from_bytes(hashlib.sha256(line).digest()[:16], "big")
    return {"rows": count, "digest": f"{total % 2**128:032x}"}


def of_files(found: Mapping[str, str]) -> dict[str, Any]:
    """The digest of files by path and contents."""
    return digest([f"{name} {sha256}".encode() for name, sha256 in found.items()])


def sha256_of_stream(file: Any) -> str:
    found = hashlib.sha256()
    while piece := file.read(PIECE):
        found.update(piece)
    return found.hexdigest()
