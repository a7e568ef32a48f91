"""MLflow's accounts: who is made, renewed and given what; who may ask what, and from which page."""

from types import SimpleNamespace

import pytest

from orchestration.clients import accounts
from orchestration.errors import StackError
from tests.support.fake_module import fake_module
from tests.support.process import put_before, run

PASSWORDS = {
    "MLFLOW_ADMIN_PASSWORD": "of-admin",  # pragma: allowlist secret
    "MLFLOW_WORKER_PASSWORD": "of-worker",  # pragma: allowlist secret
    "STATUS_PASSWORD": "of-status",  # pragma: allowlist secret
}
STORE = "postgresql+psycopg2://mlflow:s3cret@postgres/mlflow"  # pragma: allowlist secret
CURRENT = "GET /api/2.0/mlflow/users/current"
EVERYTHING = ["experiment", "registered_model"]


class Store:
    """MLflow's store of accounts on paper."""

    def __init__(self):
        self.users, self.admins, self.granted, self.hashed = {}, set(), [], 0

    def has_user(self, name):
        return name in self.users

    def create_user(self, name, password, is_admin=False):
        self.users[name] = password
        self.admins |= {name} if is_admin else set()

    def authenticate_user(self, name, password):
        return self.users.get(name) == password

    def update_user(self, name, password):
        self.hashed += 1
        self.users[name] = password

    def grant_user_permission(self, name, kind, pattern, permission):
        self.granted.append((name, kind, pattern, permission))


@pytest.fixture
def made(script, monkeypatch):
    """What the one-shot makes of accounts as they are, and tells."""
    for name, password in PASSWORDS.items():
        monkeypatch.setenv(name, password)
    loaded, store = script("mlflow_accounts"), Store()

    def make(*there):
        return list(loaded.make(store, lambda: iter(there)))

    return SimpleNamespace(make=make, store=store)


def test_each_account_has_its_own_password_and_only_people_have_all_rights(made):
    told = made.make()
    assert made.store.users == {"admin": "of-admin", "worker": "of-worker", "status": "of-status"}
    assert made.store.admins == {"admin"}
    assert not [password for password in PASSWORDS.values() if password in "\n".join(told)]


def test_the_status_page_reads_everything_and_no_more(made):
    made.make()
    of_status = [grant[1:] for grant in made.store.granted if grant[0] == "status"]
    assert of_status == [(kind, "*", "READ") for kind in EVERYTHING]


def test_what_was_there_before_accounts_becomes_the_workers(made):
    there = [("experiment", "7"), ("registered_model", "flight-delay"), ("prompt", "greeting")]
    assert "account worker owns what was there: 4" in made.make(*there)
    of_worker = {grant[1:] for grant in made.store.granted if grant[0] == "worker"}
    # With the one that the server makes, for runs that name none.
    wanted = {*there, ("experiment", "0")}
    assert of_worker == {(kind, name, "MANAGE") for kind, name in wanted}


def test_what_comes_later_is_its_makers_and_nothing_is_hashed_anew(made):
    made.make()
    made.store.granted.clear()
    assert made.make(("experiment", "8")) == []
    assert [grant for grant in made.store.granted if grant[0] == "worker"] == []
    assert made.store.hashed == 0


def test_services_get_the_passwords_of_env_and_a_person_keeps_the_one_that_was_chosen(made):
    made.make()
    made.store.users = dict.fromkeys(made.store.users, "another")
    told = made.make()
    assert made.store.users == {"admin": "another", "worker": "of-worker", "status": "of-status"}
    assert told == ["account worker has a new password", "account status has a new password"]


@pytest.mark.parametrize(
    ("host", "query", "port", "found"),
    [
        ("postgres", {}, None, {"PGHOST": "postgres"}),
        ("db", {}, 6000, {"PGHOST": "db", "PGPORT": "6000"}),
        (None, {"host": "/state/sockets"}, None, {"PGHOST": "/state/sockets"}),
    ],
)
def test_the_driver_finds_the_accounts_beside_the_store(
    script, monkeypatch, host, query, port, found
):
    account = {"username": "mlflow", "password": "s3cret"}  # pragma: allowlist secret
    url = SimpleNamespace(host=host, query=query, port=port, **account)
    fake_module(monkeypatch, "sqlalchemy.engine", make_url=lambda address: url)
    environment = {}
    script("mlflow_accounts").point_at(STORE, environment)
    assert (environment.pop("PGUSER"), environment.pop("PGPASSWORD")) == tuple(account.values())
    assert environment == found


class Superuser:
    """A connection that answers whether the database is there, and notes what it is told."""

    def __init__(self, there):
        self.there, self.said, self.autocommit = there, [], False

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def execute(self, statement, values=()):
        assert self.autocommit
        self.said.append(statement)

    def fetchone(self):
        return self.there or None


@pytest.mark.parametrize("there", [True, False])
def test_a_stack_of_before_gets_the_database_and_none_is_left_open(script, there):
    superuser = Superuser(there)
    script("mlflow_accounts").make_database(superuser)
    made = "CREATE DATABASE mlflow_auth OWNER mlflow" in superuser.said
    assert made is not there
    closed = "REVOKE CONNECT, TEMPORARY ON DATABASE mlflow_auth FROM PUBLIC"
    assert superuser.said[-1] == closed


# mlflow_health.sh

CURL = """
echo "argv: $*" >>"$SAID"
case "$*" in */health) exit "$BARE" ;; *) cat >>"$SAID"; exit "$ASKED" ;; esac
"""


@pytest.mark.parametrize(
    ("asked", "bare", "code"), [("0", "0", 0), ("22", "0", 3), ("28", "28", 1), ("7", "7", 1)]
)
def test_the_health_check_asks_the_database_and_keeps_its_password_out_of_arguments(
    repo, tmp_path, asked, bare, code
):
    said = tmp_path / "said"
    given = {"PATH": put_before(tmp_path, curl=CURL), "SAID": str(said)}
    given |= {"ASKED": asked, "BARE": bare, "STATUS_PASSWORD": PASSWORDS["STATUS_PASSWORD"]}
    check = run("sh", repo / "orchestration/config/mlflow_health.sh", env=given, timeout=20)
    assert check.returncode == code
    argv = [line for line in said.read_text().splitlines() if line.startswith("argv:")]
    assert "experiments/search" in argv[0]
    assert not [line for line in argv if "of-status" in line]
    assert 'user = "status:of-status"' in said.read_text()


# mlflow_access.py


class Authorization(SimpleNamespace):
    """Of werkzeug."""


@pytest.fixture
def asked(script, monkeypatch):
    """What becomes of a request, by who asks: the account's name, or the code of a refusal."""
    own = "http://localhost:5000,http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", own)
    loaded = script("mlflow_access")

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
    loaded = script("mlflow_access")
    assert loaded.foreign("http://localhost:5000")
    assert not loaded.foreign("")


# accounts.py


def test_mlflow_is_asked_for_each_account_by_its_own_password(web, make_settings):
    chosen = make_settings(MLFLOW_PORT=web.port)
    web.answers[CURRENT] = (200, {"user": {}})
    for name, setting in accounts.PASSWORDS.items():
        assert accounts.login(chosen, name) == (name, chosen[setting])
        assert not accounts.refused(chosen, name)
    web.answers[CURRENT] = (401, b"You are not authenticated.")
    assert accounts.refused(chosen, "worker")
    assert len({request.headers["Authorization"] for request in web.of(CURRENT)}) == 3


def test_an_mlflow_that_does_not_answer_is_told_without_a_password(
    dead_port, make_settings, engine
):
    chosen = make_settings(MLFLOW_PORT=dead_port)
    with pytest.raises(StackError, match="MLflow does not answer: ConnectionError"):
        accounts.let_admin_in(chosen, engine)


def test_an_admin_that_is_let_in_keeps_the_password(web, make_settings, engine):
    web.answers[CURRENT] = (200, {"user": {}})
    accounts.let_admin_in(make_settings(MLFLOW_PORT=web.port), engine)
    assert engine.asked == []
