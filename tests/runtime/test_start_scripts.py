"""Test the start scripts of Redis and PostgreSQL with programs that print their input."""

from subprocess import DEVNULL

import pytest

from tests.support.process import path_with_programs, run

REDIS_PASSWORDS = {
    "REDIS_PASSWORD": "s3cret",  # pragma: allowlist secret
    "STATUS_PASSWORD": "0ther",  # pragma: allowlist secret
}
PRINT_INPUT = 'printf "argv:%s\\n" "$@"\nenv\nprintf "stdin:"\ncat\n'


@pytest.fixture
def start(repo, tmp_path):
    """Run a script of config/ with a fake program instead of the real one."""

    def start(name, program, **environment):
        path = path_with_programs(tmp_path, **{program: PRINT_INPUT})
        script = repo / "orchestration/config" / name
        shell = script.read_text().split("\n")[0].split("/")[-1]
        return run(shell, script, env={"PATH": path, **environment}, stdin=DEVNULL, timeout=20)

    return start


def arguments(result):
    return [line[5:] for line in result.stdout.splitlines() if line.startswith("argv:")]


def test_redis_gets_passwords_on_standard_input(start):
    result = start("redis-server/start.sh", "redis-server", **REDIS_PASSWORDS)
    assert arguments(result) == ["/etc/redis/redis.conf", "-"]
    master, status = result.stdout.partition("stdin:")[2].splitlines()
    assert master == "requirepass s3cret"
    assert status.startswith("user status on >0ther %R~default %R~unacked %R~unacked_index +ping ")
    assert not {"+@all", "allcommands", "~*", "allkeys", "nopass"} & set(status.split())


@pytest.mark.parametrize("missing", ["REDIS_PASSWORD", "STATUS_PASSWORD"])
def test_redis_without_password_does_not_start(start, missing):
    result = start("redis-server/start.sh", "redis-server", **{**REDIS_PASSWORDS, missing: ""})
    assert result.returncode != 0
    assert arguments(result) == []


def test_redis_configuration_keeps_every_task(repo):
    text = (repo / "orchestration/config/redis-server/redis.conf").read_text(encoding="utf-8")
    options = dict(line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#")
    assert options["appendonly"] == "yes"
    assert options["maxmemory-policy"] == "noeviction"
    assert "requirepass" not in options


def test_postgres_roles_script_passes_no_password_as_argument(start, tmp_path):
    (tmp_path / "data").mkdir(mode=0o777)
    result = start(
        "postgres/roles.sh",
        "psql",
        PGDATA=str(tmp_path / "data"),
        POSTGRES_PASSWORD="super",  # pragma: allowlist secret
        AIRFLOW_DB_PASSWORD="flow",  # pragma: allowlist secret
        MLFLOW_DB_PASSWORD="mlf",  # pragma: allowlist secret
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert not {"super", "flow", "mlf"} & set(arguments(result))
    assert "PGPASSWORD=super" in result.stdout
    sql = result.stdout.partition("stdin:")[2]
    assert not [word for word in ("'super'", "'flow'", "'mlf'") if word in sql]
    assert "SUPERUSER" not in sql
    for name in ("airflow", "mlflow"):
        assert f"\\getenv {name}_password {name.upper()}_DB_PASSWORD" in sql
        assert f"CREATE ROLE {name} LOGIN PASSWORD :'{name}_password';" in sql
        assert f"CREATE DATABASE {name} OWNER {name};" in sql
    assert "CREATE DATABASE mlflow_auth OWNER mlflow;" in sql
    closed = "DATABASE airflow, mlflow, mlflow_auth, postgres FROM PUBLIC;"
    assert f"REVOKE CONNECT, TEMPORARY ON {closed}" in sql
