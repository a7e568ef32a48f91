"""The settings apart from the data: encrypted with a passphrase, in the format of `age`.

By hand: age --decrypt KEYS > .env, or
python -m orchestration.backup.keyfile KEYS PASSPHRASE_FILE > .env
"""

import sys
from pathlib import Path

from orchestration.errors import StackError
from orchestration.files import atomic_write

SHORTEST = 12
SUFFIX = ".keys.age"


def passphrase(file: str) -> str:
    """The first line of a file or a descriptor (/dev/fd/3); raises StackError for none of use."""
    try:
        with Path(file).open(encoding="utf-8") as opened:
            found = opened.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"the passphrase cannot be read from {file}: {error}") from None
    if len(found) < SHORTEST:
        raise StackError(f"the passphrase in {file} is shorter than {SHORTEST} characters")
    return found


def encrypt(text: str, secret: str, into: Path) -> None:
    """Write the text of a .env so that only the passphrase opens it; 0600, in one step."""
    import pyrage

    atomic_write(into, pyrage.passphrase.encrypt(text.encode(), secret), 0o600)


def decrypt(file: Path, secret: str) -> str:
    """The text that was encrypted; raises StackError for another passphrase or another file."""
    import pyrage

    try:
        return str(pyrage.passphrase.decrypt(file.read_bytes(), secret).decode())
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}") from None
    except (pyrage.DecryptError, UnicodeDecodeError) as error:
        raise StackError(f"{file} does not open with this passphrase ({error})") from None


if __name__ == "__main__":
    try:
        print(decrypt(Path(sys.argv[1]), passphrase(sys.argv[2])), end="")
    except (IndexError, StackError) as problem:
        sys.exit(str(problem) if isinstance(problem, StackError) else __doc__)
