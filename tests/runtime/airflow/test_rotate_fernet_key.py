"""Test that re-encryption finds every Fernet token, using Airflow's own library."""

import json

import pytest
from cryptography.fernet import Fernet, InvalidToken

from tests.runtime.airflow.supervised import runtime

NEW, OLD, OLDER, FOREIGN = (Fernet.generate_key().decode() for _ in range(4))


@pytest.fixture
def keys():
    return runtime("airflow.rotate_fernet_key").Keys([NEW, OLD, OLDER])


def token(key, plain="s3cret"):
    return Fernet(key).encrypt(plain.encode()).decode()


@pytest.mark.parametrize("key", [OLD, OLDER], ids=["old", "older"])
def test_reencrypt_token_of_old_key_uses_new_key(keys, key):
    result = keys.reencrypt(token(key))
    assert Fernet(NEW).decrypt(result) == b"s3cret"
    with pytest.raises(InvalidToken):
        Fernet(key).decrypt(result)


LONG, STRANGE = "y" * 100_000, "\udcff"


@pytest.mark.parametrize("plain", ["", "x", LONG, "ümläut", STRANGE], ids=range(5))
def test_reencrypt_finds_token_of_any_text(keys, plain):
    raw = plain.encode(errors="surrogateescape")
    result = keys.reencrypt(Fernet(OLD).encrypt(raw).decode())
    assert Fernet(NEW).decrypt(result) == raw


def test_reencrypt_twice_changes_nothing(keys):
    once = keys.reencrypt(f"{token(OLD)} and {token(NEW)}")
    assert keys.reencrypt(once) == once


UNCHANGED = [token(NEW), token(FOREIGN), "gAAAAA", "gAAAAA" + "x" * 200, ""]


# Tokens differ in each process, but test ids must be the same in all xdist processes.
@pytest.mark.parametrize("text", UNCHANGED, ids=range(len(UNCHANGED)))
def test_reencrypt_keeps_new_and_unknown_tokens(keys, text):
    assert keys.reencrypt(text) == text


def test_reencrypt_json_keeps_other_values(keys):
    document = {"options": {"secret": token(OLD)}, "rows": [1, "gAAAAA"], "also": token(OLDER)}
    result = json.loads(keys.reencrypt(json.dumps(document)))
    assert Fernet(NEW).decrypt(result["options"].pop("secret")) == b"s3cret"
    assert Fernet(NEW).decrypt(result.pop("also")) == b"s3cret"
    assert result == {"options": {}, "rows": [1, "gAAAAA"]}


@pytest.mark.parametrize("outer", [NEW, OLD], ids=["new", "old"])
def test_reencrypt_finds_token_inside_token(keys, outer):
    result = keys.reencrypt(token(outer, json.dumps({"inner": token(OLD)})))
    inner = json.loads(Fernet(NEW).decrypt(result))["inner"]
    assert Fernet(NEW).decrypt(inner) == b"s3cret"
