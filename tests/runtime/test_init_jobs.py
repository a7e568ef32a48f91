"""Test the init jobs of Airflow and MLflow with fake modules and a fake database."""

import json
import re
import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module
from tests.support.starting_postgres import READY, StartingPostgres

FAB = "airflow.providers.fab.auth_manager.cli_commands.utils"


class FakeSecurityManager:
    """Airflow's accounts in memory."""

    def __init__(self, world):
        self.world = world

    def find_user(self, username):
        return self.world.users.get(username)

    def find_role(self, name):
        return f"role {name}"

    def reset_password(self, identity, password):
        self.world.calls.append((identity, password))

    def add_user(self, username, first, last, email, role, password):
        if self.world.refuses_accounts:
            return False
        self.world.users[username] = (role, password)
        return True


@pytest.fixture
def fake_airflow(monkeypatch):
    """Fake modules of Airflow. The test chooses whether tables exist and accounts are refused."""
    world = SimpleNamespace(calls=[], tables=False, users={}, refuses_accounts=False)

    class ProvidersManager:
        def initialize_providers_configuration(self):
            world.calls.append("providers")

    engine = SimpleNamespace(dispose=lambda: None)
    fake_module(monkeypatch, "airflow.settings", engine=engine)
    db = {name: partial(world.calls.append, name) for name in ("upgradedb", "initdb")}
    db["check_migrations"] = lambda timeout: world.calls.append(f"check {timeout}")
    fake_module(monkeypatch, "airflow.utils.db", **db)
    builder = nullcontext(SimpleNamespace(sm=FakeSecurityManager(world)))
    fake_module(monkeypatch, FAB, get_application_builder=lambda: builder)
    fake_module(monkeypatch, "airflow.providers_manager", ProvidersManager=ProvidersManager)
    inspector = SimpleNamespace(has_table=lambda name: world.tables and name == "alembic_version")
    fake_module(monkeypatch, "sqlalchemy", inspect=lambda engine: inspector)
    return world


@pytest.mark.parametrize(("tables", "command"), [(False, "initdb"), (True, "upgradedb")])
def test_airflow_schema_is_created_or_upgraded_then_checked(script, fake_airflow, tables, command):
    fake_airflow.tables = tables
    script("airflow.init_database").migrate()
    assert fake_airflow.calls == [command, "check 0"]


def test_first_account_exists_keeps_password(script, fake_airflow):
    init = script("airflow.init_database")
    assert init.create_first_account("ada", "one") == "Account ada created."
    assert init.create_first_account("ada", "two") == "Account ada exists."
    assert fake_airflow.users == {"ada": ("role Admin", "one")}
    assert "providers" in fake_airflow.calls


def test_renew_sets_new_password(script, fake_airflow, monkeypatch, capsys):
    fake_airflow.users["ada"] = SimpleNamespace(id=7)
    monkeypatch.setenv("_AIRFLOW_WWW_USER_USERNAME", "ada")
    monkeypatch.setenv("_AIRFLOW_WWW_USER_PASSWORD", "pa55word")
    monkeypatch.setattr(sys, "argv", ["init_database.py", "renew"])
    script("airflow.init_database").main()
    assert fake_airflow.calls == ["providers", (7, "pa55word")]
    assert capsys.readouterr().out == "Account ada has a new password.\n"


def test_first_account_refused_exits(script, fake_airflow):
    fake_airflow.refuses_accounts = True
    with pytest.raises(SystemExit, match="refused the account ada"):
        script("airflow.init_database").create_first_account("ada", "one")


class FakeDatabase:
    """A fake psycopg2 with answers by query, and the comments and triggers of a database."""

    def __init__(self, monkeypatch):
        self.rows, self.comments, self.triggers = {}, {}, set()
        self.tables = {"dag_run", "task_instance"}
        self.undefined = type("UndefinedTable", (Exception,), {})
        self.operational_error = type("OperationalError", (Exception,), {})
        errors = SimpleNamespace(UndefinedTable=self.undefined, UndefinedColumn=self.undefined)
        fake_module(monkeypatch, "psycopg2", connect=self.connect, errors=errors,
               OperationalError=self.operational_error)  # fmt: skip

    def connect(self, dbname, **options):
        return SimpleNamespace(
            info=SimpleNamespace(dbname=dbname), cursor=lambda: self, close=lambda: None
        )

    def execute(self, query, values=None):
        if query.startswith("COMMENT ON"):
            self.comments[query.split('"')[1]] = values[0]
        elif "CREATE OR REPLACE" in query:
            self.triggers |= {*re.findall(r"TRIGGER (\w+) AFTER \S+ ON (\w+)", query)}
        elif "pg_trigger" in query:
            self.answer = sorted(self.triggers)
        elif "to_regclass" in query:
            self.answer = [(values[0] if values[0] in self.tables else None,)]
        elif "shobj_description" in query:
            self.answer = [(self.comments.get(values[0]),)]
        elif query in self.rows:
            self.answer = self.rows[query]
        else:
            raise self.undefined

    def fetchall(self):
        return self.answer

    def fetchone(self):
        return self.answer[0]


@pytest.fixture
def postgres():
    """A server that accepts sessions."""
    with StartingPostgres(READY) as server:
        yield server


@pytest.fixture
def init_job(script, fake_airflow, postgres, monkeypatch):
    """Airflow's init job on an empty database; `run` returns the calls that it made."""
    database, calls = FakeDatabase(monkeypatch), fake_airflow.calls
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", postgres.url)
    monkeypatch.setenv("_AIRFLOW_WWW_USER_USERNAME", "ada")
    monkeypatch.setenv("_AIRFLOW_WWW_USER_PASSWORD", "pa55word")
    monkeypatch.setattr(sys, "argv", ["init_database.py"])
    query = script("airflow.init_database").ACCOUNT_QUERY
    status_account = {"create_account": lambda url: calls.append("status account")}
    fake_module(monkeypatch, "stack_runtime.airflow.status_account", **status_account)

    def run():
        calls.clear()
        script("airflow.init_database").main()
        return calls

    return SimpleNamespace(run=run, database=database, query=query)


ALL_CALLS = ["initdb", "check 0", "providers", "status account"]


def test_init_job_on_empty_database_prints_no_password(init_job, capsys):
    assert init_job.run() == ALL_CALLS
    assert capsys.readouterr().out == "Account ada created.\n"
    [comment] = init_job.database.comments.values()
    assert "pa55word" not in comment
    assert "is not installed" in json.loads(comment)["inactive_patches"]["wake-scheduler"]


def test_init_job_creates_triggers_on_existing_tables(init_job):
    init_job.run()
    assert sorted(init_job.database.triggers) == [
        ("stack_tell", "dag_run"),
        ("stack_tell_of_change", "dag_run"),
        ("stack_tell_of_change", "task_instance"),
    ]


def test_init_job_without_changes_skips_work(init_job, capsys):
    init_job.run()
    capsys.readouterr()
    # Every run updates the account of the status page.
    assert init_job.run() == ["status account"]
    assert capsys.readouterr().out == "The schema and the account ada are up to date.\n"


@pytest.mark.parametrize("change", ["account", "comment", "executor", "packages", "triggers"])
def test_init_job_after_change_runs_again(init_job, change, tmp_path, monkeypatch):
    init_job.run()
    if change == "account":
        init_job.database.rows[init_job.query] = []
        init_job.run()
        init_job.database.rows[init_job.query] = [("ada",)]
    if change == "comment":
        # A restored database has no comment.
        init_job.database.comments.clear()
    if change == "executor":
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    if change == "triggers":
        init_job.database.triggers.clear()
    if change == "packages":
        (tmp_path / "apache_airflow_providers_fab-9.dist-info").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
    assert init_job.run() == ALL_CALLS


def test_init_job_after_irrelevant_package_skips_work(init_job, tmp_path, monkeypatch):
    init_job.run()
    (tmp_path / "emoji-2.14.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert init_job.run() != ALL_CALLS


@pytest.mark.parametrize(
    ("tables", "function"), [(False, "_initialize_tables"), (True, "_upgrade_db")]
)
def test_mlflow_schema_is_created_or_upgraded_then_checked(script, monkeypatch, tables, function):
    calls = []
    names = ("_upgrade_db", "_initialize_tables", "_verify_schema")
    utils = {name: partial(lambda *call: calls.append(call), name) for name in names}
    utils["create_sqlalchemy_engine_with_retry"] = lambda uri: uri
    fake_module(monkeypatch, "mlflow.store.db.utils", **utils)
    inspector = SimpleNamespace(has_table=lambda name: tables and name == "alembic_version")
    fake_module(monkeypatch, "sqlalchemy", inspect=lambda engine: inspector)
    script("mlflow.init_database").migrate("uri")
    assert calls == [(function, "uri"), ("_verify_schema", "uri")]
