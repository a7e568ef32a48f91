"""The init jobs of Airflow and MLflow, against modules and a database of a few lines."""

import json
import re
import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module

FAB = "airflow.providers.fab.auth_manager.cli_commands.utils"


class Security:
    """Airflow's accounts on paper."""

    def __init__(self, world):
        self.world = world

    def find_user(self, username):
        return self.world.users.get(username)

    def find_role(self, name):
        return f"role {name}"

    def reset_password(self, identity, password):
        self.world.done.append((identity, password))

    def add_user(self, username, first, last, email, role, password):
        if self.world.refuses:
            return False
        self.world.users[username] = (role, password)
        return True


@pytest.fixture
def airflow_of_paper(monkeypatch):
    """Airflow's modules with a database that may be empty and accounts that may be refused."""
    world = SimpleNamespace(done=[], tables=False, users={}, refuses=False)

    class ProvidersManager:
        def initialize_providers_configuration(self):
            world.done.append("providers")

    engine = SimpleNamespace(dispose=lambda: None)
    fake_module(monkeypatch, "airflow.settings", engine=engine)
    db = {act: partial(world.done.append, act) for act in ("upgradedb", "initdb")}
    db["check_migrations"] = lambda timeout: world.done.append(f"checked {timeout}")
    fake_module(monkeypatch, "airflow.utils.db", **db)
    opened = nullcontext(SimpleNamespace(sm=Security(world)))
    fake_module(monkeypatch, FAB, get_application_builder=lambda: opened)
    fake_module(monkeypatch, "airflow.providers_manager", ProvidersManager=ProvidersManager)
    inspector = SimpleNamespace(has_table=lambda name: world.tables and name == "alembic_version")
    fake_module(monkeypatch, "sqlalchemy", inspect=lambda engine: inspector)
    return world


@pytest.mark.parametrize(("tables", "act"), [(False, "initdb"), (True, "upgradedb")])
def test_airflows_schema_is_made_or_upgraded_then_checked(script, airflow_of_paper, tables, act):
    airflow_of_paper.tables = tables
    script("airflow.init_database").migrate()
    assert airflow_of_paper.done == [act, "checked 0"]


def test_the_first_account_is_made_once_and_its_password_kept(script, airflow_of_paper):
    init = script("airflow.init_database")
    assert init.create_first_account("ada", "one") == "account ada made"
    assert init.create_first_account("ada", "two") == "account ada exists"
    assert airflow_of_paper.users == {"ada": ("role Admin", "one")}
    assert "providers" in airflow_of_paper.done


def test_its_password_is_made_another_where_that_is_asked_for(
    script, airflow_of_paper, monkeypatch, capsys
):
    airflow_of_paper.users["ada"] = SimpleNamespace(id=7)
    monkeypatch.setenv("_AIRFLOW_WWW_USER_USERNAME", "ada")
    monkeypatch.setenv("_AIRFLOW_WWW_USER_PASSWORD", "pa55word")
    monkeypatch.setattr(sys, "argv", ["init_database.py", "renew"])
    script("airflow.init_database").main()
    assert airflow_of_paper.done == ["providers", (7, "pa55word")]
    assert capsys.readouterr().out == "account ada has a new password\n"


def test_an_account_that_is_refused_fails_the_one_shot(script, airflow_of_paper):
    airflow_of_paper.refuses = True
    with pytest.raises(SystemExit, match="refused the account ada"):
        script("airflow.init_database").create_first_account("ada", "one")


class Database:
    """PostgreSQL on paper, through its driver: what it answers by query, and its comments."""

    def __init__(self, monkeypatch):
        self.rows, self.comments, self.triggers = {}, {}, set()
        self.tables = {"dag_run", "task_instance"}
        self.absent = type("UndefinedTable", (Exception,), {})
        self.failed = type("OperationalError", (Exception,), {})
        errors = SimpleNamespace(UndefinedTable=self.absent, UndefinedColumn=self.absent)
        fake_module(monkeypatch, "psycopg2", connect=self.connect, errors=errors,
               OperationalError=self.failed)  # fmt: skip

    def connect(self, dbname, **given):
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
            raise self.absent

    def fetchall(self):
        return self.answer

    def fetchone(self):
        return self.answer[0]


@pytest.fixture
def initialise(script, airflow_of_paper, listener, monkeypatch):
    """Run Airflow's one-shot on an empty database; what it did, its database beside it."""
    database, done = Database(monkeypatch), airflow_of_paper.done
    url = f"postgresql+psycopg2://airflow:x@127.0.0.1:{listener}/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)
    monkeypatch.setenv("_AIRFLOW_WWW_USER_USERNAME", "ada")
    monkeypatch.setenv("_AIRFLOW_WWW_USER_PASSWORD", "pa55word")
    monkeypatch.setattr(sys, "argv", ["init_database.py"])
    query = script("airflow.init_database").THE_ACCOUNT
    status_account = {"let_status_read": lambda url: done.append("reader")}
    fake_module(monkeypatch, "stack_runtime.airflow.status_account", **status_account)

    def run():
        done.clear()
        script("airflow.init_database").main()
        return done

    return SimpleNamespace(run=run, database=database, query=query)


DONE = ["initdb", "checked 0", "providers", "reader"]


def test_the_one_shot_waits_migrates_and_tells_no_password(initialise, capsys):
    assert initialise.run() == DONE
    assert capsys.readouterr().out == "account ada made\n"
    [comment] = initialise.database.comments.values()
    assert "pa55word" not in comment
    assert "is not installed" in json.loads(comment)["inactive_patches"]["wake-scheduler"]


def test_the_database_is_to_tell_of_work_in_the_tables_that_it_has(initialise):
    initialise.run()
    assert sorted(initialise.database.triggers) == [
        ("stack_tell", "dag_run"),
        ("stack_tell_of_change", "dag_run"),
        ("stack_tell_of_change", "task_instance"),
    ]


def test_what_it_left_so_it_does_not_look_at_again(initialise, capsys):
    initialise.run()
    capsys.readouterr()
    # The page's account is made the same each time.
    assert initialise.run() == ["reader"]
    assert capsys.readouterr().out == "schema and account ada are as they were left\n"


@pytest.mark.parametrize("change", ["account", "comment", "executor", "packages", "triggers"])
def test_what_is_another_now_it_looks_at_again(initialise, change, tmp_path, monkeypatch):
    initialise.run()
    if change == "account":
        initialise.database.rows[initialise.query] = []
        initialise.run()
        initialise.database.rows[initialise.query] = [("ada",)]
    if change == "comment":
        # As of one that was restored.
        initialise.database.comments.clear()
    if change == "executor":
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    if change == "triggers":
        initialise.database.triggers.clear()
    if change == "packages":
        (tmp_path / "apache_airflow_providers_fab-9.dist-info").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
    assert initialise.run() == DONE


def test_a_package_that_makes_no_schema_is_no_reason_to_look_again(
    initialise, tmp_path, monkeypatch
):
    initialise.run()
    (tmp_path / "emoji-2.14.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert initialise.run() != DONE


@pytest.mark.parametrize(("tables", "act"), [(False, "_initialize_tables"), (True, "_upgrade_db")])
def test_mlflows_schema_is_made_or_upgraded_then_checked(script, monkeypatch, tables, act):
    done = []
    names = ("_upgrade_db", "_initialize_tables", "_verify_schema")
    utils = {name: partial(lambda *called: done.append(called), name) for name in names}
    utils["create_sqlalchemy_engine_with_retry"] = lambda uri: uri
    fake_module(monkeypatch, "mlflow.store.db.utils", **utils)
    inspector = SimpleNamespace(has_table=lambda name: tables and name == "alembic_version")
    fake_module(monkeypatch, "sqlalchemy", inspect=lambda engine: inspector)
    script("mlflow.init_database").migrate("uri")
    assert done == [(act, "uri"), ("_verify_schema", "uri")]
