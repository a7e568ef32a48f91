"""Let several processes use a new experiment or model at the same time.

MLflow creates an experiment and grants it to its creator in two steps, and a request in between is
refused. If two processes create the same experiment, MLflow's client does not use the one that
exists: it logs the runs of the second process to the experiment Default.
"""

import json
import re
from collections.abc import Callable, Iterable
from io import BytesIO
from threading import Lock
from time import monotonic
from typing import Any

CREATE = re.compile(r"/(ajax-)?api/2\.0/mlflow/(experiments|registered-models)/create")
CREATE_EXPERIMENT = "/api/2.0/mlflow/experiments/create"
LOG = re.compile(r"/(ajax-)?api/2\.0/mlflow/(runs/create|logged-models|traces)")
# How long after its creation an experiment is returned to other processes that create it.
SECONDS = 60
# Code that names no experiment uses this one.
DEFAULT_EXPERIMENT = "0"
NO_EXPERIMENT = {
    "error_code": "PERMISSION_DENIED",
    "message": "Permission denied: no experiment is set, and this account cannot log to the "
    'experiment Default. Set an experiment first: mlflow.set_experiment("NAME")',
}


class Creations:
    """WSGI middleware. `is_active` returns whether an experiment with this ID and name exists."""

    def __init__(
        self,
        app: Any,
        is_active: Callable[[str, str], bool],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.app, self.is_active, self.clock = app, is_active, clock
        self.lock = Lock()
        # By account and name: the ID of an experiment, and when it was created.
        self.recent: dict[tuple[str, str], tuple[str, float]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Run one creation at a time, and repeat a request that was refused during a creation."""
        from werkzeug.test import run_wsgi_app

        if CREATE.fullmatch(environ["PATH_INFO"]):
            with self.lock:
                body, status, headers = run_wsgi_app(self.app, environ, buffered=True)
                return _answer(start_response, *self._created(environ, body, status, headers))
        body, status, headers = run_wsgi_app(self.app, environ)
        if status.startswith("403"):
            # Read to its end, which ends the first request.
            b"".join(body)
            with self.lock:
                pass
            body, status, headers = run_wsgi_app(self.app, _again(environ), buffered=True)
            if status.startswith("403") and logs_to_default(environ):
                return _json(start_response, status, NO_EXPERIMENT)
        return _answer(start_response, body, status, headers)

    def _created(self, environ: dict[str, Any], body: Any, status: str, headers: Any) -> Any:
        """Return the answer to a creation: for a recent experiment, the one of its first request.

        Requests with more than a name still fail, because their other values would be lost.
        """
        request = _body(environ)
        if environ["PATH_INFO"] != CREATE_EXPERIMENT or [*request] != ["name"]:
            return body, status, headers
        answer, key = json.loads(b"".join(body := [*body])), (_account(environ), request["name"])
        now = self.clock()
        self.recent = {k: v for k, v in self.recent.items() if now - v[1] < SECONDS}
        if status.startswith("200"):
            self.recent[key] = answer["experiment_id"], now
        elif answer.get("error_code") == "RESOURCE_ALREADY_EXISTS" and key in self.recent:
            existing = self.recent[key][0]
            if self.is_active(existing, request["name"]):
                return _document({"experiment_id": existing}, "200 OK")
        return body, status, headers


def logs_to_default(environ: dict[str, Any]) -> bool:
    """Return whether a request logs to the experiment that is used if code names none."""
    if environ["REQUEST_METHOD"] != "POST" or not LOG.fullmatch(environ["PATH_INFO"]):
        return False
    return str(_body(environ).get("experiment_id") or DEFAULT_EXPERIMENT) == DEFAULT_EXPERIMENT


def is_active_experiment(experiment_id: str, name: str) -> bool:
    """Return whether MLflow's store has an experiment with this ID and name, not deleted."""
    from mlflow.server.handlers import _get_tracking_store

    experiment = _get_tracking_store().get_experiment(experiment_id)
    return (experiment.name, experiment.lifecycle_stage) == (name, "active")


def _account(environ: dict[str, Any]) -> str:
    from werkzeug.datastructures import Authorization

    account = Authorization.from_header(environ.get("HTTP_AUTHORIZATION"))
    return str(account.username) if account else ""


def _again(environ: dict[str, Any]) -> dict[str, Any]:
    environ["wsgi.input"].seek(0)
    return environ


def _body(environ: dict[str, Any]) -> dict[str, Any]:
    source: BytesIO = _again(environ)["wsgi.input"]
    try:
        document = json.loads(source.read())
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _document(document: dict[str, str], status: str) -> Any:
    text = json.dumps(document).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    return [text], status, headers


def _json(start_response: Any, status: str, document: dict[str, str]) -> Iterable[bytes]:
    return _answer(start_response, *_document(document, status))


def _answer(start_response: Any, body: Any, status: str, headers: Any) -> Iterable[bytes]:
    start_response(status, list(headers))
    return body  # type: ignore[no-any-return]
