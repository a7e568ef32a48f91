"""Test waiting for a server that may not accept connections yet."""

import re
import socketserver
from types import SimpleNamespace

import pytest


def test_wait_for_listening_server_returns_immediately(script, listener):
    script("shared.wait_for_server").wait_for_server(f"redis://127.0.0.1:{listener}/0", seconds=0)


def test_wait_for_absent_server_exits_with_one_line(script, dead_port):
    url = f"postgresql://a:secret@127.0.0.1:{dead_port}/x"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as error:
        script("shared.wait_for_server").wait_for_server(url, 0)
    message = str(error.value)
    assert re.search(rf"127\.0\.0\.1.*{dead_port} accepted no connection within 0 s:", message)
    assert "secret" not in message


def test_wait_for_late_server_tries_again(script, clock, monkeypatch):
    module = script("shared.wait_for_server")
    tries = []

    def create_connection(address, timeout):
        tries.append(address)
        if len(tries) < 4:
            raise OSError("refused")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "socket", SimpleNamespace(create_connection=create_connection))
    module.wait_for_server("postgresql+psycopg2://a:b@postgres/airflow")
    assert tries == [("postgres", 5432)] * 4
    assert len(clock.slept) == 3


def test_wait_for_server_on_socket_uses_folder(script, tmp_path):
    module = script("shared.wait_for_server")
    url = f"postgresql+psycopg2://a:secret@/airflow?host={tmp_path}"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as error:
        module.wait_for_server(url, 0)
    assert f"{tmp_path}/.s.PGSQL.5432 accepted no connection" in str(error.value)
    assert "secret" not in str(error.value)
    with socketserver.UnixStreamServer(f"{tmp_path}/.s.PGSQL.5432", None):
        module.wait_for_server(url, 0)
