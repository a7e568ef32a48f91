"""Compute digests of files, rows and secrets."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHUNK_BYTES = 2**20


def fingerprint(secret: str) -> str:
    """Return a short hash that identifies a secret without revealing it."""
    return hashlib.sha256(f"mlops-stack {secret}".encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return sha256_of_stream(file)


def digest(lines: Iterable[bytes]) -> dict[str, Any]:
    """Return the number of lines, and a digest that does not depend on their order."""
    count = total = 0
    for line in lines:
        count += 1
        total += int.from_bytes(hashlib.sha256(line).digest()[:16], "big")
    return {"rows": count, "digest": f"{total % 2**128:032x}"}


def digest_of_files(hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return the number and digest of files, given the SHA-256 of each by its path."""
    lines = (f"{name} {sha256}" for name, sha256 in hashes.items())
    # A name that is not UTF-8 contains surrogates.
    return digest(line.encode("utf-8", "surrogateescape") for line in lines)


def sha256_of_stream(file: Any) -> str:
    """Return the SHA-256 of the rest of a binary stream as hexadecimal digits."""
    sha256 = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        sha256.update(chunk)
    return sha256.hexdigest()
