"""Test which requests MLflow's server allows, by account and page."""

from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module


class Authorization(SimpleNamespace):
    """Fake of werkzeug's class."""


class Attributes(SimpleNamespace):
    """Fake of Flask's `g`."""

    def __contains__(self, name):
        return hasattr(self, name)


@pytest.fixture
def request_result(script, monkeypatch):
    """Authorize a request, and return the account's name or the status code of the refusal."""
    own = "http://localhost:5000,http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", own)
    module = script("mlflow.authorization")
    roles = {1: [SimpleNamespace(name="reader")], 2: [SimpleNamespace(name="writer")], 3: []}
    numbers = {"ada": 1, "grace": 2, "alone": 3}

    def user(name):
        return SimpleNamespace(id=numbers[name])

    def send(name, method, path, body=None, **headers):
        credentials = SimpleNamespace(password="nobody's" if name != "token" else None)
        request = SimpleNamespace(
            method=method, path=path, headers=headers, authorization=credentials
        )
        request.get_json = lambda silent: body
        refusal = SimpleNamespace(status=401)
        account = Authorization(username=name) if name else refusal
        fake_module(monkeypatch, "werkzeug.datastructures", Authorization=Authorization)
        answers = {
            "authenticate_request_basic_auth": lambda: account,
            "make_basic_auth_response": lambda: refusal,
            "store": SimpleNamespace(get_user=user, list_user_roles=lambda number: roles[number]),
        }
        fake_module(monkeypatch, "mlflow.server.auth", **answers)
        response = {"Response": lambda text, code, mimetype: SimpleNamespace(status=code)}
        g = Attributes()
        fake_module(monkeypatch, "flask", request=request, g=g, **response)
        result = module.authenticate()
        return result.username if isinstance(result, Authorization) else result.status

    return send


API = "/api/2.0/mlflow"


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", f"{API}/experiments/search", "status"),
        ("POST", f"{API}/runs/search", "status"),
        ("GET", f"{API}/registered-models/alias", "status"),
        ("POST", f"{API}/experiments/create", 403),
        ("POST", f"{API}/registered-models/create", 403),
        ("POST", f"{API}/experiments/search/", 403),
        ("PATCH", f"{API}/users/update-password", 403),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x", 403),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/x", 403),
        ("POST", "/graphql", 403),
    ],
)
def test_status_account_can_only_read(request_result, method, path, answer):
    assert request_result("status", method, path) == answer
    assert request_result("worker", method, path) == "worker"


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", f"{API}/registered-models/alias", "ada"),
        ("POST", f"{API}/runs/search", "ada"),
        ("POST", "/ajax-api/2.0/mlflow/logged-models/search", "ada"),
        ("POST", "/api/3.0/mlflow/traces/search", "ada"),
        ("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", "ada"),
        ("POST", "/graphql", "ada"),
        ("PATCH", f"{API}/users/update-password", "ada"),
        ("POST", f"{API}/experiments/create", 403),
        ("POST", f"{API}/registered-models/create", 403),
        ("POST", f"{API}/runs/create", 403),
        ("POST", "/api/3.0/mlflow/search/create", 403),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/search", 403),
    ],
)
def test_reader_can_only_read(request_result, method, path, answer):
    assert request_result("ada", method, path) == answer
    assert request_result("grace", method, path) == "grace"
    assert request_result("alone", method, path) == "alone"


@pytest.mark.parametrize(
    ("location", "answer"),
    [
        (None, "grace"),
        ("", "grace"),
        ("s3://bucket/folder", "grace"),
        ("mlflow-artifacts:/team-x", 400),
        ("MLFLOW-ARTIFACTS:/1", 400),
        ("http://localhost:5000/api/2.0/mlflow-artifacts/artifacts/x", 400),
    ],
)
def test_experiment_with_its_own_location_is_refused(request_result, location, answer):
    body = {"name": "team-x", "artifact_location": location}
    for prefix in ("/api", "/ajax-api"):
        path = f"{prefix}/2.0/mlflow/experiments/create"
        assert request_result("grace", "POST", path, body) == answer
    assert request_result("grace", "POST", f"{API}/experiments/create", ["no object"]) == "grace"


@pytest.mark.parametrize(
    ("origin", "host", "answer"),
    [
        ("http://localhost:15000", "localhost:15000", "worker"),
        ("https://127.0.0.1:15000", "127.0.0.1:15000", "worker"),
        ("http://[::1]:15000", "[::1]:15000", "worker"),
        ("http://localhost:15001", "localhost:15000", 403),
        ("http://evil.example:5000", "evil.example:5000", 403),
        ("http://localhost:5000.evil.example", "localhost:5000.evil.example", 403),
        ("http://[", "[", 403),
    ],
)
def test_page_through_a_tunnel_is_not_foreign(request_result, origin, host, answer):
    headers = {"Origin": origin, "Host": host}
    assert request_result("worker", "POST", f"{API}/experiments/search", **headers) == answer


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("origin", "answer"),
    [
        ("http://localhost:5000", "worker"),
        ("http://localhost:5001", 403),
        ("https://localhost:5000", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
def test_foreign_origin_is_refused(request_result, method, origin, answer):
    path = f"{API}/experiments/search"
    assert request_result("worker", method, path, Origin=origin) == answer


@pytest.mark.parametrize("name", ["", "token"], ids=["no password", "another scheme"])
def test_request_without_password_gets_401(request_result, name):
    assert request_result(name, "GET", "/") == 401


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_assistant_is_refused(request_result, method):
    path = "/ajax-api/3.0/mlflow/assistant/config"
    assert [request_result(name, method, path) for name in ("admin", "")] == [403, 401]


def test_is_foreign_without_allowed_origins(script, monkeypatch):
    monkeypatch.delenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", raising=False)
    module = script("mlflow.authorization")
    assert module.is_foreign("http://localhost:5000")
    assert not module.is_foreign("")
