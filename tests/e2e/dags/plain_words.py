"""A task that uses packages missing from the image, and a module next to this file.

emoji has `replace_emoji` since 1.7. Modules of the stack itself once had the names `retrying`,
`watchdog` and `cleaning`, and hid the packages and the module.
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
        def remove_emoji():
            return strip(replace_emoji("ok \N{ROCKET}", ""))

        return remove_emoji(), Observer.__name__

    words()


plain_words()
