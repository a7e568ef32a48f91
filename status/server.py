"""Serve the status page: probe in the background, answer all viewers from memory.

Run with `python -m status.server` or `uvicorn status.server:app`.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from status import documents, page, probes
from status.board import Board, Rounds
from status.metadata import Database
from status.settings import Settings
from status.verdict import Verdict

SECURITY_HEADERS = {
    "Content-Security-Policy": page.policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# The page shows times in seconds, so it is rendered at most once a second.
CACHE_SECONDS, CACHE_ENTRIES = 1.0, 32
# While the stack starts, rounds are STARTING_PAUSE seconds apart, at most for STARTING_SECONDS.
STARTING_SECONDS, STARTING_PAUSE = 300, 0.3

LOG = logging.getLogger("uvicorn.error")
T = TypeVar("T")


async def with_security_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Add SECURITY_HEADERS to every response, including errors."""
    response = await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    return response


class Views:
    """The board in each format, rendered at most once a second for all viewers."""

    def __init__(self, settings: Settings, rounds: Rounds) -> None:
        self.settings, self.rounds = settings, rounds
        self.clear()

    def clear(self) -> None:
        """Empty the cache, because there is a new round."""
        self._cache: dict[str, Any] = {}
        self._since = time.monotonic()

    def board(self) -> Board:
        """Return the current board."""
        return self._cached("board", self.rounds.board)

    def html(self, host: str) -> str:
        """Return the page for browsers that use this host name."""
        ports = {"Airflow": self.settings.airflow_port, "MLflow": self.settings.mlflow_port}
        bases = {text: f"{self.settings.scheme}://{host}:{port}/" for text, port in ports.items()}
        interval = self.settings.interval
        return self._cached(f"html {host}", lambda: page.render(self.board(), bases, interval))

    def document(self) -> bytes:
        """Return the document of /status.json."""
        owner = self.settings.project, self.settings.stack
        return self._cached(
            "json", lambda: json.dumps(documents.document(self.board(), *owner)).encode()
        )

    def metrics(self) -> bytes:
        """Return the metrics of /metrics."""
        return self._cached("metrics", lambda: documents.metrics(self.board()))

    def _cached(self, key: str, render: Callable[[], T]) -> T:
        # Requests with invented host names cannot fill the memory; pages are rendered again.
        if time.monotonic() - self._since >= CACHE_SECONDS or len(self._cache) >= CACHE_ENTRIES:
            self.clear()
        if key not in self._cache:
            self._cache[key] = render()
        value: T = self._cache[key]
        return value


async def index(request: Request) -> Response:
    """Return the page, with links to Airflow and MLflow at the host name that the browser used."""
    name = page.host_name(request.headers.get("host", ""))
    if name is None:
        return PlainTextResponse("Invalid Host header: not a plain host name.\n", 400)
    return HTMLResponse(request.app.state.views.html(name))


async def status_json(request: Request) -> Response:
    """Return the JSON document, with 503 if an essential service is down or unknown."""
    views = request.app.state.views
    code = 503 if views.board().status == "down" else 200
    return Response(views.document(), code, media_type="application/json")


async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus."""
    return Response(request.app.state.views.metrics(), media_type=CONTENT_TYPE_LATEST)


async def healthz(request: Request) -> Response:
    """Return 200 as long as this process answers, whatever the state of the stack."""
    return PlainTextResponse("ok\n")


def create_app(settings: Settings, rounds: Rounds) -> Starlette:
    """Build the application; background rounds run during its lifespan."""
    handlers = {"/": index, "/status.json": status_json, "/metrics": metrics, "/healthz": healthz}
    routes = [Route(path, handler) for path, handler in handlers.items()]
    headers = Middleware(BaseHTTPMiddleware, dispatch=with_security_headers)
    app = Starlette(routes=routes, middleware=[headers], lifespan=_lifespan)
    app.state.views = Views(settings, rounds)
    return app


def initial_rounds(settings: Settings) -> Rounds:
    """Return the state before the first round: everything is unknown."""
    detail = "not checked yet"
    services = [Verdict(n, "unknown", detail) for n in probes.service_names(settings.redis_url)]
    work = [Verdict(name, "unknown", detail) for name in probes.work_names()]
    return Rounds(probes.Round(services, work), settings.interval)


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    watch = asyncio.create_task(_watch(app.state.views))
    yield
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


async def _watch(views: Views) -> None:
    settings, rounds, started = views.settings, views.rounds, time.monotonic()
    # Services are reached without a proxy. Connections are not reused, because one that its server
    # closes at the moment of the next request would look like a failure.
    http = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
    async with http:
        with contextlib.closing(Database(settings.database_url)) as database:
            stack = probes.Probes(http, settings, database)
            while True:
                try:
                    rounds.record(await stack.round())
                    views.clear()
                except Exception:
                    # The page shows the last round until it is stale; the next one may succeed.
                    LOG.exception("A round of probes failed.")
                await asyncio.sleep(_pause(settings, rounds, time.monotonic() - started))


def _pause(settings: Settings, rounds: Rounds, age: float) -> float:
    # Users wait while the stack starts. Later a service may stay down for days.
    starting = age < STARTING_SECONDS and rounds.board().status != "healthy"
    return min(STARTING_PAUSE, settings.interval) if starting else settings.interval


_settings = Settings.load(os.environ)
app = create_app(_settings, initial_rounds(_settings))

if __name__ == "__main__":
    # Frequent health checks would hide useful lines in the log.
    quiet: dict[str, Any] = {"access_log": False, "server_header": False}
    uvicorn.run(app, host=_settings.host, port=_settings.port, **quiet)
