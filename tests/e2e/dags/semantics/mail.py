"""Tasks that send mails in each way, and a task that reports where its requests go."""

import os
import time
from datetime import datetime

import requests
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.sdk import dag, get_current_context, task

TO = "you@example.org"
OPTIONS = {
    "schedule": None,
    "start_date": datetime(2025, 1, 1),
    "is_paused_upon_creation": False,
    "tags": ["test"],
    "default_args": {"retries": 0},
}
LINK = "<a href='{{ ti.log_url }}'>log</a>"
PROXY_SETTINGS = ("http_proxy", "https_proxy", "NO_PROXY", "no_proxy")


@dag(on_failure_callback=SmtpNotifier(to=TO, subject="notified"), **OPTIONS)
def mails():
    """Send a mail from a task, one about a failed task, and one about the failed run."""

    @task(email=TO)
    def broken():
        raise ValueError("mould")

    EmailOperator(task_id="sent", to=TO, subject="sent", html_content=LINK) >> broken()


@dag(**OPTIONS)
def mails_of_dead_task():
    """Wait, so that a test can kill the supervisor of the task."""

    @task(email=TO)
    def work():
        time.sleep(300)

    work()


@dag(**OPTIONS)
def addresses():
    """Return addresses of pages, proxy settings, and the outcome of requests."""

    @task
    def work():
        from airflow.configuration import conf

        report = {name: os.environ.get(name, "") for name in PROXY_SETTINGS}
        report |= {"base_url": conf.get("api", "base_url")}
        report |= {"log_url": get_current_context()["ti"].log_url}
        health = f"{os.environ['MLFLOW_TRACKING_URI']}/health"
        report |= {"mlflow": requests.get(health, timeout=10).status_code}
        try:
            requests.get("http://elsewhere.example", timeout=10)
        except requests.exceptions.ProxyError:
            report |= {"elsewhere": "proxy"}
        return report

    work()


mails()
mails_of_dead_task()
addresses()
