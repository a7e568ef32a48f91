"""A whole stack of stubs, asked by the real probes: what they find is a round for the page."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from status.metadata import Database
from status.probes import Probes
from status.settings import Settings
from tests.status.databases import Connection, said
from tests.status.stubs import ALIAS, MONTHS, RUN, asking, month, pairs


class Stack:
    """Airflow and MLflow (`web`), Redis (`broker`) and the metadata database, all well at first."""

    def __init__(self, web, broker):
        self.web, self.broker, self.report = web, broker, ""
        self.airflow_url = self.mlflow_url = web.url
        # What the database answers; an exception there is raised, None hangs.
        self.database = json.loads(said())

    def hold(self, alias, version, until, **metrics):
        """Let a version hold an alias."""
        made = {"version": version, "run_id": f"run-of-{alias}"}
        data = {"metrics": pairs(**metrics), "params": pairs(until=until)}
        self.web.answers[f"{ALIAS}{alias}"] = (200, {"model_version": made})
        self.web.answers[f"{RUN}{made['run_id']}"] = (200, {"run": {"data": data}})

    def drift(self, months):
        """Let these months have been looked at, each with its drifted share."""
        self.web.answers[MONTHS] = (200, {"runs": [month(*one) for one in months.items()]})

    def round(self):
        """What the real probes find now."""
        # The browser's driver has this thread's event loop.
        with ThreadPoolExecutor(1) as other:
            return other.submit(asyncio.run, self._ask()).result()

    async def _ask(self):
        told = {"AIRFLOW_URL": self.airflow_url, "MLFLOW_URL": self.mlflow_url}
        told |= {"REDIS_URL": self.broker.url, "STATUS_BACKUP_REPORT": self.report}
        database = Database("", self._connect)
        async with asking() as http:
            return await Probes(http, Settings.load(told), database).round()

    async def _connect(self, url):
        answer = self.database
        return Connection(json.dumps(answer) if isinstance(answer, dict) else answer)
