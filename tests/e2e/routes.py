"""Print all routes of a server's application as a JSON list of [path, method].

Usage: `python routes.py airflow|mlflow`, with the environment and packages of the server. An
unknown kind of route raises an error, because no test would request a missing route.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

IGNORED = {"HEAD", "OPTIONS"}


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and method of each route, including those of mounted applications."""
    # Airflow's execution API creates a set of routes for each of its versions on its first request.
    getattr(app, "_cadwyn_initialize", lambda: None)()
    versions = getattr(app.router, "versioned_routers", {}).values()
    for route in flatten([*app.routes, *(r for version in versions for r in version.routes)]):
        path, methods = prefix + route.path, getattr(route, "methods", None)
        if methods:
            yield from ((path, method) for method in set(methods) - IGNORED)
        elif hasattr(route.app, "routes"):
            yield from routes(route.app, path)
        elif hasattr(flask := getattr(route.app, "app", None), "url_map"):
            for rule in flask.url_map.iter_rules():
                yield from ((path + rule.rule, method) for method in rule.methods - IGNORED)
        else:
            # Starlette's static files.
            yield f"{path}/{{file}}", "GET"


def flatten(routes: list[Any]) -> Iterator[Any]:
    """Replace included routers, which newer versions of FastAPI keep, with their routes."""
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from flatten(route.effective_candidates())
        else:
            yield route


def airflow() -> Any:
    """Create Airflow's complete API server."""
    from airflow.api_fastapi.app import create_app

    return create_app()


def mlflow() -> Any:
    """Create MLflow's complete server with authentication, but without its account database."""
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "unused"  # pragma: allowlist secret
    from mlflow.server import auth

    assert callable(auth._init_store_for_app), "This MLflow opens its accounts in another way."
    auth._init_store_for_app = lambda: None
    return auth.create_app()


if __name__ == "__main__":
    # Servers print to standard output when they start, so only the list may go there.
    stdout, sys.stdout = sys.stdout, sys.stderr
    app = {"airflow": airflow, "mlflow": mlflow}[sys.argv[1]]()
    print(json.dumps(sorted(set(routes(app)))), file=stdout)
