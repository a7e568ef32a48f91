"""Test the creation, passwords and permissions of MLflow's accounts."""

from types import SimpleNamespace

import pytest

PASSWORDS = {
    "MLFLOW_ADMIN_PASSWORD": "of-admin",  # pragma: allowlist secret
    "MLFLOW_WORKER_PASSWORD": "of-worker",  # pragma: allowlist secret
    "STATUS_PASSWORD": "of-status",  # pragma: allowlist secret
}
STORE = "postgresql+psycopg2://mlflow:s3cret@postgres/mlflow"  # pragma: allowlist secret
CURRENT = "GET /api/2.0/mlflow/users/current"
EVERYTHING = ["experiment", "registered_model"]


class FakeStore:
    """MLflow's store of accounts in memory."""

    def __init__(self):
        self.users, self.admins, self.grants, self.password_updates = {}, set(), [], 0

    def has_user(self, name):
        return name in self.users

    def create_user(self, name, password, is_admin=False):
        self.users[name] = password
        self.admins |= {name} if is_admin else set()

    def authenticate_user(self, name, password):
        return self.users.get(name) == password

    def update_user(self, name, password):
        self.password_updates += 1
        self.users[name] = password

    def grant_user_permission(self, name, kind, pattern, permission):
        self.grants.append((name, kind, pattern, permission))


@pytest.fixture
def accounts(script, monkeypatch):
    """A fake store; `create` runs the init job for given contents and returns its messages."""
    for name, password in PASSWORDS.items():
        monkeypatch.setenv(name, password)
    module, store = script("mlflow.accounts"), FakeStore()

    def create(*contents):
        return list(module.create_accounts(store, lambda: iter(contents)))

    return SimpleNamespace(create=create, store=store)


def test_create_accounts_sets_passwords_and_one_admin(accounts):
    messages = "\n".join(accounts.create())
    users = {"admin": "of-admin", "worker": "of-worker", "status": "of-status"}
    assert accounts.store.users == users
    assert accounts.store.admins == {"admin"}
    assert not [password for password in PASSWORDS.values() if password in messages]


def test_status_account_can_only_read_everything(accounts):
    accounts.create()
    grants = [grant[1:] for grant in accounts.store.grants if grant[0] == "status"]
    assert grants == [(kind, "*", "READ") for kind in EVERYTHING]


def test_new_worker_owns_existing_contents(accounts):
    contents = [("experiment", "7"), ("registered_model", "flight-delay"), ("prompt", "greeting")]
    message = "Account worker owns 4 existing experiments, models and prompts."
    assert message in accounts.create(*contents)
    grants = {grant[1:] for grant in accounts.store.grants if grant[0] == "worker"}
    # Includes the default experiment, which the server creates.
    owned = {*contents, ("experiment", "0")}
    assert grants == {(kind, name, "MANAGE") for kind, name in owned}


def test_existing_worker_gets_no_grants_or_password(accounts):
    accounts.create()
    accounts.store.grants.clear()
    assert accounts.create(("experiment", "8")) == []
    assert [grant for grant in accounts.store.grants if grant[0] == "worker"] == []
    assert accounts.store.password_updates == 0


def test_changed_passwords_are_reset_except_admin(accounts):
    accounts.create()
    accounts.store.users = dict.fromkeys(accounts.store.users, "another")
    messages = accounts.create()
    users = {"admin": "another", "worker": "of-worker", "status": "of-status"}
    assert accounts.store.users == users
    assert messages == ["Account worker has a new password.", "Account status has a new password."]


@pytest.mark.parametrize(
    ("host", "query", "port", "expected"),
    [
        ("postgres", {}, None, {"PGHOST": "postgres"}),
        ("db", {}, 6000, {"PGHOST": "db", "PGPORT": "6000"}),
        (None, {"host": "/state/sockets"}, None, {"PGHOST": "/state/sockets"}),
    ],
)
def test_point_at_sets_server_of_backend_store(script, host, query, port, expected):
    account = {"username": "mlflow", "password": "s3cret"}  # pragma: allowlist secret
    url = SimpleNamespace(host=host, query=query, port=port, **account)
    engine, environment = {"make_url": lambda address: url}, {}
    script("mlflow.accounts", **{"sqlalchemy.engine": engine}).point_at(STORE, environment)
    assert (environment.pop("PGUSER"), environment.pop("PGPASSWORD")) == tuple(account.values())
    assert environment == expected


class FakeConnection:
    """A connection that records statements and answers whether the database exists."""

    def __init__(self, exists):
        self.exists, self.statements, self.autocommit = exists, [], False

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def execute(self, statement, values=()):
        assert self.autocommit
        self.statements.append(statement)

    def fetchone(self):
        return self.exists or None


@pytest.mark.parametrize("exists", [True, False])
def test_create_database_if_missing_then_revoke_access(script, exists):
    superuser = FakeConnection(exists)
    script("mlflow.accounts").create_database(superuser)
    is_created = "CREATE DATABASE mlflow_auth OWNER mlflow" in superuser.statements
    assert is_created is not exists
    revoke = "REVOKE CONNECT, TEMPORARY ON DATABASE mlflow_auth FROM PUBLIC"
    assert superuser.statements[-1] == revoke
