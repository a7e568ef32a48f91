"""The accounts that this machine's verbs use: whether they are let in, and how they are."""

from http import HTTPStatus

import requests

from orchestration.clients import http
from orchestration.clients.airflow import Airflow
from orchestration.engines.base import Runtime, runtime_module
from orchestration.errors import StackError
from orchestration.process import runner
from orchestration.process.wait import wait_until
from orchestration.settings.model import Settings

PATIENCE_SECONDS = 5
RENEWED_SECONDS = 60
# Of MLflow.
ADMIN, WORKER, READER = "admin", "worker", "status"
# The setting that holds each one's password.
PASSWORDS = {
    ADMIN: "MLFLOW_ADMIN_PASSWORD", WORKER: "MLFLOW_WORKER_PASSWORD", READER: "STATUS_PASSWORD",
}  # fmt: skip


def login(chosen: Settings, name: str) -> tuple[str, str]:
    """An account's name and password, as `requests` takes them."""
    return name, chosen[PASSWORDS[name]]


def refused(chosen: Settings, name: str) -> bool:
    """Whether MLflow says that this is not the account's password.

    Raises requests.RequestException where it does not answer.
    """
    address = f"{chosen.url('MLFLOW_PORT')}/api/2.0/mlflow/users/current"
    with http.session(chosen) as session:
        answer = session.get(address, auth=login(chosen, name), timeout=PATIENCE_SECONDS)
    return answer.status_code == HTTPStatus.UNAUTHORIZED


def let_admin_in(chosen: Settings, engine: Runtime) -> bool:
    """Give MLflow's admin the password of .env where that is refused; whether it was.

    The other accounts get theirs with every start. Raises StackError where that cannot be.
    """
    try:
        if not refused(chosen, ADMIN):
            return False
    except requests.RequestException as error:
        raise StackError(f"MLflow does not answer: {type(error).__name__}") from None
    argv = (*runtime_module("mlflow.accounts"), "renew")
    runner.run(engine.command("mlflow-migrate", argv))
    return True


def let_first_account_in(chosen: Settings, engine: Runtime) -> bool:
    """Give Airflow's first account the password of .env where that is refused; whether it was.

    Raises StackError where the account is refused for another reason, or for longer than
    RENEWED_SECONDS.
    """
    try:
        Airflow(chosen).session.close()
        return False
    except StackError:
        argv = (*runtime_module("airflow.init_database"), "renew")
        runner.run(engine.command("airflow-init", argv))

    # The API server goes on for some seconds with what it read when it refused.
    def let_in() -> bool:
        Airflow(chosen).session.close()
        return True

    return bool(wait_until(let_in, RENEWED_SECONDS, pause=1, retry=(StackError,)))
