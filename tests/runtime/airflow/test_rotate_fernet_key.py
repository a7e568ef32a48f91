"""What Airflow encrypted is encrypted anew wherever it stands, with Airflow's own library."""

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
def test_what_a_former_key_opens_is_of_the_new_one_afterwards(keys, key):
    renewed = keys.renewed(token(key))
    assert Fernet(NEW).decrypt(renewed) == b"s3cret"
    with pytest.raises(InvalidToken):
        Fernet(key).decrypt(renewed)


LONG, STRANGE = "y" * 100_000, "\udcff"


@pytest.mark.parametrize("plain", ["", "x", LONG, "ümläut", STRANGE], ids=range(5))
def test_whatever_was_encrypted_is_found(keys, plain):
    raw = plain.encode(errors="surrogateescape")
    renewed = keys.renewed(Fernet(OLD).encrypt(raw).decode())
    assert Fernet(NEW).decrypt(renewed) == raw


def test_a_second_time_changes_nothing(keys):
    once = keys.renewed(f"{token(OLD)} and {token(NEW)}")
    assert keys.renewed(once) == once


OF_NEITHER = [token(NEW), token(FOREIGN), "gAAAAA", "gAAAAA" + "x" * 200, ""]


# Tokens are others each time, and processes that share tests know them by name.
@pytest.mark.parametrize("text", OF_NEITHER, ids=range(len(OF_NEITHER)))
def test_what_is_of_the_new_key_or_of_none_stays_as_it_is(keys, text):
    assert keys.renewed(text) == text


def test_inside_a_document_all_else_stays(keys):
    document = {"options": {"secret": token(OLD)}, "rows": [1, "gAAAAA"], "also": token(OLDER)}
    renewed = json.loads(keys.renewed(json.dumps(document)))
    assert Fernet(NEW).decrypt(renewed["options"].pop("secret")) == b"s3cret"
    assert Fernet(NEW).decrypt(renewed.pop("also")) == b"s3cret"
    assert renewed == {"options": {}, "rows": [1, "gAAAAA"]}


@pytest.mark.parametrize("outer", [NEW, OLD], ids=["new", "old"])
def test_a_token_inside_a_token_is_reached(keys, outer):
    renewed = keys.renewed(token(outer, json.dumps({"inner": token(OLD)})))
    inner = json.loads(Fernet(NEW).decrypt(renewed))["inner"]
    assert Fernet(NEW).decrypt(inner) == b"s3cret"
