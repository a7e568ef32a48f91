"""One question per service of the stack, under the names of the compose file.

A verdict is "up" only on proof. Where the one that would tell is out of reach, whatever depends
on it is "unknown" with the reason.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx

from status.broker import airflow_worker, redis
from status.verdict import UnexpectedAnswer, Verdict, judge

# Airflow's own limit for the dag-processor is 10.5 s and cries wolf whenever a parse is slow.
HEARTBEAT_LIMIT_SECONDS = 60
HEARTBEATS = {
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}


def names(redis_url: str) -> list[str]:
    """Name the services judged, in the page's order; without Redis there is no worker either."""
    broker = ["redis", "airflow-worker"] if redis_url else []
    return ["airflow-apiserver", *HEARTBEATS, *broker, "postgres", "mlflow"]


async def everything(
    http: httpx.AsyncClient, airflow_url: str, mlflow_url: str, redis_url: str
) -> list[Verdict]:
    """Ask all services at once: one verdict for each of `names(redis_url)`, never raising."""
    broker = [redis(redis_url), airflow_worker(redis_url)] if redis_url else []
    health, others = await asyncio.gather(
        airflow_health(http, airflow_url),
        asyncio.gather(airflow_apiserver(http, airflow_url), mlflow(http, mlflow_url), *broker),
    )
    found = {verdict.name: verdict for verdict in [*health, *others]}
    return [found[name] for name in names(redis_url)]


async def airflow_apiserver(http: httpx.AsyncClient, url: str) -> Verdict:
    """Ask the API server for its version, which needs nothing but the server itself."""

    async def ask() -> tuple[str, str]:
        body = await _json(http, "GET", f"{url}/api/v2/version")
        if not isinstance(body.get("version"), str):
            raise UnexpectedAnswer("the answer names no Airflow version")
        return "up", f"Airflow {body['version']:.40}"

    return await judge("airflow-apiserver", ask())


async def airflow_health(http: httpx.AsyncClient, url: str) -> list[Verdict]:
    """Read the metadatabase's state and three heartbeats from one answer of Airflow's monitor.

    The monitor always says HTTP 200, so only its JSON counts.
    """
    body: dict[str, Any] = {}

    async def ask() -> tuple[str, str]:
        body.update(await _json(http, "GET", f"{url}/api/v2/monitor/health"))
        return _metadatabase(_part(body, "metadatabase").get("status"))

    database = await judge("postgres", ask(), silent="unknown")
    if not body:
        why = f"Airflow cannot tell: {database.detail}"
        return [Verdict(name, "unknown", why) for name in ("postgres", *HEARTBEATS)]
    return [database, *(_heartbeat(name, body, database.state) for name in HEARTBEATS)]


async def mlflow(http: httpx.AsyncClient, url: str) -> Verdict:
    """Search one experiment: MLflow must read its database for it, /health would not."""

    async def ask() -> tuple[str, str]:
        search = f"{url}/api/2.0/mlflow/experiments/search"
        body = await _json(http, "POST", search, {"max_results": 1})
        # Protocol buffers leave empty lists out: {} is MLflow without experiments.
        if body and not isinstance(body.get("experiments"), list):
            raise UnexpectedAnswer("the answer is no list of experiments")
        return "up", "reads its database"

    return await judge("mlflow", ask())


def _metadatabase(status: object) -> tuple[str, str]:
    if status == "healthy":
        return "up", "Airflow reads its metadatabase"
    if status == "unhealthy":
        return "down", "Airflow cannot read its metadatabase"
    return "unknown", "Airflow does not say"


def _heartbeat(name: str, body: dict[str, Any], database: str) -> Verdict:
    part = _part(body, HEARTBEATS[name])
    latest = part.get(f"latest_{HEARTBEATS[name]}_heartbeat")
    if part.get("status") is None or latest is None:
        why = "never registered" if database == "up" else f"the metadatabase is {database}"
        return Verdict(name, "unknown", why)
    try:
        seen = datetime.fromisoformat(latest)
        age = (datetime.now(UTC) - seen).total_seconds()
    except (TypeError, ValueError):
        return Verdict(name, "unknown", "Airflow gives no readable heartbeat")
    if age < -HEARTBEAT_LIMIT_SECONDS:
        return Verdict(name, "unknown", f"heartbeat lies {-age:.0f} s ahead: the clocks differ")
    state = "up" if age <= HEARTBEAT_LIMIT_SECONDS else "down"
    return Verdict(name, state, f"last heartbeat {max(age, 0):.0f} s ago", seen=seen)


async def _json(
    http: httpx.AsyncClient, method: str, url: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    response = await http.request(method, url, json=body)
    if response.status_code != 200:
        raise UnexpectedAnswer(f"HTTP {response.status_code}")
    try:
        answer = response.json()
    except ValueError:
        raise UnexpectedAnswer("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise UnexpectedAnswer("the answer is not a JSON object")
    return answer


def _part(body: dict[str, Any], key: str) -> dict[str, Any]:
    part = body.get(key)
    return part if isinstance(part, dict) else {}
