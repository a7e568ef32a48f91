"""A task that waits where triggers run, and goes on in a worker."""

from datetime import datetime, timedelta

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag


class Defers(BaseOperator):
    def execute(self, context):
        print("this was before")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=3)), method_name="go_on")

    def go_on(self, context, event=None):
        print("this was after")


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def deferred():
    Defers(task_id="work")


deferred()
