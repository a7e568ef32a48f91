"""What everybody tries first is no secret; what is made here always is one."""

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


@pytest.mark.parametrize("value", DEFAULTS)
def test_a_default_of_a_guide_is_refused_and_never_repeated(value):
    told = validation.weak("AIRFLOW_JWT_SECRET", value)
    assert told.startswith("AIRFLOW_JWT_SECRET is ")
    assert value not in told


@pytest.mark.parametrize("value", STRONG)
def test_a_strong_secret_is_accepted(value):
    assert validation.weak("AIRFLOW_JWT_SECRET", value) == ""


@pytest.mark.parametrize("value", TYPED.split())
def test_a_password_that_people_type_is_judged_too(value):
    assert validation.weak("_AIRFLOW_WWW_USER_PASSWORD", value)


@pytest.mark.parametrize("name", [name for name in SECRETS if name != "AIRFLOW_FERNET_KEY"])
@pytest.mark.parametrize("written", [str.upper, str.lower, lambda name: name.replace("_", "-")])
def test_the_name_of_a_secret_is_none(name, written):
    assert secret_strength.guessable(name, written(name))


@pytest.mark.parametrize("key", sorted(secret_strength.KNOWN))
def test_a_key_that_guides_hand_out_is_refused_and_never_repeated(key):
    for name in ("AIRFLOW_FERNET_KEY", "AIRFLOW_WEB_SECRET_KEY"):
        told = validation.weak(name, key)
        assert key not in told
    assert "is a sample that everybody knows" in told


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (bytes(32), "too few different characters"),
        (b"\xfb\xff" * 16, "too few different characters"),
        (b"my fernet key of thirty-two byte", "text, and not random"),
    ],
)
def test_a_fernet_key_that_nobody_drew_is_refused(raw, why):
    key = base64.urlsafe_b64encode(raw).decode()
    assert why in validation.weak("AIRFLOW_FERNET_KEY", key)


def test_a_former_fernet_key_behind_the_new_one_is_not_judged():
    new, former = SECRETS["AIRFLOW_FERNET_KEY"](), sorted(secret_strength.KNOWN)[0]
    assert validation.weak("AIRFLOW_FERNET_KEY", f"{new},{former}") == ""
    assert validation.weak("AIRFLOW_FERNET_KEY", f"{former},{new}")


@given(st.sampled_from([*SECRETS]))
def test_what_is_made_here_is_never_refused(name):
    assert validation.weak(name, SECRETS[name]()) == ""


def test_one_value_for_two_secrets_is_refused(make_settings):
    value = SECRETS["REDIS_PASSWORD"]()
    with pytest.raises(StackError) as refused:
        make_settings(REDIS_PASSWORD=value, STATUS_PASSWORD=value).refuse_weak()
    assert str(refused.value).startswith("STATUS_PASSWORD has the value of REDIS_PASSWORD: ")
    assert value not in str(refused.value)
