"""Waiting for a server that may not take connections yet."""

import re
import socketserver
from types import SimpleNamespace

import pytest


def test_a_server_that_listens_is_not_waited_for(script, listener):
    script("shared.wait_for_server").wait_for_server(f"redis://127.0.0.1:{listener}/0", seconds=0)


def test_a_server_that_never_listens_is_told_in_one_line(script, dead_port):
    url = f"postgresql://a:secret@127.0.0.1:{dead_port}/x"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as ended:
        script("shared.wait_for_server").wait_for_server(url, 0)
    told = str(ended.value)
    assert re.search(rf"127\.0\.0\.1.*{dead_port} took no connection in 0 s:", told)
    assert "secret" not in told


def test_a_server_that_comes_late_is_waited_for(script, clock, monkeypatch):
    waiting = script("shared.wait_for_server")
    tries = []

    def create_connection(address, timeout):
        tries.append(address)
        if len(tries) < 4:
            raise OSError("refused")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "socket", SimpleNamespace(create_connection=create_connection))
    waiting.wait_for_server("postgresql+psycopg2://a:b@postgres/airflow")
    assert tries == [("postgres", 5432)] * 4
    assert len(clock.slept) == 3


def test_a_server_on_a_socket_is_found_by_its_folder(script, tmp_path):
    waiting = script("shared.wait_for_server")
    url = f"postgresql+psycopg2://a:secret@/airflow?host={tmp_path}"  # pragma: allowlist secret
    with pytest.raises(SystemExit) as ended:
        waiting.wait_for_server(url, 0)
    assert f"{tmp_path}/.s.PGSQL.5432 took no connection" in str(ended.value)
    assert "secret" not in str(ended.value)
    with socketserver.UnixStreamServer(f"{tmp_path}/.s.PGSQL.5432", None):
        waiting.wait_for_server(url, 0)
