"""A stack of stubs; the real probes turn it into a round for the page."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from status.metadata import Database
from status.probes import Probes
from status.settings import Settings
from tests.status.databases import Connection, query_result
from tests.status.stubs import ALIAS, MONTHS, RUN, http_client, key_values, month_run


class Stack:
    """Airflow and MLflow (`web`), Redis (`broker`) and the metadata database, healthy at first."""

    def __init__(self, web, broker):
        self.web, self.broker, self.report = web, broker, ""
        self.airflow_url = self.mlflow_url = web.url
        # The answer of the database. An exception is raised, and None hangs.
        self.database = json.loads(query_result())

    def add_version(self, alias, version, until, **metrics):
        """Add a model version with an alias."""
        model = {"version": version, "run_id": f"run-of-{alias}"}
        data = {"metrics": key_values(**metrics), "params": key_values(until=until)}
        self.web.answers[f"{ALIAS}{alias}"] = (200, {"model_version": model})
        self.web.answers[f"{RUN}{model['run_id']}"] = (200, {"run": {"data": data}})

    def set_drift(self, months):
        """Set the monitored months and their shares of drifted columns."""
        self.web.answers[MONTHS] = (200, {"runs": [month_run(*one) for one in months.items()]})

    def round(self):
        """Run the real probes and return their round."""
        # In another thread, because the browser's driver uses the event loop of this one.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(asyncio.run, self._probe()).result()

    async def _probe(self):
        environ = {"AIRFLOW_URL": self.airflow_url, "MLFLOW_URL": self.mlflow_url}
        environ |= {"REDIS_URL": self.broker.url, "STATUS_BACKUP_REPORT": self.report}
        database = Database("", self._connect)
        async with http_client() as http:
            return await Probes(http, Settings.load(environ), database).round()

    async def _connect(self, url):
        answer = self.database
        return Connection(json.dumps(answer) if isinstance(answer, dict) else answer)
