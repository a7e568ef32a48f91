"""Test waiting for a PostgreSQL that does not accept sessions yet."""

import re
import struct

import pytest

from orchestration.engines import base
from tests.support.starting_postgres import (
    READY,
    STARTING_UP,
    UNKNOWN_DATABASE,
    StartingPostgres,
    error,
)


@pytest.fixture
def module(script, clock, monkeypatch):
    """The module with a clock that only its pauses advance."""
    module = script("shared.wait_for_server")
    monkeypatch.setattr(module, "time", clock)
    return module


@pytest.mark.parametrize("answer", [READY, error(UNKNOWN_DATABASE)])
def test_wait_for_server_that_accepts_sessions_returns_at_once(module, clock, answer):
    with StartingPostgres(answer) as server:
        module.wait_for_server(server.url)
    assert clock.slept == []
    # The message that PostgreSQL 16 expects first.
    [greeting] = server.greetings
    assert struct.unpack("!II", greeting[:8]) == (len(greeting), 196608)
    assert greeting[8:] == b"user\0wait_for_server\0\0"


def test_wait_for_starting_server_outlasts_its_rejections(module, clock):
    # An open port alone does not end the wait, also after the limit for a server that is away.
    with StartingPostgres(*[error(STARTING_UP)] * 400, READY) as server:
        module.wait_for_server(server.url, seconds=60)
    assert len(clock.slept) == 400


def test_wait_for_server_that_closes_connections_tries_again(module, clock):
    with StartingPostgres(b"", b"", READY) as server:
        module.wait_for_server(server.url)
    assert len(clock.slept) == 2


def test_wait_for_server_in_endless_recovery_exits_with_its_reason(module, clock, monkeypatch):
    monkeypatch.setattr(module, "RECOVERY_SECONDS", 3)
    with StartingPostgres(error(STARTING_UP)) as server, pytest.raises(SystemExit) as failure:
        module.wait_for_server(server.url)
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ is not ready after 3 s: the database system is starting up",
        str(failure.value),
    )
    assert 2.9 < sum(clock.slept) < 3.3


def test_wait_for_absent_server_exits_with_one_line(module, dead_port):
    url = f"postgresql://a:secret@127.0.0.1:{dead_port}/x"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as failure:
        module.wait_for_server(url, 1)
    message = str(failure.value)
    assert re.match(rf"127\.0\.0\.1:{dead_port} is not ready after 1 s: .*refused", message)
    assert "secret" not in message


def test_wait_for_server_on_socket_uses_folder(module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    with StartingPostgres(error(STARTING_UP), READY, folder=str(folder)) as server:
        module.wait_for_server(server.url)
    (folder / ".s.PGSQL.5432").unlink()
    with pytest.raises(SystemExit) as failure:
        module.wait_for_server(server.url, 1)
    assert str(failure.value).startswith(f"{folder}/.s.PGSQL.5432 is not ready after 1 s: ")


def test_engines_wait_as_long_as_init_jobs(script):
    assert script("shared.wait_for_server").RECOVERY_SECONDS == base.RECOVERY_SECONDS
