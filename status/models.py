"""Query MLflow: its database, artifact store, and the models and periods of each problem."""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from status.verdict import UnexpectedAnswer, Verdict, json_object, judge

# The pipelines tag their experiments with the problem, its metric and its limit of drift.
PROBLEM, METRIC, LIMIT = "stack.problem", "stack.metric", "stack.drift_limit"
MONITORING = "-monitoring"
# The share of drifted columns at which monitoring starts a training, if it cannot be read.
DRIFT_LIMIT = 0.25
ALIASES = ("champion", "challenger")
PERIODS = 24
MAX_PERIOD_CHARACTERS = 40
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
    """Of one problem: versions by alias, and the share of drifted columns (0 to 1) by period."""

    versions: Mapping[str, Version] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)
    # The name of the metric that decides, and the share of columns that counts as drift.
    metric: str = ""
    limit: float = DRIFT_LIMIT


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

    async def models(self) -> dict[str, Models]:
        """Return champion, challenger and the monitored periods, by problem.

        Raises UnexpectedAnswer and what httpx raises.
        """
        query = {"max_results": 1000, "filter": f"tags.`{PROBLEM}` LIKE '%'"}
        answer = await self._post("/experiments/search", query)
        _check_list("experiments", answer)
        tagged = [(one, _pairs(one, "tags")) for one in answer.get("experiments", [])]
        problems = {tags[PROBLEM]: tags for _, tags in tagged if PROBLEM in tags}
        monitoring = {one["name"]: one["experiment_id"] for one, _ in tagged}
        queries = [
            self._models(name, tags, monitoring.get(f"{name}{MONITORING}"))
            for name, tags in sorted(problems.items())
        ]
        return dict(zip(sorted(problems), await asyncio.gather(*queries), strict=True))

    async def _models(
        self, problem: str, tags: Mapping[str, str], experiment: str | None
    ) -> Models:
        versions = await self._versions(problem)
        drift = await self._drift(experiment) if experiment else {}
        return Models(versions, drift, tags.get(METRIC, ""), _share(tags.get(LIMIT)))

    async def _versions(self, problem: str) -> dict[str, Version]:
        versions: dict[str, Version] = {}
        # MLflow denies access to the aliases of a model that does not exist.
        if not await self._get("/registered-models/get", name=problem):
            return versions
        for alias in ALIASES:
            answer = await self._get("/registered-models/alias", name=problem, alias=alias)
            if model := answer.get("model_version"):
                run = (await self._get("/runs/get", run_id=model["run_id"]))["run"]["data"]
                number, until = str(model["version"]), _pairs(run, "params").get("until", "")
                versions[alias] = Version(number, model["run_id"], until, _metrics(run))
        return versions

    async def _drift(self, experiment: str) -> dict[str, float]:
        query = {"experiment_ids": [experiment], "max_results": 1000}
        runs = await self._post("/runs/search", {**query, "order_by": ["start_time ASC"]})
        shares: dict[str, float] = {}
        for run in runs.get("runs", []):
            tags, metrics = _pairs(run["data"], "tags"), _metrics(run["data"])
            # A tag is free text. The last run of a period counts.
            period = str(tags.get("period", ""))
            if 0 < len(period) <= MAX_PERIOD_CHARACTERS and "drifted_share" in metrics:
                shares[period] = metrics["drifted_share"]
        return dict(sorted(shares.items())[-PERIODS:])

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


def _share(text: str | None) -> float:
    """Return a limit from the text of a tag."""
    try:
        share = float(text or DRIFT_LIMIT)
    except ValueError:
        return DRIFT_LIMIT
    return share if 0 < share <= 1 else DRIFT_LIMIT


def _pairs(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in data.get(kind, [])}


def _metrics(data: Mapping[str, Any]) -> dict[str, float]:
    # MLflow returns the string "NaN" for a metric that is not a number.
    metrics = _pairs(data, "metrics").items()
    numbers = {name: one for name, one in metrics if isinstance(one, int | float)}
    return {name: one for name, one in numbers.items() if math.isfinite(one)}
