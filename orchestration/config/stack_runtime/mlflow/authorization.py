"""Who may ask MLflow's server: known by name and password, from its own pages, to read or to write.

Named by `authorization_function` in mlflow_auth.ini. What MLflow leaves open by itself: whoever may
log in makes experiments and models, and pages of other sites may read, those of localhost write.
"""

import os
from typing import Any

# Created by accounts.py; may read whatever there is, and do nothing else.
READER = "status"
READING = ("GET", "HEAD")
# Searches are asked by POST; what they find is what a permission to read shows.
SEARCHES = ("/experiments/search", "/runs/search")
API = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
# Its answers come from programs that it starts, for whoever asks from this machine.
ASSISTANT = "/mlflow/assistant/"
ASKED_BY_POST = frozenset(f"{prefix}{path}" for prefix in API for path in SEARCHES)


def authenticate() -> Any:
    """MLflow's own answer on name and password; 403 for foreign pages, and readers that write."""
    from flask import request
    from mlflow.server.auth import authenticate_request_basic_auth, make_basic_auth_response
    from werkzeug.datastructures import Authorization

    if foreign(request.headers.get("Origin", "")):
        return _refused("this page is of another site")
    given = request.authorization
    # Another scheme has no password, on which 3.17.2 would fail.
    if given is None or given.password is None:
        return make_basic_auth_response()
    who = authenticate_request_basic_auth()
    if isinstance(who, Authorization) and ASSISTANT in request.path:
        return _refused("it runs programs where this server runs")
    if not isinstance(who, Authorization) or who.username != READER:
        return who
    return who if reads(request.method, request.path) else _refused("this account only reads")


def foreign(origin: str) -> bool:
    """Whether a browser says that a page of another site asks; its own page says nothing, or so."""
    own = os.environ.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "").split(",")
    return bool(origin) and origin not in own


def reads(method: str, path: str) -> bool:
    """Whether a request changes nothing."""
    return method in READING or (method == "POST" and path in ASKED_BY_POST)


def _refused(why: str) -> Any:
    from flask import Response

    return Response(f"Permission denied: {why}\n", 403, mimetype="text/plain")
