"""Every route of Airflow's API server, as the server itself lists them, and who gets in."""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time

import pytest
import requests

from tests.e2e import doors

# What answers without credentials: `METHOD path status`, and why it may.
OPEN = {
    r"GET /(execution/|auth/)?(docs|redoc|openapi.json|docs/oauth2-redirect) (200|404)": (
        "Airflow's description of its own API, the same everywhere"
    ),
    r"GET /auth/fab/v1/(openapi.(json|yaml)|ui/.*) (200|404|500)": "the same of FAB's",
    r"GET /execution/changelog 200": "what changed in that API",
    r"GET /execution/health(/ping)? 200": "that it is there",
    r"GET /api/v2/(version|monitor/health) 200": "version and heartbeats, for health checks",
    r"GET /\{rest_of_path:path\} 200": "the empty page, which then asks the API",
    r"GET /(auth/)?static/.* 404": "the page's own files",
    r"GET /(health|api/\{_:path\}|api/v1/\{_:path\}) 404": "told where it has moved to",
    r"GET /auth/(back|logout/)? 302": "back to the first page",
    r"GET /api/v2/auth/logout 307": "the same",
    r"(GET|POST) /auth/login/ (200|302)": "the login page",
    r"POST /auth/token(/cli)? 422": "the API's login, without name and password",
    r"(GET|POST) /auth/\w+/action(_post|/.*)? (302|400|500)": "FAB's buttons: nothing is done",
}
# What a viewer may ask by another method than GET, and why that writes nothing.
ASKED_BY_POST = {
    r"POST /api/v2/dags/\{dag_id\}/dagRuns(/\{dag_run_id\}/taskInstances)?/list \d+": "a search",
    r"POST /auth/token(/cli)? 422": "the login",
}
# Few: to refuse a token here costs 3.0.1 a third of a CPU-second, for a coloured traceback.
FOR_TASKS = [
    ("/execution/connections/{connection_id}", "GET"),
    ("/execution/variables/{variable_key}", "PUT"),
    ("/execution/xcoms/{dag_id}/{run_id}/{task_id}/{key}", "GET"),
    ("/execution/task-instances/{task_instance_id}/state", "PATCH"),
]


@pytest.fixture(scope="module")
def base(stack):
    return stack.url("AIRFLOW_PORT")


@pytest.fixture(scope="module")
def routes(started):
    return doors.listed(started[0])


def token(base, username, password):
    """A token of the API, as anybody gets it who has an account."""
    login = {"username": username, "password": password}
    return requests.post(f"{base}/auth/token", json=login, timeout=30).json()["access_token"]


@pytest.fixture(scope="module")
def admin(stack, base):
    return token(base, "airflow", stack.setting("_AIRFLOW_WWW_USER_PASSWORD"))


# Through Python: by default FAB's own API takes nobody but a browser that has logged in.
MAKE_VIEWER = """
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers_manager import ProvidersManager
ProvidersManager().initialize_providers_configuration()
with get_application_builder() as builder:
    security = builder.sm
    if old := security.find_user(username="looks"):
        security.get_session.delete(old)
        security.get_session.commit()
    role = security.find_role("Viewer")
    assert security.add_user("looks", "looks", "on", "looks@localhost", role, PASSWORD)
"""


@pytest.fixture(scope="module")
def started(stack):
    """What takes long, both at once: the routes, and an account for who only looks."""
    password = secrets.token_urlsafe(15)
    code = f"PASSWORD = {password!r}\n{MAKE_VIEWER}"
    made = doors.start_inside(stack, "airflow", code)
    return doors.start_listing(stack, "airflow"), made, password


@pytest.fixture(scope="module")
def viewer(base, started):
    _, made, password = started
    doors.told(made)
    return token(base, "looks", password)


def bearing(given):
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {given}"
    return session


def signed(claims, key, algorithm="HS512"):
    """A token as Airflow makes them."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": algorithm, "typ": "JWT"}, claims)
    ]
    made = hmac.new(key.encode(), b".".join(parts), hashlib.sha512).digest() if key else b""
    return b".".join([*parts, base64.urlsafe_b64encode(made).rstrip(b"=")]).decode()


def claims_of(given):
    part = given.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_without_credentials_no_route_answers_but_those_that_are_named(base, routes):
    assert {path.split("/")[1] for path, _ in routes} >= {"api", "ui", "auth", "execution"}
    assert len(routes) > 280, "fewer routes than 3.0.1 has: are all of them found?"
    assert not doors.unknown(doors.open_doors(base, routes, with_csrf_token(base)), OPEN)


def with_csrf_token(base):
    """Nobody, but on the login page: FAB would refuse any form for its missing token alone."""
    session = requests.Session()
    page = session.get(f"{base}/auth/login/", timeout=30).text
    session.headers["X-CSRFToken"] = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)[1]
    session.headers["Referer"] = base
    return session


@pytest.mark.parametrize(
    "wrong", ["made up", "another key", "no signature", "expired", "of nobody"]
)
def test_a_wrong_token_opens_nothing_more(base, routes, admin, stack, wrong):
    claims, key = claims_of(admin), stack.setting("AIRFLOW_JWT_SECRET")
    tokens = {
        "made up": "x",
        "another key": signed(claims, "x" * 43),
        "no signature": signed(claims, "", "none"),
        "expired": signed({**claims, "exp": int(time.time()) - 60}, key),
        "of nobody": signed({**claims, "sub": "4711"}, key),
    }
    asked = [route for route in routes if route[0].startswith(("/api/v2", "/ui"))]
    asked += FOR_TASKS[:1]
    # Whoever is no longer there has a menu, without anything in it.
    menu = {"GET /ui/auth/menus 200": "empty"} if wrong == "of nobody" else {}
    session = bearing(tokens[wrong])
    assert not doors.unknown(doors.open_doors(base, asked, session), {**OPEN, **menu})
    if menu:
        assert not any(session.get(f"{base}/ui/auth/menus", timeout=30).json().values())


def test_the_tokens_of_these_tests_are_made_as_airflow_makes_them(base, admin, stack):
    """Otherwise the wrong ones would be refused for being none."""
    again = signed(claims_of(admin), stack.setting("AIRFLOW_JWT_SECRET"))
    assert bearing(again).get(f"{base}/api/v2/dags", timeout=30).status_code == 200


def test_a_wrong_password_and_an_unknown_user_get_no_token(base):
    for name in ("airflow", "nobody"):
        login = {"username": name, "password": "wrong"}  # pragma: allowlist secret
        for path in ("/auth/token", "/auth/token/cli"):
            assert requests.post(base + path, json=login, timeout=30).status_code == 401


def test_a_person_s_token_opens_nothing_of_what_is_for_tasks(base, routes, admin):
    assert set(FOR_TASKS) <= set(routes)
    assert not doors.open_doors(base, FOR_TASKS, bearing(admin))


def test_a_task_s_token_opens_nothing_of_what_is_for_people(base, routes, stack):
    given = task_token(stack)
    asked = [route for route in routes if route[0].startswith(("/api/v2", "/ui"))]
    assert not doors.unknown(doors.open_doors(base, asked, bearing(given)), OPEN)
    # And it is one: what is for tasks knows it.
    variable = bearing(given).get(f"{base}/execution/variables/no-such", timeout=30)
    assert variable.status_code == 404, variable.text


def task_token(stack):
    now = int(time.time())
    claims = {
        "sub": "0196b0c0-0000-7000-8000-000000000000", "aud": "urn:airflow.apache.org:task",
        "iat": now, "nbf": now, "exp": now + 600,
    }  # fmt: skip
    return signed(claims, stack.setting("AIRFLOW_JWT_SECRET"))


def test_a_viewer_can_write_nothing(base, routes, viewer):
    asked = [(path, method) for path, method in routes if method != "GET"]
    asked = [(path, method) for path, method in asked if path.startswith(("/api/v2", "/ui"))]
    assert len(asked) > 40
    assert not doors.unknown(doors.open_doors(base, asked, bearing(viewer)), ASKED_BY_POST)
    # And it is let in.
    assert bearing(viewer).get(f"{base}/api/v2/dags", timeout=30).status_code == 200


@pytest.mark.parametrize("what", ["connections", "variables", "config"])
def test_a_viewer_reads_no_settings(base, viewer, what):
    answer = bearing(viewer).get(f"{base}/api/v2/{what}", timeout=30)
    assert answer.status_code == 403, answer.text[:200]
