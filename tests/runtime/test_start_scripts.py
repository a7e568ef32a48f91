"""The shell scripts that start Redis and PostgreSQL, with programs that print their start."""

from subprocess import DEVNULL

import pytest

from tests.support.process import put_before, run

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
        script = repo / "orchestration/config" / name
        shell = script.read_text().split("\n")[0].split("/")[-1]
        return run(shell, script, env={"PATH": path, **environment}, stdin=DEVNULL, timeout=20)

    return start


def arguments(done):
    return [line[5:] for line in done.stdout.splitlines() if line.startswith("argv:")]


def test_the_passwords_of_redis_come_on_standard_input(start):
    done = start("redis-server/start.sh", "redis-server", **REDIS_PASSWORDS)
    assert arguments(done) == ["/etc/redis/redis.conf", "-"]
    master, status = done.stdout.partition("stdin:")[2].splitlines()
    assert master == "requirepass s3cret"
    assert status.startswith("user status on >0ther %R~default %R~unacked +ping ")
    assert not {"+@all", "allcommands", "~*", "allkeys", "nopass"} & set(status.split())


@pytest.mark.parametrize("missing", ["REDIS_PASSWORD", "STATUS_PASSWORD"])
def test_redis_does_not_start_without_a_password(start, missing):
    done = start("redis-server/start.sh", "redis-server", **{**REDIS_PASSWORDS, missing: ""})
    assert done.returncode != 0
    assert arguments(done) == []


def test_a_broker_never_forgets_a_task(repo):
    text = (repo / "orchestration/config/redis-server/redis.conf").read_text(encoding="utf-8")
    said = dict(line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#")
    assert said["appendonly"] == "yes"
    assert said["maxmemory-policy"] == "noeviction"
    assert "requirepass" not in said


def test_passwords_of_roles_are_in_no_argument(start, tmp_path):
    (tmp_path / "data").mkdir(mode=0o777)
    done = start(
        "postgres/roles.sh",
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
