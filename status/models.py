"""What MLflow knows: its database, its artifact store, the registered model and the months seen."""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from status.verdict import UnexpectedAnswer, Verdict, json_object, judge

MODEL = "flight-delay"
MONITORING = "flight-delay-monitoring"
# The share of drifted columns from which on the monitoring pipeline asks for a retraining.
DRIFT_LIMIT = 0.25
ALIASES = ("champion", "challenger")
MONTHS = 24
MONTH = re.compile(r"\d{4}-\d{2}")
API = "/api/2.0/mlflow"
ACCOUNT = "status"
# Read like any other, there or not; the root of all artifacts is for nobody but admin.
AN_ARTIFACT_FOLDER = "0/models"
FAILED_DEPENDENCY = 424
WHOSE = re.compile(r"^artifact store \S+: ")


@dataclass(frozen=True)
class Version:
    """A version of the registered model that holds an alias."""

    version: str
    run_id: str
    until: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Models:
    """One look at the registry: versions by alias, and the drifted share (0 to 1) by month."""

    versions: Mapping[str, Version] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)


class MLflow:
    """MLflow's server at `url`, asked as the account that may only read."""

    def __init__(self, http: httpx.AsyncClient, url: str, password: str = "") -> None:
        self._http, self._url = http, url
        self._auth = httpx.BasicAuth(ACCOUNT, password) if password else httpx.Auth()

    async def service(self) -> Verdict:
        """Search one experiment, then list the artifact store: /health would touch neither."""

        async def ask() -> tuple[str, str]:
            _list_of("experiments", await self._post("/experiments/search", {"max_results": 1}))
            return "up", "reads its database"

        return await judge("mlflow", ask())

    async def artifacts(self) -> tuple[str, str]:
        """Ask whether the artifact store can be listed: (state, detail); never raises."""

        async def ask() -> tuple[str, str]:
            address = f"{self._url}/api/2.0/mlflow-artifacts/artifacts"
            asked = {"path": AN_ARTIFACT_FOLDER}
            answer = await self._http.get(address, params=asked, auth=self._auth)
            if answer.status_code == FAILED_DEPENDENCY:
                # What a bucket's error means, and its fix behind it (mlflow/patches.py).
                told = str(answer.json()["message"]).partition(";")[0]
                raise UnexpectedAnswer(WHOSE.sub("", told))
            _list_of("files", json_object(answer))
            return "up", "reads its artifact store"

        found = await judge("artifacts", ask())
        return found.state, found.detail

    async def look(self) -> Models:
        """Read champion, challenger and the months seen.

        Raises UnexpectedAnswer and what httpx raises.
        """
        versions, drift = await asyncio.gather(self._versions(), self._drift())
        return Models(versions, drift)

    async def _versions(self) -> dict[str, Version]:
        held: dict[str, Version] = {}
        # Of a model that is not there, MLflow refuses to tell who holds an alias.
        if not await self._get("/registered-models/get", name=MODEL):
            return held
        for alias in ALIASES:
            found = await self._get("/registered-models/alias", name=MODEL, alias=alias)
            if made := found.get("model_version"):
                run = (await self._get("/runs/get", run_id=made["run_id"]))["run"]["data"]
                until = _pairs(run, "params").get("until", "")
                held[alias] = Version(str(made["version"]), made["run_id"], until, _figures(run))
        return held

    async def _drift(self) -> dict[str, float]:
        found = await self._get("/experiments/get-by-name", experiment_name=MONITORING)
        if not (experiment := found.get("experiment")):
            return {}
        query = {"experiment_ids": [experiment["experiment_id"]], "max_results": 1000}
        runs = await self._post("/runs/search", {**query, "order_by": ["start_time ASC"]})
        looks: dict[str, float] = {}
        for run in runs.get("runs", []):
            tags, metrics = _pairs(run["data"], "tags"), _figures(run["data"])
            # A tag may hold anything; what is no month has no place among them.
            if MONTH.fullmatch(str(tags.get("month"))) and "drifted_share" in metrics:
                looks[tags["month"]] = metrics["drifted_share"]
        return dict(sorted(looks.items())[-MONTHS:])

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask; what is not there is an empty answer."""
        response = await self._http.get(f"{self._url}{API}{path}", params=query, auth=self._auth)
        missing = response.status_code in (400, 404)
        return {} if missing and "error_code" in response.text else json_object(response)

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        address = f"{self._url}{API}{path}"
        return json_object(await self._http.post(address, json=body, auth=self._auth))


def _list_of(things: str, body: Mapping[str, Any]) -> None:
    # Protocol buffers leave empty lists out: {} is MLflow without experiments.
    if body and not isinstance(body.get(things), list):
        raise UnexpectedAnswer(f"the answer is no list of {things}")


def _pairs(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in data.get(kind, [])}


def _figures(data: Mapping[str, Any]) -> dict[str, float]:
    # A figure that is none is told as the text "NaN".
    metrics = _pairs(data, "metrics").items()
    numbers = {name: one for name, one in metrics if isinstance(one, int | float)}
    return {name: one for name, one in numbers.items() if math.isfinite(one)}
