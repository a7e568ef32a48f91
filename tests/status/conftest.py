"""Fixtures: stub services, new for each test."""

import pytest

from tests.status.databases import PostgresStub
from tests.status.stubs import RedisStub, healthy_answers
from tests.support.http_stub import HttpStub, unused_port


@pytest.fixture
def web():
    """One stub for Airflow and MLflow, both healthy."""
    with HttpStub() as stub:
        stub.answers = healthy_answers()
        yield stub


@pytest.fixture
def broker():
    """A Redis stub with one worker that waits for tasks."""
    with RedisStub() as stub:
        yield stub


@pytest.fixture
def database():
    """A PostgreSQL stub with the data of a healthy stack."""
    with PostgresStub() as stub:
        yield stub


@pytest.fixture
def dead_address():
    """The address of a port on which nothing listens."""
    return f"127.0.0.1:{unused_port()}"
