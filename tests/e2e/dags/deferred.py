"""A task that defers itself to the triggerer and continues in a worker."""

from datetime import datetime, timedelta

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag


class DeferringOperator(BaseOperator):
    def execute(self, context):
        print("before the deferral")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=3)), method_name="resume")

    def resume(self, context, event=None):
        print("after the deferral")


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def deferred():
    DeferringOperator(task_id="work")


deferred()
