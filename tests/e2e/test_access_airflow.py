"""Test the access control of all routes of Airflow's API server, which lists them itself."""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time

import pytest
import requests

from tests.e2e import access

# Routes that answer without credentials, as patterns of `METHOD path status`, with the reason.
OPEN = {
    r"GET /(execution/|auth/)?(docs|redoc|openapi.json|docs/oauth2-redirect) (200|404)": (
        "Airflow's API documentation, the same in every stack"
    ),
    r"GET /auth/fab/v1/(openapi.(json|yaml)|ui/.*) (200|404|500)": "FAB's API documentation",
    r"GET /execution/changelog 200": "changes of the execution API",
    r"GET /execution/health(/ping)? 200": "health check",
    r"GET /api/v2/(version|monitor/health) 200": "version and heartbeats, for health checks",
    r"GET /\{rest_of_path:path\} 200": "the empty page, which loads its content from the API",
    r"GET /(auth/)?static/.* 404": "files of the page",
    r"GET /(health|api/\{_:path\}|api/v1/\{_:path\}) 404": "a hint at the new path",
    r"GET /auth/(back|logout/)? 302": "redirect to the first page",
    r"GET /api/v2/auth/logout 307": "redirect to the first page",
    r"(GET|POST) /auth/login/ (200|302)": "the login page",
    r"POST /auth/token(/cli)? 422": "the API's login, here without user name and password",
    r"(GET|POST) /auth/\w+/action(_post|/.*)? (302|400|500)": "FAB's actions, which do nothing",
}
# POST routes that answer a viewer because they write nothing.
READ_BY_POST = {
    r"POST /api/v2/dags/\{dag_id\}/dagRuns(/\{dag_run_id\}/taskInstances)?/list \d+": "search",
    r"POST /auth/token(/cli)? 422": "login",
}
# Only a few, because each refused token costs Airflow 3.0.1 a colored traceback, which takes a
# third of a CPU second.
TASK_ROUTES = [
    ("/execution/connections/{connection_id}", "GET"),
    ("/execution/variables/{variable_key:path}", "PUT"),
    ("/execution/xcoms/{dag_id}/{run_id}/{task_id}/{key:path}", "GET"),
    ("/execution/task-instances/{task_instance_id}/state", "PATCH"),
]


@pytest.fixture(scope="module")
def base(stack):
    return stack.url("AIRFLOW_PORT")


@pytest.fixture(scope="module")
def routes(started):
    return access.routes_from(started[0])


def token(base, username, password):
    """Log in to the API, and return the account's token."""
    login = {"username": username, "password": password}
    return requests.post(f"{base}/auth/token", json=login, timeout=30).json()["access_token"]


@pytest.fixture(scope="module")
def admin(stack, base):
    return token(base, "airflow", stack.setting("_AIRFLOW_WWW_USER_PASSWORD"))


# FAB's API accepts only the session of a browser by default, so the account is created in Python.
CREATE_VIEWER = """
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers_manager import ProvidersManager
ProvidersManager().initialize_providers_configuration()
with get_application_builder() as builder:
    security = builder.sm
    if old := security.find_user(username="viewer"):
        security.get_session.delete(old)
        security.get_session.commit()
    role = security.find_role("Viewer")
    assert security.add_user("viewer", "Test", "Viewer", "viewer@localhost", role, PASSWORD)
"""


@pytest.fixture(scope="module")
def started(stack):
    """Start to list the routes and to create a viewer at the same time, because both are slow."""
    password = secrets.token_urlsafe(15)
    code = f"PASSWORD = {password!r}\n{CREATE_VIEWER}"
    creation = access.start_python(stack, "airflow", code)
    return access.start_listing(stack, "airflow"), creation, password


@pytest.fixture(scope="module")
def viewer(base, started):
    _, creation, password = started
    access.output_of(creation)
    return token(base, "viewer", password)


def session_with(token):
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def sign(claims, key, algorithm="HS512"):
    """Create a token as Airflow does, without a signature if the key is empty."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": algorithm, "typ": "JWT"}, claims)
    ]
    signature = hmac.new(key.encode(), b".".join(parts), hashlib.sha512).digest() if key else b""
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def claims_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_routes_without_credentials_only_expected_ones_answer(base, routes):
    assert {path.split("/")[1] for path, _ in routes} >= {"api", "ui", "auth", "execution"}
    assert len(routes) > 280, "Airflow 3.0.1 has more routes. Some were not listed."
    assert not access.unexpected(access.open_routes(base, routes, anonymous_session(base)), OPEN)


def anonymous_session(base):
    """Return a session with a CSRF token but no login. FAB refuses forms without the token."""
    session = requests.Session()
    page = session.get(f"{base}/auth/login/", timeout=30).text
    session.headers["X-CSRFToken"] = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)[1]
    session.headers["Referer"] = base
    return session


@pytest.mark.parametrize(
    "fault", ["malformed", "another key", "no signature", "expired", "unknown user"]
)
def test_routes_with_invalid_token_open_no_more_than_without(base, routes, admin, stack, fault):
    claims, key = claims_of(admin), stack.setting("AIRFLOW_JWT_SECRET")
    tokens = {
        "malformed": "x",
        "another key": sign(claims, "x" * 43),
        "no signature": sign(claims, "", "none"),
        "expired": sign({**claims, "exp": int(time.time()) - 60}, key),
        "unknown user": sign({**claims, "sub": "4711"}, key),
    }
    requested = [route for route in routes if route[0].startswith(("/api/v2", "/ui"))]
    requested += TASK_ROUTES[:1]
    # A deleted user gets an empty menu.
    menu = {"GET /ui/auth/menus 200": "empty"} if fault == "unknown user" else {}
    session = session_with(tokens[fault])
    assert not access.unexpected(access.open_routes(base, requested, session), {**OPEN, **menu})
    if menu:
        assert not any(session.get(f"{base}/ui/auth/menus", timeout=30).json().values())


def test_token_signed_by_tests_is_accepted(base, admin, stack):
    """Show that Airflow refuses the invalid tokens for their faults, not for their format."""
    copy = sign(claims_of(admin), stack.setting("AIRFLOW_JWT_SECRET"))
    assert session_with(copy).get(f"{base}/api/v2/dags", timeout=30).status_code == 200


def test_login_with_wrong_password_or_unknown_user_gets_no_token(base):
    for name in ("airflow", "nobody"):
        login = {"username": name, "password": "wrong"}  # pragma: allowlist secret
        for path in ("/auth/token", "/auth/token/cli"):
            assert requests.post(base + path, json=login, timeout=30).status_code == 401


def test_task_routes_refuse_user_token(base, routes, admin):
    assert set(TASK_ROUTES) <= set(routes)
    assert not access.open_routes(base, TASK_ROUTES, session_with(admin))


def test_user_routes_refuse_task_token(base, routes, stack):
    session = session_with(task_token(stack))
    requested = [route for route in routes if route[0].startswith(("/api/v2", "/ui"))]
    assert not access.unexpected(access.open_routes(base, requested, session), OPEN)
    # The token is valid, because a task route answers that the variable does not exist.
    variable = session.get(f"{base}/execution/variables/no-such", timeout=30)
    assert variable.status_code == 404, variable.text


def task_token(stack):
    now = int(time.time())
    claims = {
        "sub": "0196b0c0-0000-7000-8000-000000000000", "aud": "urn:airflow.apache.org:task",
        "iat": now, "nbf": now, "exp": now + 600,
    }  # fmt: skip
    return sign(claims, stack.setting("AIRFLOW_JWT_SECRET"))


def test_viewer_writes_nothing(base, routes, viewer):
    writing = [(path, method) for path, method in routes if method != "GET"]
    writing = [(path, method) for path, method in writing if path.startswith(("/api/v2", "/ui"))]
    assert len(writing) > 40
    session = session_with(viewer)
    assert not access.unexpected(access.open_routes(base, writing, session), READ_BY_POST)
    # The account itself is valid.
    assert session.get(f"{base}/api/v2/dags", timeout=30).status_code == 200


@pytest.mark.parametrize("resource", ["connections", "variables", "config"])
def test_viewer_reads_no_settings(base, viewer, resource):
    response = session_with(viewer).get(f"{base}/api/v2/{resource}", timeout=30)
    assert response.status_code == 403, response.text[:200]
