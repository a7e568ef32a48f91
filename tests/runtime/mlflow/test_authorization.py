"""Test which requests MLflow's server allows, by account and page."""

from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module


class Authorization(SimpleNamespace):
    """Fake of werkzeug's class."""


@pytest.fixture
def request_result(script, monkeypatch):
    """Authorize a request, and return the account's name or the status code of the refusal."""
    own = "http://localhost:5000,http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", own)
    module = script("mlflow.authorization")

    def send(name, method, path, **headers):
        credentials = SimpleNamespace(password="nobody's" if name != "token" else None)
        request = SimpleNamespace(
            method=method, path=path, headers=headers, authorization=credentials
        )
        refusal = SimpleNamespace(status=401)
        account = Authorization(username=name) if name else refusal
        fake_module(monkeypatch, "werkzeug.datastructures", Authorization=Authorization)
        answers = {
            "authenticate_request_basic_auth": lambda: account,
            "make_basic_auth_response": lambda: refusal,
        }
        fake_module(monkeypatch, "mlflow.server.auth", **answers)
        response = {"Response": lambda text, code, mimetype: SimpleNamespace(status=code)}
        fake_module(monkeypatch, "flask", request=request, **response)
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
