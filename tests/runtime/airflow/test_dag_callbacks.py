"""Test the context of callbacks in the dag-processor, with its real processes and a database."""

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.runtime.airflow import database
from tests.runtime.airflow.dag_processor import BUNDLE, DagProcessor, dag_callback, request
from tests.runtime.airflow.mailbox import Mailbox, html

# `report` writes what it sees of its context to a file next to the DAG's.
SOURCE = """
import json
from pathlib import Path
from airflow.sdk import DAG, BaseOperator
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

def report(context):
    seen = {
        "keys": sorted(context),
        "dag": context["dag"].dag_id,
        "run": context["run_id"],
        "reason": context["reason"],
        "exception": context.get("exception"),
    }
    if "dag_run" in context:
        run = context["dag_run"]
        seen |= {"run of context": run.run_id, "conf": run.conf, "state": run.state}
    if ti := context.get("ti"):
        seen |= {
            "task": ti.task_id,
            "try": ti.try_number,
            "task state": str(ti.state),
            "ds": context["ds"],
            "url": ti.log_url,
        }
    seen |= EXTRA(context)
    with Path(__file__).with_name("seen").open("a") as file:
        print(json.dumps(seen, default=str), file=file)

def refuse(context):
    raise RuntimeError("refused")

def failure(context):
    report({**context, "reason": "failure of a task"})

def retry(context):
    report({**context, "reason": "retry of a task"})

with DAG("DAG_ID", schedule=None, on_failure_callback=CALLBACK, on_success_callback=report) as dag:
    for name in ("first", "second"):
        BaseOperator(task_id=name, retries=1, on_failure_callback=failure, on_retry_callback=retry)
"""
DATE = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def processor(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_PUBLIC_URL", "http://10.0.0.1:8090")
    processor = DagProcessor(tmp_path, monkeypatch)
    yield processor
    processor.stop()


def add_run(folder, dag_id, callback="[refuse, report]", extra="lambda context: {}"):
    """Write a DAG file, and add a run of its DAG whose first task has failed."""
    file = folder / f"{dag_id}.py"
    names = {"DAG_ID": dag_id, "CALLBACK": callback, "EXTRA": f"({extra})"}
    text = SOURCE
    for name, value in names.items():
        text = text.replace(name, value)
    file.write_text(text)
    database.add_dags(file)
    run = database.add_run(dag_id, f"r_{dag_id}", "failed", DATE)
    set_states(run, first="failed", second="upstream_failed")
    return run


def set_states(run, **states):
    from airflow.models import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(DagRun).filter_by(run_id=run.run_id).update({"start_date": DATE})
        for minute, (task_id, state) in enumerate(states.items()):
            ti = session.query(TaskInstance).filter_by(run_id=run.run_id, task_id=task_id).one()
            ti.state, ti.try_number, ti.end_date = state, 1, DATE + timedelta(minutes=minute)
            ti.max_tries = 1


def task_callback(run, task_id, kind):
    """Return the request for a task whose worker died, with the ID of its past try."""
    from airflow.callbacks.callback_requests import TaskCallbackRequest
    from airflow.utils.session import create_session

    with create_session() as session:
        ti = database.task_instance(session, task_id, run.run_id)
        return TaskCallbackRequest(
            filepath=f"{run.dag_id}.py", bundle_name=BUNDLE, bundle_version=None,
            msg="the worker died", task_callback_type=kind, ti=ti,
        )  # fmt: skip


def seen(folder, processor, *requests, count=1):
    """Run callbacks, and return what they have seen."""
    for one in requests:
        request(one)
    file = folder / "seen"
    processor.run_until(lambda: file.exists() and len(file.read_text().splitlines()) >= count)
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_callback_of_failed_dag_gets_run_and_failed_task(tmp_path, processor):
    run = add_run(tmp_path, "failing")
    [context] = seen(tmp_path, processor, dag_callback("failing.py", "failing", run.run_id))
    keys = context.pop("keys")
    assert {"dag", "dag_run", "params", "task", "ti", "var", "conn", "ts"} <= set(keys)
    assert context == {
        "dag": "failing",
        "run": run.run_id,
        "reason": "task_failure",
        "exception": None,
        "run of context": run.run_id,
        "conf": {},
        "state": "failed",
        "task": "first",
        "try": 1,
        "task state": "failed",
        "ds": "2026-01-02",
        "url": f"http://10.0.0.1:8090/dags/failing/runs/{run.run_id}/tasks/first?try_number=1",
    }


def test_callback_of_successful_dag_gets_last_task(tmp_path, processor):
    run = add_run(tmp_path, "succeeding")
    set_states(run, first="success", second="success")
    callback = dag_callback("succeeding.py", "succeeding", run.run_id, failure=False)
    [context] = seen(tmp_path, processor, callback)
    assert context["task"] == "second"


@pytest.mark.parametrize(("kind", "word"), [("failed", "failure"), ("up_for_retry", "retry")])
def test_callback_of_task_whose_worker_died_runs(tmp_path, processor, kind, word):
    run = add_run(tmp_path, f"died_{word}")
    [context] = seen(tmp_path, processor, task_callback(run, "first", kind))
    assert (context["task"], context["task state"]) == ("first", kind)
    assert context["reason"] == f"{word} of a task"
    assert context["exception"] == "the worker died"
    assert context["run of context"] == run.run_id


def test_callbacks_without_run_or_task_run_with_smaller_context(tmp_path, processor):
    run = add_run(tmp_path, "changed")
    file = tmp_path / "changed.py"
    file.write_text(file.read_text().replace('("first", "second")', '("third",)'))
    requests = (
        dag_callback("changed.py", "gone", run.run_id),
        task_callback(run, "first", "failed"),
        dag_callback("changed.py", "changed", run.run_id),
        dag_callback("changed.py", "changed", "deleted"),
    )
    contexts = seen(tmp_path, processor, *requests, count=2)
    assert [context["run"] for context in contexts] == [run.run_id, "deleted"]
    assert contexts[0]["keys"] == ["dag", "dag_run", "reason", "run_id"]
    assert contexts[1]["keys"] == ["dag", "reason", "run_id"]


def test_callback_reads_xcoms_variables_and_previous_runs(tmp_path, processor):
    extra = """lambda context: {
        "xcom": context["ti"].xcom_pull(task_ids="first", key="k"),
        "variable": context["var"]["value"].get("team"),
        "previous": str(context["prev_start_date_success"]),
        "count": context["ti"].get_ti_count(dag_id="reading"),
    }"""
    run = add_run(tmp_path, "reading", extra=extra)
    set_states(database.add_run("reading", "before", "success", DATE - timedelta(days=1)))
    add_values(run)
    [context] = seen(tmp_path, processor, dag_callback("reading.py", "reading", run.run_id))
    assert (json.loads(context["xcom"]), context["variable"]) == ({"a": 1}, "eu")
    assert context["count"] == 4
    assert context["previous"].startswith("2026-01-02")


def add_values(run):
    from airflow.models import Variable
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        Variable.set("team", "eu", session=session)
        key = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": "first"}
        XComModel.set(key="k", value={"a": 1}, **key, session=session)


@pytest.fixture
def mailbox(monkeypatch):
    """Return a mail server, which is the one of Airflow's connection."""
    with Mailbox() as server:
        options = "disable_ssl=true&disable_tls=true&from_email=us@example.org"
        address = f"smtp://127.0.0.1:{server.port}?{options}"
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", address)
        backend = "stack_runtime.airflow.mail.send_email"
        monkeypatch.setenv("AIRFLOW__EMAIL__EMAIL_BACKEND", backend)
        yield server


def test_mail_of_notifier_links_to_task(tmp_path, processor, mailbox):
    # Provider 2.0.3 sends nothing without a subject and a text.
    text = "<a href='{{ ti.log_url }}'>{{ dag.dag_id }} {{ dag_run.state }}</a>"
    options = f"'you@example.org', 'me@example.org', 'Alert of {{{{ ti.task_id }}}}', \"{text}\""
    notifier = f"[refuse, SmtpNotifier({options})]"
    run = add_run(tmp_path, "mailing", callback=notifier)
    request(dag_callback("mailing.py", "mailing", run.run_id))
    processor.run_until(lambda: mailbox.mails)
    [mail] = mailbox.mails
    link = f"http://10.0.0.1:8090/dags/mailing/runs/{run.run_id}/tasks/first?try_number=1"
    assert html(mail) == f"<a href='{link}'>mailing failed</a>"
    assert mail["subject"] == "Alert of first"


@pytest.mark.parametrize(
    ("kind", "options", "number"),
    [
        ("failed", "email='you@example.org'", 1),
        ("failed", "email='you@example.org', email_on_failure=False", 0),
        ("up_for_retry", "email='you@example.org'", 1),
        ("up_for_retry", "email='you@example.org', email_on_retry=False", 0),
    ],
)
def test_mail_about_task_whose_worker_died_is_sent(
    tmp_path, processor, mailbox, kind, options, number
):
    dag_id = f"lost_{kind}_{number}"
    run = add_run(tmp_path, dag_id)
    file = tmp_path / f"{dag_id}.py"
    file.write_text(file.read_text().replace("retries=1,", f"retries=1, {options},"))
    # The callback runs before the mail is sent.
    [context] = seen(tmp_path, processor, task_callback(run, "first", kind))
    assert context["exception"] == "the worker died"
    with contextlib.suppress(AssertionError):
        processor.run_until(lambda: mailbox.mails, seconds=5 if number == 0 else 30)
    assert len(mailbox.mails) == number
    for mail in mailbox.mails:
        link = f"http://10.0.0.1:8090/dags/{dag_id}/runs/{run.run_id}/tasks/first?try_number=1"
        assert "the worker died" in html(mail)
        assert f'"{link}"' in html(mail)
        assert mail["To"] == "you@example.org"


def test_dag_files_share_one_api_server(tmp_path, processor):
    from airflow.dag_processing import processor as module

    assert module.in_process_api_server() is module.in_process_api_server()
