"""Authorize requests to MLflow's server by account, by the page they come from, and by method.

Named by `authorization_function` in mlflow_auth.ini. MLflow itself lets every account create
experiments and models. It also lets pages of other sites read, and pages of localhost write.
"""

import json
import os
import re
from http import HTTPStatus
from typing import Any

from stack_runtime.mlflow.accounts import ADMIN, READER, WORKER

# The role of accounts that can read everything and change nothing; `inv accounts` assigns it.
READER_ROLE = "reader"
READ_METHODS = ("GET", "HEAD")
# Searches use POST. They return only what the account has permission to read.
SEARCHES = ("/experiments/search", "/runs/search")
API = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
# The assistant answers requests from this machine by starting programs.
ASSISTANT = "/mlflow/assistant/"
READS_BY_POST = frozenset(f"{prefix}{path}" for prefix in API for path in SEARCHES)
# What MLflow's pages and clients send to read anything else, and to change one's own password.
READS_OF_PEOPLE = re.compile(
    r"POST /graphql|POST /(ajax-)?api/[23]\.0/mlflow/(.*/)?(search|batchGet)[\w-]*"
    r"|PATCH /(ajax-)?api/2\.0/mlflow/users/update-password"
)
LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
CREATE_EXPERIMENT = tuple(f"{prefix}/experiments/create" for prefix in API)
# Artifacts at these addresses go through this server, which finds their owner by their path.
OWN_ARTIFACTS = ("mlflow-artifacts", "http", "https")


def authenticate() -> Any:
    """Check the credentials as MLflow does; also refuse foreign pages and writes by readers."""
    from flask import request
    from mlflow.server.auth import authenticate_request_basic_auth, make_basic_auth_response
    from werkzeug.datastructures import Authorization

    if is_foreign(request.headers.get("Origin", ""), request.headers.get("Host", "")):
        return _refuse("the request comes from a page of another site")
    credentials = request.authorization
    # Other schemes have no password, which makes 3.17.2 fail.
    if credentials is None or credentials.password is None:
        return make_basic_auth_response()
    account = authenticate_request_basic_auth()
    if not isinstance(account, Authorization):
        return account
    if ASSISTANT in request.path:
        return _refuse("the assistant would run programs on this server")
    if not is_allowed(str(account.username), request.method, request.path):
        return _refuse("this account is read-only")
    if request.path in CREATE_EXPERIMENT and has_own_location(request.get_json(silent=True)):
        return _refuse_location()
    return account


def is_foreign(origin: str, host: str = "") -> bool:
    """Return whether the Origin header names another site; our own pages may send none.

    Through a tunnel, a page's own origin is its Host header: a name of this machine, with any port.
    """
    own = os.environ.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "").split(",")
    if not origin or origin in own:
        return False
    return origin.partition("//")[2] != host or not LOOPBACK.fullmatch(origin)


def is_read(method: str, path: str) -> bool:
    """Return whether a request only reads."""
    return method in READ_METHODS or (method == "POST" and path in READS_BY_POST)


def is_allowed(name: str, method: str, path: str) -> bool:
    """Return whether an account's role allows this kind of request; MLflow checks the object."""
    if is_read(method, path) or name in (ADMIN, WORKER):
        return True
    if name == READER:
        return False
    return bool(READS_OF_PEOPLE.fullmatch(f"{method} {path}")) or not has_reader_role(name)


def has_reader_role(name: str) -> bool:
    """Return whether an account has the role `reader`. Asks the database once in a request."""
    from flask import g
    from mlflow.server.auth import store

    if "is_reader" not in g:
        roles = store.list_user_roles(store.get_user(name).id)
        g.is_reader = READER_ROLE in [role.name for role in roles]
    return bool(g.is_reader)


def has_own_location(body: Any) -> bool:
    """Return whether the body of an experiment to create puts its artifacts at a path of its own.

    MLflow finds the owner of an artifact by the experiment's number in its path, so it would refuse
    every artifact of the experiment to its owner.
    """
    location = body.get("artifact_location") if isinstance(body, dict) else None
    return str(location or "").partition(":")[0].lower() in OWN_ARTIFACTS


def _refuse(why: str) -> Any:
    from flask import Response

    return Response(f"Permission denied: {why}.\n", HTTPStatus.FORBIDDEN, mimetype="text/plain")


def _refuse_location() -> Any:
    from flask import Response

    why = (
        "An experiment cannot have an artifact_location on this server: nobody could log artifacts "
        "there. Leave out artifact_location: mlflow.create_experiment(NAME)"
    )
    error = {"error_code": "INVALID_PARAMETER_VALUE", "message": why}
    return Response(json.dumps(error), HTTPStatus.BAD_REQUEST, mimetype="application/json")
