"""Authorize requests to MLflow's server by account, by the page they come from, and by method.

Named by `authorization_function` in mlflow_auth.ini. MLflow itself lets every account create
experiments and models. It also lets pages of other sites read, and pages of localhost write.
"""

import os
from typing import Any

# Created by accounts.py. It can read everything and change nothing.
READER = "status"
READ_METHODS = ("GET", "HEAD")
# Searches use POST. They return only what the account has permission to read.
SEARCHES = ("/experiments/search", "/runs/search")
API = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
# The assistant answers requests from this machine by starting programs.
ASSISTANT = "/mlflow/assistant/"
READS_BY_POST = frozenset(f"{prefix}{path}" for prefix in API for path in SEARCHES)


def authenticate() -> Any:
    """Check the credentials as MLflow does; also refuse foreign pages and writes by the reader."""
    from flask import request
    from mlflow.server.auth import authenticate_request_basic_auth, make_basic_auth_response
    from werkzeug.datastructures import Authorization

    if is_foreign(request.headers.get("Origin", "")):
        return _refuse("the request comes from a page of another site")
    credentials = request.authorization
    # Other schemes have no password, which makes 3.17.2 fail.
    if credentials is None or credentials.password is None:
        return make_basic_auth_response()
    account = authenticate_request_basic_auth()
    if isinstance(account, Authorization) and ASSISTANT in request.path:
        return _refuse("the assistant would run programs on this server")
    if not isinstance(account, Authorization) or account.username != READER:
        return account
    if is_read(request.method, request.path):
        return account
    return _refuse("this account is read-only")


def is_foreign(origin: str) -> bool:
    """Return whether the Origin header names another site; our own pages may send none."""
    own = os.environ.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "").split(",")
    return bool(origin) and origin not in own


def is_read(method: str, path: str) -> bool:
    """Return whether a request only reads."""
    return method in READ_METHODS or (method == "POST" and path in READS_BY_POST)


def _refuse(why: str) -> Any:
    from flask import Response

    return Response(f"Permission denied: {why}.\n", 403, mimetype="text/plain")
