"""Who may ask MLflow's server what, and from which page."""

from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module


class Authorization(SimpleNamespace):
    """Of werkzeug."""


@pytest.fixture
def asked(script, monkeypatch):
    """What becomes of a request, by who asks: the account's name, or the code of a refusal."""
    own = "http://localhost:5000,http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", own)
    loaded = script("mlflow.authorization")

    def ask(name, method, path, **headers):
        given = SimpleNamespace(password="nobody's" if name != "token" else None)
        request = SimpleNamespace(method=method, path=path, headers=headers, authorization=given)
        refusal = SimpleNamespace(status=401)
        who = Authorization(username=name) if name else refusal
        fake_module(monkeypatch, "werkzeug.datastructures", Authorization=Authorization)
        answers = {
            "authenticate_request_basic_auth": lambda: who,
            "make_basic_auth_response": lambda: refusal,
        }
        fake_module(monkeypatch, "mlflow.server.auth", **answers)
        said = {"Response": lambda text, code, mimetype: SimpleNamespace(status=code)}
        fake_module(monkeypatch, "flask", request=request, **said)
        found = loaded.authenticate()
        return found.username if isinstance(found, Authorization) else found.status

    return ask


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
def test_who_only_reads_may_ask_and_never_write(asked, method, path, answer):
    assert asked("status", method, path) == answer
    assert asked("worker", method, path) == "worker"


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
def test_only_its_own_pages_may_ask(asked, method, origin, answer):
    assert asked("worker", method, f"{API}/experiments/search", Origin=origin) == answer


@pytest.mark.parametrize("name", ["", "token"], ids=["no password", "another scheme"])
def test_without_a_password_mlflows_own_answer_stands(asked, name):
    assert asked(name, "GET", "/") == 401


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_nobody_has_its_assistant_run_programs(asked, method):
    path = "/ajax-api/3.0/mlflow/assistant/config"
    assert [asked(name, method, path) for name in ("admin", "")] == [403, 401]


def test_a_page_is_never_its_own_where_none_is_named(script, monkeypatch):
    monkeypatch.delenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", raising=False)
    loaded = script("mlflow.authorization")
    assert loaded.foreign("http://localhost:5000")
    assert not loaded.foreign("")
