"""Check the passwords of the accounts that the host tool uses, and reset rejected ones."""

from http import HTTPStatus

import requests

from orchestration.clients import http
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import Runtime, runtime_module
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until
from orchestration.settings.model import Settings

TIMEOUT_SECONDS = 5
LOGIN_SECONDS = 60
# MLflow's accounts.
ADMIN, WORKER, READER = "admin", "worker", "status"
# The setting that contains the password of each account.
PASSWORDS = {
    ADMIN: "MLFLOW_ADMIN_PASSWORD", WORKER: "MLFLOW_WORKER_PASSWORD", READER: "STATUS_PASSWORD",
}  # fmt: skip


def login(chosen: Settings, name: str) -> tuple[str, str]:
    """Return an account's name and password, in the form of `requests`."""
    return name, chosen[PASSWORDS[name]]


def password_rejected(chosen: Settings, name: str) -> bool:
    """Return whether MLflow rejects the password that .env has for this account.

    Raises requests.RequestException if MLflow does not answer.
    """
    address = f"{chosen.url('MLFLOW_PORT')}/api/2.0/mlflow/users/current"
    with http.session(chosen) as session:
        answer = session.get(address, auth=login(chosen, name), timeout=TIMEOUT_SECONDS)
    return answer.status_code == HTTPStatus.UNAUTHORIZED


def sync_admin_password(chosen: Settings, engine: Runtime) -> bool:
    """Set the password of MLflow's admin from .env if MLflow rejects it; return whether it did.

    The other accounts get theirs at every start. Raises StackError if it cannot be set.
    """
    try:
        if not password_rejected(chosen, ADMIN):
            return False
    except requests.RequestException as error:
        cause = f"MLflow does not answer ({type(error).__name__})."
        raise StackError(cause, fix="inv logs -s mlflow") from None
    argv = (*runtime_module("mlflow.accounts"), "renew")
    runner.run(engine.command("mlflow-migrate", argv))
    return True


def sync_airflow_password(chosen: Settings, engine: Runtime) -> bool:
    """Set the password of Airflow's first account from .env if the login fails.

    Returns whether it did. Raises StackError if the login still fails after LOGIN_SECONDS.
    """
    try:
        Airflow(chosen).session.close()
        return False
    except StackError:
        argv = (*runtime_module("airflow.init_database"), "renew")
        runner.run(engine.command("airflow-init", argv))

    # The API server caches the old password for some seconds.
    def log_in() -> bool:
        Airflow(chosen).session.close()
        return True

    return bool(wait_until(log_in, LOGIN_SECONDS, pause=1, retry=(StackError,)))
