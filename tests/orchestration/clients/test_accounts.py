"""Test the checks and resets of MLflow's account passwords."""

import pytest

from orchestration.clients import accounts
from orchestration.errors import StackError

CURRENT = "GET /api/2.0/mlflow/users/current"


def test_password_rejected_logs_in_with_the_account_of_each_setting(web, make_settings):
    chosen = make_settings(MLFLOW_PORT=web.port)
    web.answers[CURRENT] = (200, {"user": {}})
    for name, setting in accounts.PASSWORDS.items():
        assert accounts.login(chosen, name) == (name, chosen[setting])
        assert not accounts.password_rejected(chosen, name)
    web.answers[CURRENT] = (401, b"You are not authenticated.")
    assert accounts.password_rejected(chosen, "worker")
    assert len({request.headers["Authorization"] for request in web.requests_for(CURRENT)}) == 3


def test_sync_admin_password_without_mlflow_raises(dead_port, make_settings, engine):
    chosen = make_settings(MLFLOW_PORT=dead_port)
    with pytest.raises(StackError, match=r"MLflow does not answer \(ConnectionError\)"):
        accounts.sync_admin_password(chosen, engine)


def test_sync_admin_password_accepted_changes_nothing(web, make_settings, engine):
    web.answers[CURRENT] = (200, {"user": {}})
    accounts.sync_admin_password(make_settings(MLFLOW_PORT=web.port), engine)
    assert engine.calls == []
