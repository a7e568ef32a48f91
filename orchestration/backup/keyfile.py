"""Encrypt a copy of .env with a passphrase, in the format of `age`.

To decrypt it: age --decrypt KEYS > .env, or
python -m orchestration.backup.keyfile KEYS PASSPHRASE_FILE > .env
"""

import sys
from pathlib import Path

from orchestration.errors import StackError
from orchestration.files import atomic_write

MIN_LENGTH = 12
FIX = "Use a file whose first line is a long passphrase."
SUFFIX = ".keys.age"


def passphrase(file: str) -> str:
    """Return the first line of a file (or /dev/fd/3). Raises StackError if it is unusable."""
    try:
        with Path(file).open(encoding="utf-8") as opened:
            line = opened.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"The passphrase cannot be read from {file}: {error}", fix=FIX) from None
    if len(line) < MIN_LENGTH:
        cause = f"The passphrase in {file} is shorter than {MIN_LENGTH} characters."
        raise StackError(cause, fix=FIX)
    return line


def encrypt(text: str, secret: str, into: Path) -> None:
    """Encrypt text with a passphrase and write it to a file in one step, with mode 0600."""
    import pyrage

    atomic_write(into, pyrage.passphrase.encrypt(text.encode(), secret), 0o600)


def decrypt(file: Path, secret: str) -> str:
    """Return the decrypted text. Raises StackError for a wrong passphrase or another file."""
    import pyrage

    try:
        return str(pyrage.passphrase.decrypt(file.read_bytes(), secret).decode())
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}.") from None
    except (pyrage.DecryptError, UnicodeDecodeError) as error:
        cause = f"{file} cannot be decrypted with this passphrase ({error})."
        raise StackError(cause, fix="Use the passphrase that the backup was made with.") from None


if __name__ == "__main__":
    try:
        print(decrypt(Path(sys.argv[1]), passphrase(sys.argv[2])), end="")
    except (IndexError, StackError) as problem:
        sys.exit(str(problem) if isinstance(problem, StackError) else __doc__)
