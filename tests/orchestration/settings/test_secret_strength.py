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


def weakness(name, value):
    return validation.weaknesses({name: value}).get(name, "")


@pytest.mark.parametrize("value", DEFAULTS)
def test_a_default_of_a_guide_is_refused_and_never_repeated(value):
    [problem] = validation.weak_secrets({"AIRFLOW_JWT_SECRET": value})
    assert problem.code == "weak-secret"
    assert problem.cause.startswith("AIRFLOW_JWT_SECRET is ")
    assert value not in str(problem)


@pytest.mark.parametrize("value", STRONG)
def test_a_strong_secret_is_accepted(value):
    assert not weakness("AIRFLOW_JWT_SECRET", value)


@pytest.mark.parametrize("value", TYPED.split())
def test_a_password_that_people_type_is_judged_too(value):
    assert weakness("_AIRFLOW_WWW_USER_PASSWORD", value)


@pytest.mark.parametrize("name", [name for name in SECRETS if name != "AIRFLOW_FERNET_KEY"])
@pytest.mark.parametrize("written", [str.upper, str.lower, lambda name: name.replace("_", "-")])
def test_the_name_of_a_secret_is_none(name, written):
    assert secret_strength.guessable(name, written(name))


@pytest.mark.parametrize("key", sorted(secret_strength.KNOWN))
def test_a_key_that_guides_hand_out_is_refused_and_never_repeated(key):
    for name in ("AIRFLOW_FERNET_KEY", "AIRFLOW_WEB_SECRET_KEY"):
        told = weakness(name, key)
        assert told == "a sample that everybody knows"


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
    assert why in weakness("AIRFLOW_FERNET_KEY", key)


def test_a_former_fernet_key_behind_the_new_one_is_not_judged():
    new, former = SECRETS["AIRFLOW_FERNET_KEY"](), sorted(secret_strength.KNOWN)[0]
    assert not weakness("AIRFLOW_FERNET_KEY", f"{new},{former}")
    assert weakness("AIRFLOW_FERNET_KEY", f"{former},{new}")


@given(st.sampled_from([*SECRETS]))
def test_what_is_made_here_is_never_refused(name):
    assert not weakness(name, SECRETS[name]())


def test_one_value_for_two_secrets_is_refused(make_settings):
    value = SECRETS["REDIS_PASSWORD"]()
    with pytest.raises(StackError) as refused:
        make_settings(REDIS_PASSWORD=value, STATUS_PASSWORD=value).refuse_unsafe()
    [problem] = refused.value.problems
    assert problem.cause == "STATUS_PASSWORD is the same as REDIS_PASSWORD."
    assert value not in str(refused.value)
