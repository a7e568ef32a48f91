"""Fixtures: stub services that run for one test each."""

import pytest

from tests.status.databases import PostgresStub
from tests.status.stubs import RedisStub, answers
from tests.support.http_stub import HttpStub, unused_port


@pytest.fixture
def web():
    """Airflow and MLflow in one stub, both well."""
    with HttpStub() as stub:
        stub.answers = answers()
        yield stub


@pytest.fixture
def broker():
    """A Redis with one worker listening."""
    with RedisStub() as stub:
        yield stub


@pytest.fixture
def database():
    """A PostgreSQL that holds a stack that is well."""
    with PostgresStub() as stub:
        yield stub


@pytest.fixture
def nobody():
    """The address of a port where nothing listens."""
    return f"127.0.0.1:{unused_port()}"
