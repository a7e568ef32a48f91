"""Uses a package that the image does not hold; `replace_emoji` is in it from 1.7 on."""

from datetime import datetime

from airflow.sdk import dag, task
from emoji import replace_emoji


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def plain_words():
    @task
    def words():
        return replace_emoji("ok \N{ROCKET}", "")

    words()


plain_words()
