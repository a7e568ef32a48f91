"""MLflow's accounts as this machine's verbs use them, and whether MLflow lets them in."""

from http import HTTPStatus

import requests

from orchestration import StackError, shell, web
from orchestration.engine import Engine
from orchestration.settings import Settings

PATIENCE_SECONDS = 5
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
    with web.session(chosen) as session:
        answer = session.get(address, auth=login(chosen, name), timeout=PATIENCE_SECONDS)
    return answer.status_code == HTTPStatus.UNAUTHORIZED


def let_admin_in(chosen: Settings, engine: Engine) -> None:
    """Give MLflow's admin the password of .env, where the backup's was another.

    The other accounts get theirs with every start. Raises StackError where that cannot be.
    """
    try:
        if not refused(chosen, ADMIN):
            return
    except requests.RequestException as error:
        raise StackError(f"MLflow does not answer: {type(error).__name__}") from None
    argv = ("python", engine.script("mlflow_accounts.py"), "renew")
    shell.output(engine.command("mlflow-migrate", argv))
    print(f"MLflow's account {ADMIN} has the password of .env, in the backup it was another")
