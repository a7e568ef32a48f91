"""Every route of MLflow's server, as the server itself lists them, and who gets in."""

import base64
import contextlib
import http.client
import secrets

import pytest
import requests

from tests.e2e import doors

# What answers without credentials: `METHOD path status`, and why it may.
OPEN = {
    r"GET /health 200": "that it is there, for health checks",
    r"GET /(ajax-)?api/3.0/mlflow/server-info 200": "what kind of server it is, for clients",
    r"GET /static-files/<path:path> 404": "the page's own files",
}
# What the status page's account may ask by another method than GET: searches.
SEARCHES = {r"POST /(ajax-)?api/2.0/mlflow/(experiments|runs)/search \d+": "read, by POST"}
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
NEVER_SET = "made up and refused"  # pragma: allowlist secret
# Ways round a check that looks at how a path begins.
TRICKS = (
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
    return doors.listed(doors.start_listing(stack, "mlflow"))


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
    """An account that nobody gave anything to."""
    made = {"username": "colleague", "password": secrets.token_urlsafe(15)}
    users = f"{base}/api/2.0/mlflow/users"
    answer = admin.post(f"{users}/create", json=made, timeout=30)
    assert answer.ok, answer.text
    yield account(*made.values())
    admin.delete(f"{users}/delete", json={"username": "colleague"}, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def experiment(base, worker):
    """One that the worker made."""
    experiments, name = f"{base}/api/2.0/mlflow/experiments", f"doors {secrets.token_hex(4)}"
    made = worker.post(f"{experiments}/create", json={"name": name}, timeout=30).json()
    yield made["experiment_id"]
    worker.post(f"{experiments}/delete", json=made, timeout=30).raise_for_status()


def test_without_credentials_no_route_answers_but_those_that_are_named(base, routes):
    assert len(routes) > 500, "fewer routes than 3.17 has: are all of them found?"
    assert not doors.unknown(doors.open_doors(base, routes), OPEN)


@pytest.mark.parametrize("header", ["wrong password", "no password", "unknown user", "a token"])
def test_wrong_credentials_open_nothing(base, header):
    pairs = {"wrong password": b"admin:wrong", "no password": b"admin:", "unknown user": b"x:x"}
    session = requests.Session()
    basic = f"Basic {base64.b64encode(pairs.get(header, b'')).decode()}"
    session.headers["Authorization"] = basic if header in pairs else "Bearer x"
    found = doors.open_doors(base, [(path, method) for method, path in DATA], session)
    assert not found


@pytest.mark.parametrize("path", TRICKS)
def test_no_way_of_writing_a_path_goes_round_the_question(stack, path):
    # By hand: any better client would tidy the path up.
    port = int(stack.exported["MLFLOW_PORT"])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asked:
        asked.request("GET", path)
        answer = asked.getresponse()
        assert answer.status in (400, 401, 403, 404), answer.read()[:200]


def test_the_status_page_s_account_writes_nothing(base, routes, stack):
    reader = account("status", stack.setting("STATUS_PASSWORD"))
    asked = [(path, method) for path, method in routes if method != "GET"]
    assert len(asked) > 300
    assert not doors.unknown(doors.open_doors(base, asked, reader), SEARCHES)
    # And it is let in.
    found = reader.get(f"{base}/api/2.0/mlflow/registered-models/search", timeout=30)
    assert found.status_code == 200


def test_an_experiment_is_its_maker_s_alone(base, colleague, experiment, stack):
    asked = {"url": f"{base}/api/2.0/mlflow/experiments/get", "timeout": 30}
    asked["params"] = {"experiment_id": experiment}
    assert colleague.get(**asked).status_code == 403
    assert account("status", stack.setting("STATUS_PASSWORD")).get(**asked).status_code == 200
    listed = f"{base}/api/2.0/mlflow/experiments/search"
    assert not colleague.post(listed, json={"max_results": 100}, timeout=30).json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "runs/create", {"experiment_id": "{experiment}"}),
        ("POST", "experiments/delete", {"experiment_id": "{experiment}"}),
        ("GET", "users/get?username=admin", None),
        ("POST", "users/create", {"username": "mine", "password": NEVER_SET}),
        ("PATCH", "users/update-password", {"username": "admin", "password": NEVER_SET}),
        ("PATCH", "users/update-admin", {"username": "colleague", "is_admin": True}),
        ("DELETE", "users/delete", {"username": "worker"}),
    ],
)
def test_a_colleague_changes_nothing_of_others(base, colleague, experiment, method, path, body):
    body = body and {
        key: experiment if value == "{experiment}" else value for key, value in body.items()
    }
    asked = f"{base}/api/2.0/mlflow/{path}"
    assert colleague.request(method, asked, json=body, timeout=30).status_code == 403


def test_nobody_has_mlflow_s_assistant_run_programs(base, routes, worker):
    """It runs a shell where the server runs, for any account that asks from this machine."""
    asked = [route for route in routes if "/mlflow/assistant/" in route[0] and route[1] != "GET"]
    assert len(asked) >= 5
    assert not doors.open_doors(base, asked, worker)
