"""Every route of a server, asked of the application itself: a list of [path, method] as JSON.

Runs where the server runs, with its environment and packages: `python routes.py airflow` or
`mlflow`. What it does not know raises: a route that is overlooked would never be tried.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

UNASKED = {"HEAD", "OPTIONS"}


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Path and method of each route, also of what is mounted below."""
    # Airflow's execution API makes its routes, a set for each of its versions, when first called.
    getattr(app, "_cadwyn_initialize", lambda: None)()
    versions = getattr(app.router, "versioned_routers", {}).values()
    for route in flat([*app.routes, *(one for version in versions for one in version.routes)]):
        path, methods = prefix + route.path, getattr(route, "methods", None)
        if methods:
            yield from ((path, method) for method in set(methods) - UNASKED)
        elif hasattr(route.app, "routes"):
            yield from routes(route.app, path)
        elif hasattr(flask := getattr(route.app, "app", None), "url_map"):
            for rule in flask.url_map.iter_rules():
                yield from ((path + rule.rule, method) for method in rule.methods - UNASKED)
        else:
            # Files, as Starlette serves them.
            yield f"{path}/{{file}}", "GET"


def flat(found: list[Any]) -> Iterator[Any]:
    """Routes; newer versions of FastAPI keep included routers whole."""
    for route in found:
        if hasattr(route, "effective_candidates"):
            yield from flat(route.effective_candidates())
        else:
            yield route


def airflow() -> Any:
    """Airflow's whole API server."""
    from airflow.api_fastapi.app import create_app

    return create_app()


def mlflow() -> Any:
    """MLflow's whole server, with its authentication, but no account opened."""
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "unused"  # pragma: allowlist secret
    from mlflow.server import auth

    assert callable(auth._init_store_for_app), "this MLflow opens its accounts in another way"
    auth._init_store_for_app = lambda: None
    return auth.create_app()


if __name__ == "__main__":
    # Servers print while they start.
    told, sys.stdout = sys.stdout, sys.stderr
    found = routes({"airflow": airflow, "mlflow": mlflow}[sys.argv[1]]())
    print(json.dumps(sorted(set(found))), file=told)
