"""Query MLflow: its database, artifact store, registered model and monitored months."""

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
# The share of drifted columns at which the monitoring pipeline starts a retraining.
DRIFT_LIMIT = 0.25
ALIASES = ("champion", "challenger")
MONTHS = 24
MONTH = re.compile(r"\d{4}-\d{2}")
API = "/api/2.0/mlflow"
ACCOUNT = "status"
# Listing a folder works even if it does not exist. Only admin may list the root of all artifacts.
ARTIFACT_FOLDER = "0/models"
FAILED_DEPENDENCY = 424
STORE_PREFIX = re.compile(r"^artifact store \S+: ")


@dataclass(frozen=True)
class Version:
    """A version of the registered model that has an alias."""

    version: str
    run_id: str
    until: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Models:
    """Registered versions by alias, and the share of drifted columns (0 to 1) by month."""

    versions: Mapping[str, Version] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)


class MLflow:
    """MLflow's server at `url`, queried with the read-only account."""

    def __init__(self, http: httpx.AsyncClient, url: str, password: str = "") -> None:
        self._http, self._url = http, url
        self._auth = httpx.BasicAuth(ACCOUNT, password) if password else httpx.Auth()

    async def service(self) -> Verdict:
        """Search one experiment; /health would not use the database."""

        async def ask() -> tuple[str, str]:
            _check_list("experiments", await self._post("/experiments/search", {"max_results": 1}))
            return "up", "reads its database"

        return await judge("mlflow", ask())

    async def artifacts(self) -> tuple[str, str]:
        """Check that the artifact store can be listed: (state, detail); never raises."""

        async def ask() -> tuple[str, str]:
            address = f"{self._url}/api/2.0/mlflow-artifacts/artifacts"
            query = {"path": ARTIFACT_FOLDER}
            answer = await self._http.get(address, params=query, auth=self._auth)
            if answer.status_code == FAILED_DEPENDENCY:
                # mlflow/patches.py explains errors of the bucket, and adds the fix after ";".
                message = str(answer.json()["message"]).partition(";")[0]
                raise UnexpectedAnswer(STORE_PREFIX.sub("", message))
            _check_list("files", json_object(answer))
            return "up", "reads its artifact store"

        verdict = await judge("artifacts", ask())
        return verdict.state, verdict.detail

    async def models(self) -> Models:
        """Return champion, challenger and the monitored months.

        Raises UnexpectedAnswer and what httpx raises.
        """
        versions, drift = await asyncio.gather(self._versions(), self._drift())
        return Models(versions, drift)

    async def _versions(self) -> dict[str, Version]:
        versions: dict[str, Version] = {}
        # MLflow denies access to the aliases of a model that does not exist.
        if not await self._get("/registered-models/get", name=MODEL):
            return versions
        for alias in ALIASES:
            answer = await self._get("/registered-models/alias", name=MODEL, alias=alias)
            if model := answer.get("model_version"):
                run = (await self._get("/runs/get", run_id=model["run_id"]))["run"]["data"]
                number, until = str(model["version"]), _pairs(run, "params").get("until", "")
                versions[alias] = Version(number, model["run_id"], until, _metrics(run))
        return versions

    async def _drift(self) -> dict[str, float]:
        answer = await self._get("/experiments/get-by-name", experiment_name=MONITORING)
        if not (experiment := answer.get("experiment")):
            return {}
        query = {"experiment_ids": [experiment["experiment_id"]], "max_results": 1000}
        runs = await self._post("/runs/search", {**query, "order_by": ["start_time ASC"]})
        shares: dict[str, float] = {}
        for run in runs.get("runs", []):
            tags, metrics = _pairs(run["data"], "tags"), _metrics(run["data"])
            # A tag is free text, so it may not be a month. The last run of a month counts.
            if MONTH.fullmatch(str(tags.get("month"))) and "drifted_share" in metrics:
                shares[tags["month"]] = metrics["drifted_share"]
        return dict(sorted(shares.items())[-MONTHS:])

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        """Return the answer, or an empty one if the object does not exist."""
        response = await self._http.get(f"{self._url}{API}{path}", params=query, auth=self._auth)
        missing = response.status_code in (400, 404)
        return {} if missing and "error_code" in response.text else json_object(response)

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        address = f"{self._url}{API}{path}"
        return json_object(await self._http.post(address, json=body, auth=self._auth))


def _check_list(name: str, body: Mapping[str, Any]) -> None:
    # Protocol buffers omit empty lists, so {} is an empty list.
    if body and not isinstance(body.get(name), list):
        raise UnexpectedAnswer(f"the answer contains no list of {name}")


def _pairs(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in data.get(kind, [])}


def _metrics(data: Mapping[str, Any]) -> dict[str, float]:
    # MLflow returns the string "NaN" for a metric that is not a number.
    metrics = _pairs(data, "metrics").items()
    numbers = {name: one for name, one in metrics if isinstance(one, int | float)}
    return {name: one for name, one in numbers.items() if math.isfinite(one)}
