"""The scripts mounted into services: against a Redis of a few lines, and programs of paper."""

import os
import re
import runpy
import socketserver
import sys
import urllib.request
from contextlib import nullcontext
from subprocess import DEVNULL
from types import SimpleNamespace
from unittest.mock import ANY, MagicMock

import pytest

from tests.status.stubs import RedisStub, client
from tests.support.fake_module import fake_module
from tests.support.process import put_before, run

# consuming.py


@pytest.fixture
def redis():
    """A Redis without any client."""
    with RedisStub("pa/ss") as stub:
        stub.clients = []
        yield stub


@pytest.fixture
def consuming(script, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CELERY__WORKER_CONCURRENCY", "2")
    return script("consuming").consuming


def a_client(addr, cmd="brpop", **told):
    """One of `addr` that waits."""
    return client(cmd, **{"flags": "b", "addr": addr, **told})


def test_a_consumer_at_my_address_that_waits_is_well(consuming, redis):
    redis.clients = [a_client("10.0.0.9:1", "ping"), a_client("127.0.0.1:2")]
    assert consuming(redis.url)
    assert redis.commands == ["AUTH", "CLIENT"]


def test_a_consumer_between_two_asks_is_well(consuming, redis):
    redis.clients = [a_client("127.0.0.1:2", flags="N", idle=1)]
    assert consuming(redis.url)


@pytest.mark.parametrize(
    "client",
    [
        a_client("10.0.0.9:1"),
        a_client("127.0.0.10:1"),
        a_client("127.0.0.1:2", cmd="ping"),
        a_client("10.0.0.9:1", laddr="127.0.0.1:6379"),
        a_client("127.0.0.1:2", flags="N", idle=60),
    ],
)
def test_only_a_waiting_consumer_at_my_own_address_counts(consuming, redis, client):
    redis.clients = [client]
    assert not consuming(redis.url)


@pytest.mark.parametrize(("unacked", "well"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_worker_that_is_busy_with_all_it_may_take_is_well(consuming, redis, unacked, well):
    redis.clients, redis.in_hand = [a_client("10.0.0.9:1")], unacked
    assert consuming(redis.url) is well


def test_a_long_list_of_clients_is_read_whole(consuming, redis):
    redis.clients = [a_client(f"10.0.{n // 250}.{n % 250}:1") for n in range(2000)]
    redis.clients.append(a_client("127.0.0.1:2"))
    assert consuming(redis.url)


def test_a_refused_password_is_told_without_it(consuming, redis):
    wrong = redis.url.replace("pa%2Fss", "secret")
    with pytest.raises(ConnectionError, match=r"^WRONGPASS") as refused:
        consuming(wrong)
    assert "secret" not in str(refused.value)


def checked(repo, url):
    """The worker's check as its container runs it, without anybody's packages."""
    asked = {"AIRFLOW__CELERY__BROKER_URL": url, "AIRFLOW__CELERY__WORKER_CONCURRENCY": "2"}
    check = repo / "orchestration/config/consuming.py"
    return run(sys.executable, "-S", check, env=asked, timeout=20)


@pytest.mark.parametrize(("cmd", "code"), [("brpop", 0), ("ping", 1)])
def test_the_check_ends_as_a_container_expects(repo, redis, cmd, code):
    redis.clients = [a_client("127.0.0.1:2", cmd=cmd)]
    done = checked(repo, redis.url)
    assert done.returncode == code
    assert done.stderr == ("" if code == 0 else "no client of this worker waits for tasks\n")


def test_without_redis_the_worker_is_not_well_and_no_better_for_being_ended(repo, dead_port):
    done = checked(repo, f"redis://:x@127.0.0.1:{dead_port}/0")
    # What heal.sh takes for want of another service.
    assert (done.returncode, done.stdout.startswith("redis: ")) == (3, True)


# heartbeat.py


@pytest.fixture
def driver(monkeypatch):
    """A psycopg2 whose cursor answers with the age of the last heartbeat."""
    driver = MagicMock(OperationalError=type("OperationalError", (Exception,), {}))
    connection = driver.connect.return_value.__enter__.return_value
    driver.cursor = connection.cursor.return_value.__enter__.return_value
    driver.cursor.fetchone.return_value = (1.5,)
    monkeypatch.setitem(sys.modules, "psycopg2", driver)
    uri = "postgresql+psycopg2://airflow:x@postgres/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", uri)
    return driver


def test_a_heartbeat_is_asked_of_running_jobs_of_this_host(script, driver):
    heartbeat = script("heartbeat")
    assert heartbeat.heartbeat_age("TriggererJob") == 1.5
    query, values = driver.cursor.execute.call_args.args
    assert values == ("TriggererJob", heartbeat.socket.getfqdn())
    assert "state = 'running'" in query
    driver.connect.assert_called_once_with(
        "postgresql://airflow:x@postgres/airflow", connect_timeout=ANY
    )
    driver.cursor.fetchone.return_value = (None,)
    assert heartbeat.heartbeat_age("TriggererJob") is None


@pytest.mark.parametrize(
    ("age", "code", "said"),
    [
        (0.2, None, ""),
        (59, None, ""),
        (61.4, "TriggererJob: last heartbeat 61 s ago", ""),
        (None, "TriggererJob: no heartbeat", ""),
        ("no database", 3, "postgres: connection refused\n"),
    ],
)
def test_the_verdict_on_a_heartbeat(repo, driver, monkeypatch, capsys, age, code, said):
    driver.cursor.fetchone.return_value = (age,)
    if age == "no database":
        driver.connect.side_effect = driver.OperationalError("connection refused")
    monkeypatch.setattr(sys, "argv", ["heartbeat.py", "TriggererJob"])
    with pytest.raises(SystemExit) if code else nullcontext() as ended:
        runpy.run_path(str(repo / "orchestration/config/heartbeat.py"), run_name="__main__")
    assert (ended and ended.value.code) == code
    assert capsys.readouterr().out == said


# wait_for_server.py


def test_a_server_that_listens_is_not_waited_for(script, redis):
    script("wait_for_server").wait_for_server(redis.url, seconds=0)


def test_a_server_that_never_listens_is_told_in_one_line(script, dead_port):
    url = f"postgresql://a:secret@127.0.0.1:{dead_port}/x"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as ended:
        script("wait_for_server").wait_for_server(url, 0)
    told = str(ended.value)
    assert re.search(rf"127\.0\.0\.1.*{dead_port} took no connection in 0 s:", told)
    assert "secret" not in told


def test_a_server_that_comes_late_is_waited_for(script, clock, monkeypatch):
    waiting = script("wait_for_server")
    tries = []

    def create_connection(address, timeout):
        tries.append(address)
        if len(tries) < 4:
            raise OSError("refused")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(waiting, "time", clock)
    paper = SimpleNamespace(create_connection=create_connection)
    monkeypatch.setattr(waiting, "socket", paper)
    waiting.wait_for_server("postgresql+psycopg2://a:b@postgres/airflow")
    assert tries == [("postgres", 5432)] * 4
    assert len(clock.slept) == 3


def test_a_server_on_a_socket_is_found_by_its_folder(script, tmp_path):
    waiting = script("wait_for_server")
    url = f"postgresql+psycopg2://a:secret@/airflow?host={tmp_path}"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as ended:
        waiting.wait_for_server(url, 0)
    assert f"{tmp_path}/.s.PGSQL.5432 took no connection" in str(ended.value)
    assert "secret" not in str(ended.value)
    with socketserver.UnixStreamServer(f"{tmp_path}/.s.PGSQL.5432", None):
        waiting.wait_for_server(url, 0)


# airflow_init.py and mlflow_migrate.py


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

    def builder():
        return nullcontext(SimpleNamespace(sm=Security(world)))

    class ProvidersManager:
        def initialize_providers_configuration(self):
            world.done.append("providers")

    engine = SimpleNamespace(dispose=lambda: None)
    fake_module(monkeypatch, "airflow.settings", engine=engine)
    fake_module(
        monkeypatch,
        "airflow.utils.db",
        upgradedb=lambda: world.done.append("upgradedb"),
        initdb=lambda: world.done.append("initdb"),
        check_migrations=lambda timeout: world.done.append(f"checked {timeout}"),
    )
    fake_module(
        monkeypatch,
        "airflow.providers.fab.auth_manager.cli_commands.utils",
        get_application_builder=builder,
    )
    fake_module(monkeypatch, "airflow.providers_manager", ProvidersManager=ProvidersManager)
    inspector = SimpleNamespace(has_table=lambda name: world.tables and name == "alembic_version")
    fake_module(monkeypatch, "sqlalchemy", inspect=lambda engine: inspector)
    return world


@pytest.mark.parametrize(("tables", "act"), [(False, "initdb"), (True, "upgradedb")])
def test_airflows_schema_is_made_or_upgraded_then_checked(script, airflow_of_paper, tables, act):
    airflow_of_paper.tables = tables
    script("airflow_init").migrate()
    assert airflow_of_paper.done == [act, "checked 0"]


def test_the_first_account_is_made_once_and_its_password_kept(script, airflow_of_paper):
    init = script("airflow_init")
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
    monkeypatch.setattr(sys, "argv", ["airflow_init.py", "renew"])
    script("airflow_init").main()
    assert airflow_of_paper.done == ["providers", (7, "pa55word")]
    assert capsys.readouterr().out == "account ada has a new password\n"


def test_an_account_that_is_refused_fails_the_one_shot(script, airflow_of_paper):
    airflow_of_paper.refuses = True
    with pytest.raises(SystemExit, match="refused the account ada"):
        script("airflow_init").create_first_account("ada", "one")


class Database:
    """PostgreSQL on paper, through its driver: what it answers by query, and its comments."""

    def __init__(self, monkeypatch):
        self.rows, self.comments, self.triggers = {}, {}, []
        self.tables = {"dag_run", "task_instance"}
        self.absent = type("UndefinedTable", (Exception,), {})
        self.failed = type("OperationalError", (Exception,), {})
        errors = SimpleNamespace(UndefinedTable=self.absent)
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
            self.triggers += re.findall(r"TRIGGER (\w+) AFTER \S+ ON (\w+)", query)
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
def initialise(script, airflow_of_paper, redis, monkeypatch):
    """Run Airflow's one-shot on an empty database; what it did, its database beside it."""
    database, done = Database(monkeypatch), airflow_of_paper.done
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"{redis.url}/airflow")
    monkeypatch.setenv("_AIRFLOW_WWW_USER_USERNAME", "ada")
    monkeypatch.setenv("_AIRFLOW_WWW_USER_PASSWORD", "pa55word")
    fake_module(monkeypatch, "status_reader", let_status_read=lambda url: done.append("reader"))
    monkeypatch.setattr(sys, "argv", ["airflow_init.py"])

    def run():
        done.clear()
        script("airflow_init").main()
        return done

    return SimpleNamespace(run=run, database=database, query=script("airflow_init").THE_ACCOUNT)


DONE = ["initdb", "checked 0", "providers", "reader"]


def test_the_one_shot_waits_migrates_and_tells_no_password(initialise, capsys):
    assert initialise.run() == DONE
    assert capsys.readouterr().out == "account ada made\n"
    assert "pa55word" not in str(initialise.database.comments)


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


@pytest.mark.parametrize("change", ["account", "comment", "packages"])
def test_what_is_another_now_it_looks_at_again(initialise, change, tmp_path, monkeypatch):
    initialise.run()
    if change == "account":
        initialise.database.rows[initialise.query] = []
        initialise.run()
        initialise.database.rows[initialise.query] = [("ada",)]
    if change == "comment":
        # As of one that was restored.
        initialise.database.comments.clear()
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


@pytest.mark.parametrize(("tables", "act"), [(False, "initialize"), (True, "upgrade")])
def test_mlflows_schema_is_made_or_upgraded_then_checked(script, monkeypatch, tables, act):
    done = []
    fake_module(
        monkeypatch,
        "mlflow.store.db.utils",
        create_sqlalchemy_engine_with_retry=lambda uri: uri,
        _upgrade_db=lambda engine: done.append(f"upgrade {engine}"),
        _initialize_tables=lambda engine: done.append(f"initialize {engine}"),
        _verify_schema=lambda engine: done.append(f"verify {engine}"),
    )
    inspector = SimpleNamespace(has_table=lambda name: tables and name == "alembic_version")
    fake_module(monkeypatch, "sqlalchemy", inspect=lambda engine: inspector)
    script("mlflow_migrate").migrate("uri")
    assert done == [f"{act} uri", "verify uri"]


# The shell scripts, with programs that only tell how they were started.

REDIS_PASSWORDS = {
    "REDIS_PASSWORD": "s3cret",  # pragma: allowlist secret
    "STATUS_PASSWORD": "0ther",  # pragma: allowlist secret
}
TELL = 'printf "argv:%s\\n" "$@"\nenv\nprintf "stdin:"\ncat\n'


@pytest.fixture
def start(repo, tmp_path):
    """Start a script of config/ with a program of paper in the place of the real one."""

    def start(name, program, **environment):
        path = put_before(tmp_path, **{program: TELL})
        shell = (repo / "orchestration/config" / name).read_text().split("\n")[0].split("/")[-1]
        script = repo / "orchestration/config" / name
        return run(shell, script, env={"PATH": path, **environment}, stdin=DEVNULL, timeout=20)

    return start


def arguments(done):
    return [line[5:] for line in done.stdout.splitlines() if line.startswith("argv:")]


def test_the_passwords_of_redis_come_on_standard_input(start):
    done = start("redis.sh", "redis-server", **REDIS_PASSWORDS)
    assert arguments(done) == ["/etc/redis/redis.conf", "-"]
    master, status = done.stdout.partition("stdin:")[2].splitlines()
    assert master == "requirepass s3cret"
    assert status.startswith("user status on >0ther %R~default %R~unacked +ping ")
    assert not {"+@all", "allcommands", "~*", "allkeys", "nopass"} & set(status.split())


@pytest.mark.parametrize("missing", ["REDIS_PASSWORD", "STATUS_PASSWORD"])
def test_redis_does_not_start_without_a_password(start, missing):
    done = start("redis.sh", "redis-server", **{**REDIS_PASSWORDS, missing: ""})
    assert done.returncode != 0
    assert arguments(done) == []


def test_a_broker_never_forgets_a_task(repo):
    text = (repo / "orchestration/config/redis.conf").read_text(encoding="utf-8")
    said = dict(line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#")
    assert said["appendonly"] == "yes"
    assert said["maxmemory-policy"] == "noeviction"
    assert "requirepass" not in said


def test_passwords_of_roles_are_in_no_argument(start, tmp_path):
    (tmp_path / "data").mkdir(mode=0o777)
    done = start(
        "postgres-roles.sh",
        "psql",
        PGDATA=str(tmp_path / "data"),
        POSTGRES_PASSWORD="super",  # pragma: allowlist secret
        AIRFLOW_DB_PASSWORD="flow",  # pragma: allowlist secret
        MLFLOW_DB_PASSWORD="mlf",  # pragma: allowlist secret
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert not {"super", "flow", "mlf"} & set(arguments(done))
    assert "PGPASSWORD=super" in done.stdout
    sql = done.stdout.partition("stdin:")[2]
    assert not [word for word in ("'super'", "'flow'", "'mlf'") if word in sql]
    assert "SUPERUSER" not in sql
    for name in ("airflow", "mlflow"):
        assert f"\\getenv {name}_password {name.upper()}_DB_PASSWORD" in sql
        assert f"CREATE ROLE {name} LOGIN PASSWORD :'{name}_password';" in sql
        assert f"CREATE DATABASE {name} OWNER {name};" in sql
    assert "CREATE DATABASE mlflow_auth OWNER mlflow;" in sql
    closed = "DATABASE airflow, mlflow, mlflow_auth, postgres FROM PUBLIC;"
    assert f"REVOKE CONNECT, TEMPORARY ON {closed}" in sql


# mlflow_server.py

STORE = "postgresql+psycopg2://mlflow:s3cret@postgres/mlflow"  # pragma: allowlist secret


@pytest.fixture
def mlflow_of_paper(monkeypatch):
    """MLflow's command, which prepares the server and starts it as the real one does."""
    world = SimpleNamespace(arguments=None, served=None, environment={})
    server = fake_module(monkeypatch, "mlflow.server", _exec_cmd=lambda command, extra_env: None)

    def cli(arguments, prog_name):
        world.arguments = arguments
        world.environment = dict(os.environ)
        command = [sys.executable, "-m", "uvicorn", "--host", "h", "mlflow.server:app"]
        server._exec_cmd(command, extra_env={"PREPARED": "yes"}, capture_output=False)

    fake_module(monkeypatch, "mlflow.cli", cli=cli)
    fake_module(
        monkeypatch,
        "uvicorn",
        main=lambda arguments, prog_name: setattr(world, "served", arguments),
    )
    # Set and taken back by the test, so that what the script leaves in the environment goes too.
    for name in ("PREPARED", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "MLFLOW_HOST"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("MLFLOW_HOST")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", STORE)
    fake_module(monkeypatch, "mlflow_accounts", point_at=lambda uri: setattr(world, "beside", uri))
    return world


def test_mlflow_runs_in_the_process_that_was_started(script, mlflow_of_paper):
    with pytest.raises(SystemExit) as ended:
        script("mlflow_server").main()
    assert not ended.value.code
    assert mlflow_of_paper.served == ["--host", "h", "mlflow.server:app"]
    assert os.environ["PREPARED"] == "yes"
    line = " ".join(mlflow_of_paper.arguments)
    assert line == "server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 1"
    assert mlflow_of_paper.beside == STORE


def test_mlflow_gets_no_blank_credentials(script, mlflow_of_paper, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with pytest.raises(SystemExit):
        script("mlflow_server").main()
    assert "AWS_ACCESS_KEY_ID" not in mlflow_of_paper.environment
    assert mlflow_of_paper.environment["AWS_DEFAULT_REGION"] == "eu-central-1"


def test_an_mlflow_that_starts_another_server_is_noticed(script):
    with pytest.raises(AssertionError):
        script("mlflow_server").run_here([sys.executable, "-m", "gunicorn", "x"], {})


# watchdog.py


@pytest.fixture
def watchdog(script, monkeypatch):
    """The event listener, without a supervisord."""
    fake_module(monkeypatch, "supervisor", childutils=None)
    return script("watchdog")


def ended(watch, moments, useless=("redis",), since=0.0):
    """What is ended at each of these moments."""
    return [list(watch.judge(set(useless), {"redis": since, "mlflow": since}, m)) for m in moments]


def test_a_service_is_ended_after_misses_in_a_row(watchdog):
    watch = watchdog.Watch()
    assert ended(watch, [100, 120]) == [[], []]
    assert ended(watch, [140], useless=()) == [[]]
    assert ended(watch, [160, 180, 200]) == [[], [], ["redis"]]


def test_a_service_that_has_just_started_is_left_alone(watchdog):
    watch = watchdog.Watch()
    assert ended(watch, [100, 120, 140, 160], since=100) == [[], [], [], []]
    assert ended(watch, [161, 181, 201], since=100) == [[], [], ["redis"]]


def test_a_service_that_does_not_come_back_is_left_for_a_person(watchdog):
    watch = watchdog.Watch()
    within_the_hour = [name for names in ended(watch, range(100, 3000, 20)) for name in names]
    assert within_the_hour == ["redis"] * watchdog.ENDED_PER_HOUR
    assert ["redis"] in ended(watch, range(7000, 7200, 20))


@pytest.fixture
def useless(watchdog, web, monkeypatch):
    """What the watchdog finds useless, with or without an answer of PostgreSQL."""

    def useless(postgres=True, url=web.url):
        monkeypatch.setenv("STATUS_URL", url)
        monkeypatch.setattr(watchdog, "postgres_answers", lambda: postgres)
        return watchdog.useless_services()

    return useless


@pytest.mark.parametrize("code", [200, 503])
def test_what_the_page_calls_down_is_useless_but_not_what_it_does_not_know(useless, web, code):
    states = {"mlflow": "down", "redis": "unknown", "postgres": "down", "airflow-worker": "up"}
    services = [{"name": name, "state": state} for name, state in states.items()]
    web.answers["GET /status.json"] = (code, {"services": services})
    assert useless() == {"mlflow"}
    # What is down beside a database that is away may be down for want of it.
    assert useless(postgres=False) == {"postgres"}


@pytest.mark.parametrize("answer", [(200, b"<html>"), (500, b"Internal Server Error")])
def test_a_page_that_does_not_answer_or_without_json_is_useless_itself(
    useless, web, dead_port, answer
):
    assert useless(url=f"http://127.0.0.1:{dead_port}") == {"status"}
    web.answers["GET /status.json"] = answer
    assert useless() == {"status"}


def test_no_proxy_stands_between_the_watchdog_and_the_page(useless, web, monkeypatch, dead_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    # urllib reads the environment once in a process; here it must read it anew.
    monkeypatch.setattr(urllib.request, "_opener", None)
    web.answers["GET /status.json"] = (200, {"services": []})
    assert useless() == set()
