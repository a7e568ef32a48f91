"""MLflow's accounts: who is made, renewed and given what."""

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
    loaded, store = script("mlflow.accounts"), Store()

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
def test_the_driver_finds_the_accounts_beside_the_store(script, host, query, port, found):
    account = {"username": "mlflow", "password": "s3cret"}  # pragma: allowlist secret
    url = SimpleNamespace(host=host, query=query, port=port, **account)
    engine, environment = {"make_url": lambda address: url}, {}
    script("mlflow.accounts", **{"sqlalchemy.engine": engine}).point_at(STORE, environment)
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
    script("mlflow.accounts").make_database(superuser)
    made = "CREATE DATABASE mlflow_auth OWNER mlflow" in superuser.said
    assert made is not there
    closed = "REVOKE CONNECT, TEMPORARY ON DATABASE mlflow_auth FROM PUBLIC"
    assert superuser.said[-1] == closed
