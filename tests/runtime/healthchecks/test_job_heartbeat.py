"""Test the health check of the dag-processor and the triggerer."""

import runpy
import sys
from contextlib import nullcontext
from unittest.mock import ANY, MagicMock

import pytest


@pytest.fixture
def driver(monkeypatch):
    """A fake psycopg2 whose cursor returns the age of the last heartbeat."""
    driver = MagicMock(OperationalError=type("OperationalError", (Exception,), {}))
    connection = driver.connect.return_value.__enter__.return_value
    driver.cursor = connection.cursor.return_value.__enter__.return_value
    driver.cursor.fetchone.return_value = (1.5,)
    monkeypatch.setitem(sys.modules, "psycopg2", driver)
    uri = "postgresql+psycopg2://airflow:x@postgres/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", uri)
    return driver


def test_heartbeat_query_selects_running_jobs_of_host(script, driver):
    heartbeat = script("healthchecks.job_heartbeat")
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
    ("age", "code", "output"),
    [
        (0.2, None, ""),
        (59, None, ""),
        (61.4, "TriggererJob: last heartbeat 61 s ago", ""),
        (None, "TriggererJob: no heartbeat", ""),
        ("no database", 3, "postgres: connection refused\n"),
    ],
)
def test_heartbeat_age_decides_exit_code(repo, driver, monkeypatch, capsys, age, code, output):
    driver.cursor.fetchone.return_value = (age,)
    if age == "no database":
        driver.connect.side_effect = driver.OperationalError("connection refused")
    monkeypatch.setattr(sys, "argv", ["job_heartbeat.py", "TriggererJob"])
    check = repo / "orchestration/config/stack_runtime/healthchecks/job_heartbeat.py"
    with pytest.raises(SystemExit) if code else nullcontext() as error:
        runpy.run_path(str(check), run_name="__main__")
    assert (error and error.value.code) == code
    assert capsys.readouterr().out == output
