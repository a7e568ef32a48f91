"""MLflow's accounts of people, through its API as `admin`: list, add, change and remove them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import requests

from orchestration.clients import http
from orchestration.clients.accounts import ADMIN, PASSWORDS, login
from orchestration.errors import StackError
from orchestration.settings.model import Settings

# A server that has just started, on a busy machine, takes seconds for its first answer.
TIMEOUT_SECONDS = 30
# Without workspaces, MLflow keeps all objects and roles in this one.
WORKSPACE = "default"
# MLflow's roles grant permissions. That `reader` cannot create anything is a rule of this stack
# (stack_runtime/mlflow/authorization.py).
ROLES: Mapping[str, str] = MappingProxyType(
    {
        "reader": "Reads all experiments and models, and changes nothing.",
        "writer": "Reads all experiments and models, and creates its own.",
    }
)
READABLE = ("experiment", "registered_model", "prompt")


@dataclass(frozen=True)
class Account:
    """An account; `role` is "" if it was created without one, as on MLflow's sign-up page."""

    name: str
    role: str


class MlflowAccounts:
    """A client of MLflow's accounts. Each method raises StackError if MLflow refuses or is down."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.url("MLFLOW_PORT")

    @cached_property
    def session(self) -> requests.Session:
        """A session with the account `admin`."""
        session = http.session(self.settings)
        session.auth = login(self.settings, ADMIN)
        return session

    def all(self) -> list[Account]:
        """Return the accounts of people, sorted by name."""
        users = self._send("GET", "2.0", "users/list")["users"]
        accounts = [Account(user["username"], _role(user["roles"])) for user in users]
        return sorted(
            (each for each in accounts if each.name not in PASSWORDS), key=lambda each: each.name
        )

    def create(self, name: str, password: str) -> None:
        """Create an account without a role."""
        self._send("POST", "2.0", "users/create", {"username": name, "password": password})

    def set_password(self, name: str, password: str) -> None:
        """Set the password of an account. The old one stops working at once."""
        body = {"username": name, "password": password}
        self._send("PATCH", "2.0", "users/update-password", body)

    def set_role(self, name: str, role: str, previous: str = "") -> None:
        """Give an account one of ROLES instead of its previous one."""
        if role == previous:
            return
        body = {"username": name, "role_id": self._role_id(role)}
        self._send("POST", "3.0", "roles/assign", body)
        if previous:
            body = {"username": name, "role_id": self._role_id(previous)}
            self._send("DELETE", "3.0", "roles/unassign", body)

    def remove(self, name: str) -> None:
        """Remove an account. Its experiments and models stay."""
        self._send("DELETE", "2.0", "users/delete", {"username": name})

    def _role_id(self, role: str) -> int:
        """Return the ID of one of ROLES, with all its permissions; create what is missing."""
        roles = self._send("GET", "3.0", f"roles/list?workspace={WORKSPACE}")["roles"]
        found = next((each for each in roles if each["name"] == role), None)
        if not found:
            body = {"name": role, "workspace": WORKSPACE, "description": ROLES[role]}
            found = self._send("POST", "3.0", "roles/create", body)["role"]
        number = int(found["id"])
        path = f"roles/permissions/list?role_id={number}"
        granted = self._send("GET", "3.0", path)["role_permissions"]
        readable = {each["resource_type"] for each in granted if each["resource_pattern"] == "*"}
        for kind in READABLE:
            if kind not in readable:
                grant = {"resource_type": kind, "resource_pattern": "*", "permission": "READ"}
                self._send("POST", "3.0", "roles/permissions/add", {"role_id": number, **grant})
        return number

    def _send(self, method: str, version: str, path: str, body: Any = None) -> Any:
        url = f"{self.address}/api/{version}/mlflow/{path}"
        try:
            answer = self.session.request(method, url, json=body, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            cause = f"MLflow does not answer at {self.address} ({type(error).__name__})."
            raise StackError(cause, fix="inv up") from None
        if answer.status_code == requests.codes.unauthorized:
            raise StackError(
                f"MLflow rejects account {ADMIN} with the password in .env.",
                fix=f"Set {PASSWORDS[ADMIN]} in .env to the account's password.",
            )
        if not answer.ok:
            cause = f"MLflow rejected a request ({answer.status_code}): {_detail(answer)}"
            raise StackError(cause, fix="inv logs -s mlflow")
        return answer.json()


def _role(roles: list[dict[str, Any]]) -> str:
    """Return which of ROLES an account has; the weaker one if it has both."""
    names = {role["name"] for role in roles}
    return next((role for role in ROLES if role in names), "")


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, LookupError, TypeError):
        return answer.text[:300]
