"""The copy of .env that only a passphrase opens."""

import os
import stat
import subprocess
import sys

import pytest

from orchestration.backup import keyfile
from orchestration.errors import StackError

TEXT = "AIRFLOW_FERNET_KEY=made-up\n"  # pragma: allowlist secret
PHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    made = tmp_path_factory.mktemp("keys") / "20261126T200000Z.keys.age"
    keyfile.encrypt(TEXT, PHRASE, made)
    return made


def test_the_passphrase_opens_it_and_another_does_not(file):
    assert keyfile.decrypt(file, PHRASE) == TEXT
    with pytest.raises(StackError, match="does not open with this passphrase"):
        keyfile.decrypt(file, f"{PHRASE}!")


def test_nothing_of_it_can_be_read_and_by_nobody_else(file):
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert b"made-up" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_is_no_such_file_is_told(tmp_path):
    (tmp_path / "x").write_text("something else")
    for path in (tmp_path / "x", tmp_path / "missing"):
        with pytest.raises(StackError, match=path.name):
            keyfile.decrypt(path, PHRASE)


def test_a_passphrase_is_the_first_line_of_a_file_or_a_descriptor(tmp_path):
    (tmp_path / "phrase").write_text(f"{PHRASE}\r\nmore\n")
    assert keyfile.passphrase(str(tmp_path / "phrase")) == PHRASE
    reading, writing = os.pipe()
    os.write(writing, f"{PHRASE}\n".encode())
    os.close(writing)
    assert keyfile.passphrase(f"/dev/fd/{reading}") == PHRASE
    os.close(reading)


@pytest.mark.parametrize(("text", "told"), [("abc\n", "shorter than 12"), ("", "shorter")])
def test_a_passphrase_of_no_use_is_refused_and_never_shown(tmp_path, text, told):
    (tmp_path / "phrase").write_text(text)
    with pytest.raises(StackError, match=told) as refused:
        keyfile.passphrase(str(tmp_path / "phrase"))
    assert "abc" not in str(refused.value)


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(StackError, match="cannot be read from /nowhere"):
        keyfile.passphrase("/nowhere")


def test_by_hand_it_is_one_command(file, tmp_path, repo):
    (tmp_path / "phrase").write_text(PHRASE)
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
