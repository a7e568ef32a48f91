"""The encrypted copy of .env."""

import os
import stat
import subprocess
import sys

import pytest

from orchestration.backup import keyfile
from orchestration.errors import StackError

TEXT = "AIRFLOW_FERNET_KEY=made-up\n"  # pragma: allowlist secret
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "20261126T200000Z.keys.age"
    keyfile.encrypt(TEXT, PASSPHRASE, path)
    return path


def test_decrypt_needs_the_right_passphrase(file):
    assert keyfile.decrypt(file, PASSPHRASE) == TEXT
    with pytest.raises(StackError, match="cannot be decrypted with this passphrase"):
        keyfile.decrypt(file, f"{PASSPHRASE}!")


def test_encrypted_file_is_unreadable_and_private(file):
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert b"made-up" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_decrypt_missing_or_other_file_names_it(tmp_path):
    (tmp_path / "x").write_text("something else")
    for path in (tmp_path / "x", tmp_path / "missing"):
        with pytest.raises(StackError, match=path.name):
            keyfile.decrypt(path, PASSPHRASE)


def test_passphrase_is_first_line_of_file_or_descriptor(tmp_path):
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\r\nmore\n")
    assert keyfile.passphrase(str(tmp_path / "phrase")) == PASSPHRASE
    reading, writing = os.pipe()
    os.write(writing, f"{PASSPHRASE}\n".encode())
    os.close(writing)
    assert keyfile.passphrase(f"/dev/fd/{reading}") == PASSPHRASE
    os.close(reading)


@pytest.mark.parametrize("text", ["abc\n", ""])
def test_short_passphrase_is_rejected_and_not_shown(tmp_path, text):
    (tmp_path / "phrase").write_text(text)
    with pytest.raises(StackError, match="shorter than 12") as raised:
        keyfile.passphrase(str(tmp_path / "phrase"))
    assert "abc" not in str(raised.value)


def test_missing_passphrase_file_is_named():
    with pytest.raises(StackError, match="cannot be read from /nowhere"):
        keyfile.passphrase("/nowhere")


def test_module_decrypts_on_the_command_line(file, tmp_path, repo):
    (tmp_path / "phrase").write_text(PASSPHRASE)
    argv = [
        sys.executable,
        "-m",
        "orchestration.backup.keyfile",
        str(file),
        str(tmp_path / "phrase"),
    ]
    done = subprocess.run(argv, cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout == TEXT
    without = subprocess.run(argv[:3], cwd=repo, capture_output=True, text=True, check=False)
    assert (without.returncode, "age --decrypt" in without.stderr) == (1, True)
