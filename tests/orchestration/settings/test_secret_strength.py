"""Test that weak secrets are rejected and generated ones accepted."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.errors import StackError
from orchestration.settings import secret_strength, validation
from orchestration.settings.model import SECRETS

DEFAULTS = [
    "password1234password1234", "changeme123456789", "airflow-webserver-secret-key-2024",
    "mysecretpassword", "MySecretPassword123!", "supersecretkey_2024!", "minioadminminioadmin",
    "aaaaaaaaaaaaaaaaaa", "deadbeefdeadbeef", "your_super_secret_key_here",
    "change-this-airflow-secret-key", "postgres_postgres_1", "airflow:airflow@postgres",
    "foobared-foobared-1", "airflow", "postgres",
]  # fmt: skip
TYPED = "password1234 airflow2024 admin1234 postgres foobared1 Password! airflow1"
STRONG = ["correct-horse-battery-staple", "airflow-q7Zk2W9bT4eM"]
STRONG += ["0f7a9c3e5b1d8264"]  # pragma: allowlist secret


def weakness(name, value):
    return validation.weaknesses({name: value}).get(name, "")


@pytest.mark.parametrize("value", DEFAULTS)
def test_well_known_default_is_rejected_without_its_value(value):
    [problem] = validation.weak_secrets({"AIRFLOW_JWT_SECRET": value})
    assert problem.code == "weak-secret"
    assert problem.cause.startswith("AIRFLOW_JWT_SECRET is ")
    assert value not in str(problem)


@pytest.mark.parametrize("value", STRONG)
def test_strong_secret_is_accepted(value):
    assert not weakness("AIRFLOW_JWT_SECRET", value)


@pytest.mark.parametrize("value", TYPED.split())
def test_weak_typed_password_is_rejected(value):
    assert weakness("_AIRFLOW_WWW_USER_PASSWORD", value)


@pytest.mark.parametrize("name", [name for name in SECRETS if name != "AIRFLOW_FERNET_KEY"])
@pytest.mark.parametrize("spell", [str.upper, str.lower, lambda name: name.replace("_", "-")])
def test_name_of_the_secret_is_rejected(name, spell):
    assert secret_strength.weakness(name, spell(name))


@pytest.mark.parametrize("key", sorted(secret_strength.PUBLISHED_KEYS))
def test_published_key_is_rejected_without_its_value(key):
    for name in ("AIRFLOW_FERNET_KEY", "AIRFLOW_WEB_SECRET_KEY"):
        assert weakness(name, key) == "a published sample"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (bytes(32), "too few different characters"),
        (b"\xfb\xff" * 16, "too few different characters"),
        (b"my fernet key of thirty-two byte", "text instead of random bytes"),
    ],
)
def test_fernet_key_that_is_not_random_is_rejected(raw, why):
    key = base64.urlsafe_b64encode(raw).decode()
    assert why in weakness("AIRFLOW_FERNET_KEY", key)


def test_previous_fernet_key_is_not_checked():
    strong, weak = SECRETS["AIRFLOW_FERNET_KEY"](), sorted(secret_strength.PUBLISHED_KEYS)[0]
    assert not weakness("AIRFLOW_FERNET_KEY", f"{strong},{weak}")
    assert weakness("AIRFLOW_FERNET_KEY", f"{weak},{strong}")


@given(st.sampled_from([*SECRETS]))
def test_generated_secret_is_accepted(name):
    assert not weakness(name, SECRETS[name]())


def test_same_value_for_two_secrets_is_rejected(make_settings):
    value = SECRETS["REDIS_PASSWORD"]()
    with pytest.raises(StackError) as error:
        make_settings(REDIS_PASSWORD=value, STATUS_PASSWORD=value).refuse_unsafe()
    [problem] = error.value.problems
    assert problem.cause == "STATUS_PASSWORD is the same as REDIS_PASSWORD."
    assert value not in str(error.value)
