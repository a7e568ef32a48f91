"""Test that processes that use a new experiment at the same time all get it."""

import base64
import io
import json
import threading
from types import SimpleNamespace

import pytest

from tests.support.clock import FakeClock
from tests.support.fake_module import fake_module

API = "/api/2.0/mlflow"
CREATE, GET, RUN = (
    f"{API}/{path}" for path in ("experiments/create", "experiments/get", "runs/create")
)
EXISTS = ("400 BAD REQUEST", {"error_code": "RESOURCE_ALREADY_EXISTS"})
FORBIDDEN = ("403 FORBIDDEN", "Permission denied")


class Authorization(SimpleNamespace):
    """Fake of werkzeug's class."""

    @staticmethod
    def from_header(header):
        name, _, _ = base64.b64decode(header.split()[1]).decode().partition(":")
        return Authorization(username=name)


def run_wsgi_app(app, environ, buffered=False):
    """Like werkzeug's, for an application that returns status and document."""
    status, document = app(environ)
    return [json.dumps(document).encode()], status, [("Content-Type", "application/json")]


@pytest.fixture
def server(script, monkeypatch):
    """A server whose application is `answers`, a function of path and body."""
    fake_module(monkeypatch, "werkzeug.test", run_wsgi_app=run_wsgi_app)
    fake_module(monkeypatch, "werkzeug.datastructures", Authorization=Authorization)
    world = SimpleNamespace(active=True, clock=FakeClock(), answers=None, calls=[])

    def application(environ):
        body = environ["wsgi.input"].read()
        world.calls.append(environ["PATH_INFO"])
        return world.answers(environ["PATH_INFO"], json.loads(body or b"{}"))

    module = script("mlflow.creations")
    middleware = module.Creations(application, lambda *key: world.active, lambda: world.clock.now)

    def send(path, body=None, name="ada", method="POST"):
        statuses = []
        token = base64.b64encode(f"{name}:x".encode()).decode()
        environ = {
            "PATH_INFO": path,
            "REQUEST_METHOD": method,
            "wsgi.input": io.BytesIO(json.dumps(body or {}).encode()),
            "HTTP_AUTHORIZATION": f"Basic {token}",
        }
        content = middleware(environ, lambda status, headers: statuses.append(status))
        return int(statuses[0][:3]), json.loads(b"".join(content))

    world.send = send
    return world


@pytest.fixture
def store(server):
    """Answer creations like MLflow: the first of a name succeeds."""
    names = {}

    def answers(path, body):
        if body["name"] in names:
            return EXISTS
        names[body["name"]] = str(len(names) + 7)
        return "200 OK", {"experiment_id": names[body["name"]]}

    server.answers = answers
    return server


def test_second_creation_by_the_same_account_gets_the_experiment(store):
    assert [store.send(CREATE, {"name": "race"}) for _ in range(3)] == [
        (200, {"experiment_id": "7"})
    ] * 3


@pytest.mark.parametrize("case", ["another account", "later", "deleted", "tags", "page", "model"])
def test_other_second_creation_fails(store, case):
    body, path, name = {"name": "race"}, CREATE, "ada"
    store.send(CREATE, body)
    if case == "another account":
        name = "grace"
    if case == "later":
        store.clock.now += 61
    store.active = case != "deleted"
    if case == "tags":
        body = {"name": "race", "tags": [{"key": "a", "value": "b"}]}
    if case == "page":
        path = f"/ajax{CREATE}".replace("/ajax/", "/ajax-")
    if case == "model":
        path = f"{API}/registered-models/create"
    assert store.send(path, body, name) == (400, EXISTS[1])


def test_refused_request_waits_for_a_creation_and_is_repeated(server):
    granted, created = threading.Event(), threading.Event()

    def answers(path, body):
        if path == CREATE:
            # Created, but not yet granted.
            created.set()
            assert refused.wait(10)
            granted.set()
            return "200 OK", {"experiment_id": "7"}
        if granted.is_set():
            return "200 OK", {"run": body["experiment_id"]}
        refused.set()
        return FORBIDDEN

    refused, server.answers = threading.Event(), answers
    creation = threading.Thread(target=server.send, args=(CREATE, {"name": "race"}))
    creation.start()
    assert created.wait(10)
    assert server.send(RUN, {"experiment_id": "7"}) == (200, {"run": "7"})
    creation.join()


@pytest.mark.parametrize("body", [{}, {"experiment_id": "0"}, {"experiment_id": ""}])
@pytest.mark.parametrize("path", [RUN, f"{API}/logged-models", "/ajax-api/2.0/mlflow/traces"])
def test_refusal_without_an_experiment_says_what_to_do(server, path, body):
    server.answers = lambda path, body: FORBIDDEN
    status, document = server.send(path, body)
    assert status == 403
    assert document["error_code"] == "PERMISSION_DENIED"
    assert 'mlflow.set_experiment("NAME")' in document["message"]


@pytest.mark.parametrize(
    ("path", "body"), [(RUN, {"experiment_id": "7"}), (GET, {}), (f"{API}/experiments/delete", {})]
)
def test_other_refusal_stays_as_it_is(server, path, body):
    server.answers = lambda path, body: FORBIDDEN
    assert server.send(path, body) == (403, "Permission denied")
    assert len(server.calls) == 2


def test_answer_other_than_403_is_sent_once(server):
    server.answers = lambda path, body: ("200 OK", {"path": path})
    assert server.send(GET) == (200, {"path": GET})
    assert server.calls == [GET]
