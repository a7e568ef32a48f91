"""Uses packages that the image does not hold, and a module beside this file.

`replace_emoji` is in emoji from 1.7 on. The stack's own scripts once hid `retrying`, `watchdog` and
`cleaning`.
"""

from datetime import datetime

from airflow.sdk import dag, task
from cleaning import strip
from emoji import replace_emoji
from retrying import retry
from watchdog.observers import Observer


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False, tags=["test"])
def plain_words():
    @task
    def words():
        @retry(stop_max_attempt_number=1)
        def replaced():
            return strip(replace_emoji("ok \N{ROCKET}", ""))

        return replaced(), Observer.__name__

    words()


plain_words()
