"""The accounts of MLflow as the host tool asks for them."""

import pytest

from orchestration.clients import accounts
from orchestration.errors import StackError

CURRENT = "GET /api/2.0/mlflow/users/current"


def test_mlflow_is_asked_for_each_account_by_its_own_password(web, make_settings):
    chosen = make_settings(MLFLOW_PORT=web.port)
    web.answers[CURRENT] = (200, {"user": {}})
    for name, setting in accounts.PASSWORDS.items():
        assert accounts.login(chosen, name) == (name, chosen[setting])
        assert not accounts.refused(chosen, name)
    web.answers[CURRENT] = (401, b"You are not authenticated.")
    assert accounts.refused(chosen, "worker")
    assert len({request.headers["Authorization"] for request in web.of(CURRENT)}) == 3


def test_an_mlflow_that_does_not_answer_is_told_without_a_password(
    dead_port, make_settings, engine
):
    chosen = make_settings(MLFLOW_PORT=dead_port)
    with pytest.raises(StackError, match="MLflow does not answer: ConnectionError"):
        accounts.let_admin_in(chosen, engine)


def test_an_admin_that_is_let_in_keeps_the_password(web, make_settings, engine):
    web.answers[CURRENT] = (200, {"user": {}})
    accounts.let_admin_in(make_settings(MLFLOW_PORT=web.port), engine)
    assert engine.asked == []
