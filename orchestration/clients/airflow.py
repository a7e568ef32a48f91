"""Airflow's public API as the verbs need it: find a DAG, trigger a run, watch it to its end."""

import difflib
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote

import requests

from orchestration.clients import http
from orchestration.errors import StackError
from orchestration.process.wait import attempts, wait_until
from orchestration.settings.model import Settings

PATIENCE_SECONDS = 15
ENDED = ("success", "failed")
# The XCom of lines that a task wants a person to read.
REPORT = "report"


class Airflow:
    """A logged-in client of this stack's api-server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.public_url("AIRFLOW_PORT")
        self.reached_at = settings.url("AIRFLOW_PORT")

    @cached_property
    def session(self) -> requests.Session:
        """A session with a token for the account of .env."""
        session = http.session(self.settings)
        name = self.settings["_AIRFLOW_WWW_USER_USERNAME"]
        login = {"username": name, "password": self.settings["_AIRFLOW_WWW_USER_PASSWORD"]}
        answer = self._send(session, "POST", "/auth/token", json=login)
        if answer.status_code == 401:
            raise StackError(
                f"Airflow does not know account {name} with the password in .env: put the one you "
                "changed it to into _AIRFLOW_WWW_USER_PASSWORD, or sign in at " + self.address
            )
        if answer.status_code == 429:
            raise StackError("logins are slowed down, too many were tried: again in a minute")
        session.headers["Authorization"] = f"Bearer {_document(answer)['access_token']}"
        return session

    def dag_ids(self) -> list[str]:
        """The ids of all DAGs Airflow has parsed, paused ones too."""
        answer = self._get("/api/v2/dags", params={"limit": 500, "exclude_stale": True})
        return [dag["dag_id"] for dag in answer["dags"]]

    def dag(self, dag_id: str, wait_seconds: float = 0) -> dict[str, Any]:
        """One DAG; it may still be parsed, so absence is believed after `wait_seconds` only.

        Raises StackError naming similar DAGs or the import error that hides it.
        """

        def found() -> dict[str, Any] | None:
            answer = self._send(self.session, "GET", _dag_path(dag_id))
            return None if answer.status_code == 404 else _document(answer)

        if not (dag := wait_until(found, wait_seconds, pause=0.5)):
            raise StackError(self._absence(dag_id))
        return dag

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        _document(self._send(self.session, "PATCH", _dag_path(dag_id), json={"is_paused": False}))

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run now; its id."""
        body = {"logical_date": None, "conf": conf}
        answer = self._send(self.session, "POST", f"{_dag_path(dag_id)}/dagRuns", json=body)
        return str(_document(answer)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run: state, start_date, end_date …"""
        return self._get(_run_path(dag_id, run_id))

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run, in the order they were started."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        found = self._get(path, params={"limit": 500})["task_instances"]
        return sorted(found, key=lambda task: (task["start_date"] or "~", task["task_id"]))

    def watch(
        self, dag_id: str, run_id: str, seconds: float, pause: float = 1.0
    ) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """The run's state and its tasks again and again until it has ended.

        Raises StackError when it has not ended within `seconds`.
        """
        for _ in attempts(seconds, pause):
            state = self.run(dag_id, run_id)["state"]
            yield state, self.tasks(dag_id, run_id)
            if state in ENDED:
                return
        raise StackError(
            f"{dag_id} is still {state} after {seconds:.0f} s: "
            f"{self.address}/dags/{dag_id}/runs/{run_id}"
        )

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned (its XCom), None where it returned nothing."""
        return self._xcom(dag_id, run_id, task_id, "return_value")

    def reports(self, dag_id: str, run_id: str) -> list[str]:
        """The lines that a run's tasks pushed for people, in the order in which the tasks ended.

        They are XComs `report`; what is no list of strings is passed over.
        """
        path = f"{_task_path(dag_id, run_id, '~')}/xcomEntries"
        entries = self._get(path, params={"xcom_key": REPORT, "limit": 500})["xcom_entries"]
        ended = {_place(task): task["end_date"] for task in self.tasks(dag_id, run_id)}
        order = sorted(map(_place, entries), key=lambda place: (ended.get(place) or "~", place))
        values = [
            self._xcom(dag_id, run_id, task_id, REPORT, map_index) for task_id, map_index in order
        ]
        return [line for value in values if _is_lines(value) for line in value]

    def log_tail(
        self, dag_id: str, run_id: str, task: dict[str, Any], lines: int = 10
    ) -> list[str]:
        """The last lines of a task's last try, with the exception that ended it."""
        path = f"{_task_path(dag_id, run_id, task['task_id'])}/logs/{task['try_number']}"
        answer = self._send(self.session, "GET", path, params={"map_index": task["map_index"]})
        entries = answer.json().get("content", []) if answer.ok else []
        return [line for entry in entries for line in _log_lines(entry)][-lines:]

    def prune_runs(self, dag_id: str, keep: int) -> None:
        """Delete all but the newest ended runs of a DAG, with their task history."""
        path = f"{_dag_path(dag_id)}/dagRuns"
        runs = self._get(path, params={"limit": 100, "order_by": "-run_after"})["dag_runs"]
        for run in [run for run in runs if run["state"] in ENDED][keep:]:
            self._send(self.session, "DELETE", _run_path(dag_id, run["dag_run_id"]))

    def _xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries/{key}"
        options = {"map_index": map_index, "deserialize": False, "stringify": False}
        answer = self._send(self.session, "GET", path, params=options)
        return None if answer.status_code == 404 else _document(answer)["value"]

    def _absence(self, dag_id: str) -> str:
        errors = self._get("/api/v2/importErrors", params={"limit": 20})["import_errors"]
        for error in errors:
            if dag_id in error["filename"]:
                why = error["stack_trace"].strip().splitlines()[-1]
                return f"{error['filename']} does not import: {why}"
        known = self.dag_ids()
        near = difflib.get_close_matches(dag_id, known, n=3) or sorted(known)
        return f"there is no DAG {dag_id}; known: {', '.join(near) or 'none yet'}"

    def _get(self, path: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return _document(self._send(self.session, "GET", path, params=params))

    def _send(self, session: requests.Session, method: str, path: str, **options: Any) -> Any:
        try:
            return session.request(
                method, self.reached_at + path, timeout=PATIENCE_SECONDS, **options
            )
        except requests.RequestException:
            raise StackError(f"Airflow does not answer at {self.reached_at}: inv up") from None


def _dag_path(dag_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}"


def _run_path(dag_id: str, run_id: str) -> str:
    return f"{_dag_path(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"


def _place(of: dict[str, Any]) -> tuple[str, int]:
    return of["task_id"], of["map_index"]


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _log_lines(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [line for line in str(entry).splitlines() if line.strip()]
    raised = [
        f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail", [])
    ]
    words = [*entry.get("event", "").splitlines(), *raised]
    return [line for line in words if line.strip() and not line.startswith("::")]


def _document(answer: requests.Response) -> dict[str, Any]:
    if not answer.ok:
        raise StackError(f"Airflow refused ({answer.status_code}): {_detail(answer)}")
    document: dict[str, Any] = answer.json()
    return document


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return answer.text[:300]
