"""The status server: one background round of probes, shown to any number of viewers.

Runs as `python -m status.server` or `uvicorn status.server:app`.
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

# Pages say seconds; nobody sees more of them than one a second.
KEPT_SECONDS, KEPT_PAGES = 1.0, 32
# How long a start is given rounds in quick succession, and how far apart they are.
STARTING_SECONDS, STARTING_PAUSE = 300, 0.3

LOG = logging.getLogger("uvicorn.error")
T = TypeVar("T")


async def with_security_headers(request: Request, answer_to: RequestResponseEndpoint) -> Response:
    """Add SECURITY_HEADERS to every answer, errors included."""
    answer = await answer_to(request)
    answer.headers.update(SECURITY_HEADERS)
    return answer


class Viewed:
    """The board as each of the pages shows it, made at most once a second for all viewers."""

    def __init__(self, settings: Settings, rounds: Rounds) -> None:
        self.settings, self.rounds = settings, rounds
        self.forget()

    def forget(self) -> None:
        """What was made is of an older round."""
        self._made: dict[str, Any] = {}
        self._since = time.monotonic()

    def board(self) -> Board:
        """The board of this second."""
        return self._once("board", self.rounds.board)

    def html(self, host: str) -> str:
        """The page for browsers that reach this host under a name."""
        ports = {"Airflow": self.settings.airflow_port, "MLflow": self.settings.mlflow_port}
        bases = {word: f"{self.settings.scheme}://{host}:{port}/" for word, port in ports.items()}
        interval = self.settings.interval
        return self._once(f"html {host}", lambda: page.render(self.board(), bases, interval))

    def document(self) -> bytes:
        """The document of /status.json."""
        return self._once("json", lambda: json.dumps(documents.document(self.board())).encode())

    def metrics(self) -> bytes:
        """The metrics of /metrics."""
        return self._once("metrics", lambda: documents.metrics(self.board()))

    def _once(self, key: str, make: Callable[[], T]) -> T:
        # Whoever makes up host names only makes the others' pages anew.
        if time.monotonic() - self._since >= KEPT_SECONDS or len(self._made) >= KEPT_PAGES:
            self.forget()
        if key not in self._made:
            self._made[key] = make()
        kept: T = self._made[key]
        return kept


async def index(request: Request) -> Response:
    """The page, with links to the neighbours under the host name this browser used."""
    name = page.host_name(request.headers.get("host", ""))
    if name is None:
        return PlainTextResponse("This Host header is not a plain host name.\n", 400)
    return HTMLResponse(request.app.state.viewed.html(name))


async def status_json(request: Request) -> Response:
    """The same verdicts for machines; 503 when an essential service is down or unknown."""
    viewed = request.app.state.viewed
    code = 503 if viewed.board().status == "down" else 200
    return Response(viewed.document(), code, media_type="application/json")


async def metrics(request: Request) -> Response:
    """The same for Prometheus."""
    return Response(request.app.state.viewed.metrics(), media_type=CONTENT_TYPE_LATEST)


async def healthz(request: Request) -> Response:
    """200 as long as this process answers, whatever the stack is doing."""
    return PlainTextResponse("ok\n")


def create_app(settings: Settings, rounds: Rounds) -> Starlette:
    """Build the application; its background rounds run as long as it does."""
    handlers = {"/": index, "/status.json": status_json, "/metrics": metrics, "/healthz": healthz}
    routes = [Route(path, handler) for path, handler in handlers.items()]
    headers = Middleware(BaseHTTPMiddleware, dispatch=with_security_headers)
    app = Starlette(routes=routes, middleware=[headers], lifespan=_lifespan)
    app.state.viewed = Viewed(settings, rounds)
    return app


def waiting(settings: Settings) -> Rounds:
    """Rounds before the first one."""
    told = "not asked yet"
    services = [Verdict(n, "unknown", told) for n in probes.service_names(settings.redis_url)]
    work = [Verdict(name, "unknown", told) for name in probes.work_names()]
    return Rounds(probes.Round(services, work), settings.interval)


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    watch = asyncio.create_task(_watch(app.state.viewed))
    yield
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


async def _watch(viewed: Viewed) -> None:
    settings, rounds, started = viewed.settings, viewed.rounds, time.monotonic()
    # No proxy stands between neighbours. And no connection is kept: one that its server closes
    # at the moment of the next question would look like a failure.
    http = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
    async with http:
        with contextlib.closing(Database(settings.database_url)) as database:
            asked = probes.Probes(http, settings, database)
            while True:
                try:
                    rounds.record(await asked.round())
                    viewed.forget()
                except Exception:
                    # What is shown grows stale and unknown; the next round may go well.
                    LOG.exception("a round failed")
                await asyncio.sleep(_pause(settings, rounds, time.monotonic() - started))


def _pause(settings: Settings, rounds: Rounds, age: float) -> float:
    # While the stack comes up somebody waits for it; later a service may stay down for days.
    coming_up = age < STARTING_SECONDS and rounds.board().status != "healthy"
    return min(STARTING_PAUSE, settings.interval) if coming_up else settings.interval


_settings = Settings.load(os.environ)
app = create_app(_settings, waiting(_settings))

if __name__ == "__main__":
    # A health check every few seconds would drown what is worth reading in the log.
    quiet: dict[str, Any] = {"access_log": False, "server_header": False}
    uvicorn.run(app, host=_settings.host, port=_settings.port, **quiet)
