"""Test what happens before a scheduler starts, in a database, and the address of pages."""

import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tests.runtime.airflow import database
from tests.runtime.airflow.supervised import patched_supervisor, runtime


class Connection(sqlite3.Connection):
    """Accepts the parameters of psycopg2."""

    def cursor(self):
        return SimpleNamespace(execute=lambda text, values: self.execute(text % "?", values))


@pytest.fixture
def service(monkeypatch):
    """The module, connected to Airflow's database in SQLite."""
    patched_supervisor()
    from airflow import settings

    database.create()
    module = runtime("airflow.service")

    def connect(url):
        file = settings.engine.url.database
        connection = sqlite3.connect(file, factory=Connection, isolation_level=None)
        connection.create_function("now", 0, lambda: datetime.now(UTC).isoformat(" "))
        return connection

    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://unused")
    monkeypatch.setattr(module.database_url, "connect", connect)
    return module


def add_jobs(session, rows):
    """Replace all jobs by these: name, host, type and state. Return the new ones by name."""
    from airflow.executors.base_executor import BaseExecutor
    from airflow.jobs.job import Job

    session.query(Job).delete()
    jobs = {}
    for name, host, job_type, state in rows:
        jobs[name] = Job(executor=BaseExecutor(), job_type=job_type, state=state)
        jobs[name].hostname = host
        session.add(jobs[name])
    session.commit()
    return jobs


def test_scheduler_ends_its_killed_predecessor_only(service):
    from airflow.utils.net import get_hostname
    from airflow.utils.session import create_session

    own = get_hostname()
    with create_session(scoped=False) as session:
        jobs = add_jobs(session, [
            ("predecessor", own, "SchedulerJob", "running"),
            ("on another host", "elsewhere", "SchedulerJob", "running"),
            ("other service", own, "TriggererJob", "running"),
            ("ended before", own, "SchedulerJob", "success"),
        ])  # fmt: skip
        service.end_previous_job()
        session.expire_all()
        states = [(name, job.state) for name, job in jobs.items()]
        ended = [name for name, job in jobs.items() if job.end_date]
        session.query(type(jobs["predecessor"])).delete()
    assert states == [
        ("predecessor", "failed"),
        ("on another host", "running"),
        ("other service", "running"),
        ("ended before", "success"),
    ]
    assert ended == ["predecessor"]


@pytest.mark.parametrize(
    ("command", "calls"), [("scheduler", ["end", "run"]), ("triggerer", ["run"])]
)
def test_only_a_scheduler_ends_its_predecessor(service, monkeypatch, command, calls):
    called = []
    monkeypatch.setattr(service, "end_previous_job", lambda: called.append("end"))
    definition = SimpleNamespace(
        name=command, help="", args=[], func=lambda options: called.append("run")
    )
    monkeypatch.setattr(service, "find_command", lambda words: (definition, words[1:]))
    service.main([command])
    assert called == calls


@pytest.mark.parametrize(
    ("command", "address", "expected"),
    [
        ("api-server", "http://127.0.0.1:8090/", "/"),
        ("api-server", "https://box.example:8090/", "https://box.example:8090/"),
        ("triggerer", "http://127.0.0.1:8090/", "http://127.0.0.1:8090/"),
    ],
)
def test_api_server_redirects_to_public_address_with_tls_only(
    service, monkeypatch, command, address, expected
):
    from airflow.configuration import conf

    seen = []
    definition = SimpleNamespace(
        name=command, help="", args=[], func=lambda _: seen.append(conf.get("api", "base_url"))
    )
    monkeypatch.setattr(service, "find_command", lambda words: (definition, words[1:]))
    monkeypatch.setenv(service.BASE_URL, address)
    service.main([command])
    assert seen == [expected]
