"""Fixtures: stub services that run for one test each."""

import socketserver
import threading

import pytest

from tests.status.databases import PostgresStub
from tests.status.stubs import HttpStub, RedisStub


def served(stub):
    """Run the stub until the test ends, and let go of whoever still hangs on it."""
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield stub
    stub.over.set()
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


@pytest.fixture
def web():
    """Airflow and MLflow in one stub, both well."""
    yield from served(HttpStub())


@pytest.fixture
def broker():
    """A Redis with one worker listening."""
    yield from served(RedisStub())


@pytest.fixture
def database():
    """A PostgreSQL that holds a stack that is well."""
    yield from served(PostgresStub())


@pytest.fixture
def nobody():
    """The address of a port where nothing listens."""
    with socketserver.TCPServer(("127.0.0.1", 0), None) as server:
        return f"127.0.0.1:{server.server_address[1]}"
