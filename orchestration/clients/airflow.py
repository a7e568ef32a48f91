"""A client of Airflow's public API: find DAGs, trigger and watch runs, read their results."""

import difflib
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import requests

from orchestration.clients import http
from orchestration.errors import StackError
from orchestration.process.wait import attempts, wait_until
from orchestration.settings.model import Settings

TIMEOUT_SECONDS = 15
FINISHED = ("success", "failed")
# The key of the XCom in which a task returns lines for the user.
REPORT = "report"


class Airflow:
    """A client of this stack's api-server; it logs in when it is first used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.public_url("AIRFLOW_PORT")
        self.api_url = settings.url("AIRFLOW_PORT")

    @cached_property
    def session(self) -> requests.Session:
        """A session with a token for the account in .env."""
        session = http.session(self.settings)
        name = self.settings["_AIRFLOW_WWW_USER_USERNAME"]
        login = {"username": name, "password": self.settings["_AIRFLOW_WWW_USER_PASSWORD"]}
        answer = self._send(session, "POST", "/auth/token", json=login)
        if answer.status_code == 401:
            raise StackError(
                f"Airflow rejects account {name} with the password in .env.",
                fix="Set _AIRFLOW_WWW_USER_PASSWORD in .env to the account's password, "
                f"or sign in at {self.address}",
            )
        if answer.status_code == 429:
            cause = "Airflow blocks logins after too many attempts."
            raise StackError(cause, fix="Wait a minute, then try again.")
        session.headers["Authorization"] = f"Bearer {_document(answer)['access_token']}"
        return session

    def dag_ids(self) -> list[str]:
        """Return the ids of all DAGs that Airflow has parsed, including paused ones."""
        answer = self._get("/api/v2/dags", params={"limit": 500, "exclude_stale": True})
        return [dag["dag_id"] for dag in answer["dags"]]

    def dag(self, dag_id: str, wait_seconds: float = 0) -> dict[str, Any]:
        """Return a DAG, waiting up to `wait_seconds` for Airflow to parse it.

        Raises StackError with the DAG's import error or with similar DAG ids if there is none.
        """

        def find() -> dict[str, Any] | None:
            answer = self._send(self.session, "GET", _dag_path(dag_id))
            return None if answer.status_code == 404 else _document(answer)

        if not (dag := wait_until(find, wait_seconds, pause=0.5)):
            raise self._missing(dag_id)
        return dag

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG."""
        _document(self._send(self.session, "PATCH", _dag_path(dag_id), json={"is_paused": False}))

    def trigger(self, dag_id: str, conf: dict[str, Any], date: datetime | None = None) -> str:
        """Start a run and return its id. Without a logical date it has no `ds` or data interval.

        Raises StackError with the existing run if the DAG has one for this date.
        """
        path, logical_date = f"{_dag_path(dag_id)}/dagRuns", date and date.isoformat()
        body = {"logical_date": logical_date, "conf": conf}
        answer = self._send(self.session, "POST", path, json=body)
        if answer.status_code == 409 and logical_date:
            dates = {"logical_date_gte": logical_date, "logical_date_lte": logical_date}
            for run in self._get(path, params=dates)["dag_runs"]:
                name = run["dag_run_id"]
                raise StackError(
                    f"{dag_id} already has a run for {logical_date}: {name} ({run['state']}).",
                    fix="Clear that run to repeat it, or use another date.\n"
                    f"Open: {self.address}/dags/{dag_id}/runs/{name}",
                )
        return str(_document(answer)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run: its state, start_date, end_date and other fields."""
        return self._get(_run_path(dag_id, run_id))

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run in the order in which they started."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        tasks = self._get(path, params={"limit": 500})["task_instances"]
        return sorted(tasks, key=lambda task: (task["start_date"] or "~", task["task_id"]))

    def watch(
        self, dag_id: str, run_id: str, seconds: float, pause: float = 1.0
    ) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield the run's state and tasks repeatedly until it has finished.

        Raises StackError if it has not finished within `seconds`.
        """
        for _ in attempts(seconds, pause):
            state = self.run(dag_id, run_id)["state"]
            yield state, self.tasks(dag_id, run_id)
            if state in FINISHED:
                return
        raise StackError(
            f"{dag_id} is still {state} after {seconds:.0f} s.",
            fix=f"Open: {self.address}/dags/{dag_id}/runs/{run_id}",
        )

    def return_value(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned (its XCom), or None if it returned nothing."""
        return self._xcom(dag_id, run_id, task_id, "return_value")

    def reports(self, dag_id: str, run_id: str) -> list[str]:
        """Return the report lines of a run's tasks, in the order in which the tasks finished.

        They are XComs with the key `report`. Values other than lists of strings are ignored.
        """
        path = f"{_task_path(dag_id, run_id, '~')}/xcomEntries"
        entries = self._get(path, params={"xcom_key": REPORT, "limit": 500})["xcom_entries"]
        ends = {_instance(task): task["end_date"] for task in self.tasks(dag_id, run_id)}
        order = sorted(map(_instance, entries), key=lambda key: (ends.get(key) or "~", key))
        values = [
            self._xcom(dag_id, run_id, task_id, REPORT, map_index) for task_id, map_index in order
        ]
        return [line for value in values if _is_lines(value) for line in value]

    def log_tail(
        self, dag_id: str, run_id: str, task: dict[str, Any], lines: int = 10
    ) -> list[str]:
        """Return the last log lines of a task's last try, including the exception that ended it."""
        path = f"{_task_path(dag_id, run_id, task['task_id'])}/logs/{task['try_number']}"
        answer = self._send(self.session, "GET", path, params={"map_index": task["map_index"]})
        entries = answer.json().get("content", []) if answer.ok else []
        return [line for entry in entries for line in _log_lines(entry)][-lines:]

    def prune_runs(self, dag_id: str, keep: int) -> None:
        """Delete all but the `keep` newest finished runs of a DAG, with their task history."""
        path = f"{_dag_path(dag_id)}/dagRuns"
        runs = self._get(path, params={"limit": 100, "order_by": "-run_after"})["dag_runs"]
        for run in [run for run in runs if run["state"] in FINISHED][keep:]:
            self._send(self.session, "DELETE", _run_path(dag_id, run["dag_run_id"]))

    def _xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries/{key}"
        options = {"map_index": map_index, "deserialize": False, "stringify": False}
        answer = self._send(self.session, "GET", path, params=options)
        return None if answer.status_code == 404 else _document(answer)["value"]

    def _missing(self, dag_id: str) -> StackError:
        errors = self._get("/api/v2/importErrors", params={"limit": 20})["import_errors"]
        for error in errors:
            if dag_id in error["filename"]:
                reason = error["stack_trace"].strip().splitlines()[-1]
                cause = f"{error['filename']} cannot be imported: {reason}"
                return StackError(cause, fix="nox -s dag_lint")
        existing = self.dag_ids()
        similar = difflib.get_close_matches(dag_id, existing, n=3) or sorted(existing)
        fix = f"Use one of: {', '.join(similar)}" if similar else "Airflow has no DAGs yet."
        return StackError(f"There is no DAG {dag_id}.", fix=fix)

    def _get(self, path: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return _document(self._send(self.session, "GET", path, params=params))

    def _send(self, session: requests.Session, method: str, path: str, **options: Any) -> Any:
        try:
            return session.request(method, self.api_url + path, timeout=TIMEOUT_SECONDS, **options)
        except requests.RequestException:
            raise StackError(f"Airflow does not answer at {self.api_url}.", fix="inv up") from None


def _dag_path(dag_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}"


def _run_path(dag_id: str, run_id: str) -> str:
    return f"{_dag_path(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"


def _instance(item: dict[str, Any]) -> tuple[str, int]:
    return item["task_id"], item["map_index"]


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _log_lines(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [line for line in str(entry).splitlines() if line.strip()]
    exceptions = [
        f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail", [])
    ]
    lines = [*entry.get("event", "").splitlines(), *exceptions]
    return [line for line in lines if line.strip() and not line.startswith("::")]


def _document(answer: requests.Response) -> dict[str, Any]:
    if not answer.ok:
        raise StackError(f"Airflow rejected a request ({answer.status_code}): {_detail(answer)}")
    document: dict[str, Any] = answer.json()
    return document


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return answer.text[:300]
