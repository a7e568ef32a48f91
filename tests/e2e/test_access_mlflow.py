"""Test the access control of all routes of MLflow's server, which lists them itself."""

import base64
import contextlib
import http.client
import secrets

import pytest
import requests

from tests.e2e import access

# Routes that answer without credentials, as patterns of `METHOD path status`, with the reason.
OPEN = {
    r"GET /health 200": "health check",
    r"GET /(ajax-)?api/3.0/mlflow/server-info 200": "the type of the server, for clients",
    r"GET /static-files/<path:path> 404": "files of the page",
}
# POST routes that answer the status page's account because they write nothing.
SEARCHES = {r"POST /(ajax-)?api/2.0/mlflow/(experiments|runs)/search \d+": "search"}
DATA = (
    ("POST", "/api/2.0/mlflow/experiments/search"),
    ("POST", "/ajax-api/2.0/mlflow/runs/search"),
    ("GET", "/api/2.0/mlflow/registered-models/search"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts?path="),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/a"),
    ("GET", "/get-artifact?path=a&run_uuid=1"),
    ("GET", "/model-versions/get-artifact?path=a&name=b&version=1"),
    ("POST", "/graphql"),
    ("POST", "/v1/traces"),
    ("POST", "/api/3.0/mlflow/traces/search"),
    ("POST", "/ajax-api/3.0/jobs/search"),
    ("GET", "/gateway/mlflow/v1/models"),
    ("GET", "/api/2.0/mlflow/users/list"),
    ("GET", "/version"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
)
UNUSED_PASSWORD = "made up and refused"  # pragma: allowlist secret
# Paths that would bypass a check of their first part.
BYPASSES = (
    "/health/../api/2.0/mlflow/registered-models/search",
    "/static-files/../api/2.0/mlflow/registered-models/search",
    "/static-files/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
    "/static-files/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "//api/2.0/mlflow/registered-models/search",
    "/api/2.0/mlflow/registered-models/search/",
    "/favicon.ico/../version",
)


@pytest.fixture(scope="module")
def base(stack):
    return stack.url("MLFLOW_PORT")


@pytest.fixture(scope="module")
def routes(stack):
    return access.routes_from(access.start_listing(stack, "mlflow"))


def account(name, password):
    session = requests.Session()
    session.auth = (name, password)
    return session


@pytest.fixture(scope="module")
def admin(stack):
    return account("admin", stack.setting("MLFLOW_ADMIN_PASSWORD"))


@pytest.fixture(scope="module")
def worker(stack):
    return account("worker", stack.setting("MLFLOW_WORKER_PASSWORD"))


@pytest.fixture(scope="module")
def colleague(base, admin):
    """Create an account without permissions."""
    user = {"username": "colleague", "password": secrets.token_urlsafe(15)}
    users = f"{base}/api/2.0/mlflow/users"
    response = admin.post(f"{users}/create", json=user, timeout=30)
    assert response.ok, response.text
    yield account(*user.values())
    admin.delete(f"{users}/delete", json={"username": "colleague"}, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def experiment(base, worker):
    """Create an experiment as the account `worker`."""
    experiments, name = f"{base}/api/2.0/mlflow/experiments", f"access {secrets.token_hex(4)}"
    created = worker.post(f"{experiments}/create", json={"name": name}, timeout=30).json()
    yield created["experiment_id"]
    worker.post(f"{experiments}/delete", json=created, timeout=30).raise_for_status()


def test_routes_without_credentials_only_expected_ones_answer(base, routes):
    assert len(routes) > 500, "MLflow 3.17 has more routes. Some were not listed."
    assert not access.unexpected(access.open_routes(base, routes), OPEN)


@pytest.mark.parametrize("header", ["wrong password", "no password", "unknown user", "a token"])
def test_routes_with_wrong_credentials_are_refused(base, header):
    pairs = {"wrong password": b"admin:wrong", "no password": b"admin:", "unknown user": b"x:x"}
    session = requests.Session()
    basic = f"Basic {base64.b64encode(pairs.get(header, b'')).decode()}"
    session.headers["Authorization"] = basic if header in pairs else "Bearer x"
    assert not access.open_routes(base, [(path, method) for method, path in DATA], session)


@pytest.mark.parametrize("path", BYPASSES)
def test_path_variant_does_not_bypass_login(stack, path):
    # Use http.client, because `requests` would normalize the path.
    port = int(stack.exported["MLFLOW_PORT"])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("GET", path)
        response = client.getresponse()
        assert response.status in (400, 401, 403, 404), response.read()[:200]


def test_status_account_writes_nothing(base, routes, stack):
    reader = account("status", stack.setting("STATUS_PASSWORD"))
    writing = [(path, method) for path, method in routes if method != "GET"]
    assert len(writing) > 300
    assert not access.unexpected(access.open_routes(base, writing, reader), SEARCHES)
    # The account itself is valid.
    response = reader.get(f"{base}/api/2.0/mlflow/registered-models/search", timeout=30)
    assert response.status_code == 200


def test_experiment_is_hidden_from_other_accounts(base, colleague, experiment, stack):
    request = {"url": f"{base}/api/2.0/mlflow/experiments/get", "timeout": 30}
    request["params"] = {"experiment_id": experiment}
    assert colleague.get(**request).status_code == 403
    assert account("status", stack.setting("STATUS_PASSWORD")).get(**request).status_code == 200
    search = f"{base}/api/2.0/mlflow/experiments/search"
    assert not colleague.post(search, json={"max_results": 100}, timeout=30).json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "runs/create", {"experiment_id": "{experiment}"}),
        ("POST", "experiments/delete", {"experiment_id": "{experiment}"}),
        ("GET", "users/get?username=admin", None),
        ("POST", "users/create", {"username": "mine", "password": UNUSED_PASSWORD}),
        ("PATCH", "users/update-password", {"username": "admin", "password": UNUSED_PASSWORD}),
        ("PATCH", "users/update-admin", {"username": "colleague", "is_admin": True}),
        ("DELETE", "users/delete", {"username": "worker"}),
    ],
)
def test_account_changes_nothing_of_others(base, colleague, experiment, method, path, body):
    body = body and {
        key: experiment if value == "{experiment}" else value for key, value in body.items()
    }
    url = f"{base}/api/2.0/mlflow/{path}"
    assert colleague.request(method, url, json=body, timeout=30).status_code == 403


def test_assistant_routes_are_refused(base, routes, worker):
    """MLflow's assistant would run shell commands for any account on this machine."""
    writing = [route for route in routes if "/mlflow/assistant/" in route[0] and route[1] != "GET"]
    assert len(writing) >= 5
    assert not access.open_routes(base, writing, worker)
