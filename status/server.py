"""The status server: one background round of probes, shown to any number of viewers.

Runs as `python -m status.server` or `uvicorn status.server:app`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from status import page, probes
from status.board import Board, Rounds, Shown

SECURITY_HEADERS = {
    "Content-Security-Policy": page.policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# How long a start is given rounds a second apart.
STARTING_SECONDS = 300


@dataclass(frozen=True)
class Settings:
    """What the environment says; the ports are those the browser reaches, the URLs our own."""

    airflow_url: str
    mlflow_url: str
    redis_url: str
    airflow_port: int
    mlflow_port: int
    interval: float
    host: str
    port: int

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; blank means default, and blank REDIS_URL a stack without Redis.

        Raises ValueError when a port or the interval (seconds) is not a number above zero.
        """

        def value(name: str, default: str) -> str:
            return environ.get(name, "").strip() or default

        return cls(
            airflow_url=value("AIRFLOW_URL", "http://127.0.0.1:8080").rstrip("/"),
            mlflow_url=value("MLFLOW_URL", "http://127.0.0.1:5000").rstrip("/"),
            redis_url=value("REDIS_URL", ""),
            airflow_port=int(value("AIRFLOW_PORT", "8080")),
            mlflow_port=int(value("MLFLOW_PORT", "5000")),
            interval=float(value("STATUS_INTERVAL_SECONDS", "10")),
            host=value("STATUS_HOST", "127.0.0.1"),
            port=int(value("STATUS_PORT", "8081")),
        )

    def __post_init__(self) -> None:
        if not self.interval > 0:
            raise ValueError("STATUS_INTERVAL_SECONDS must be above zero")


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def index(request: Request) -> Response:
    """The page, with links to the neighbours under the host name this browser used."""
    name = page.host_name(request.headers.get("host", ""))
    if name is None:
        return PlainTextResponse("This Host header is not a plain host name.\n", 400)
    settings = request.app.state.settings
    ports = {"Airflow": settings.airflow_port, "MLflow": settings.mlflow_port}
    links = {word: f"http://{name}:{port}/" for word, port in ports.items()}
    return HTMLResponse(page.render(request.app.state.rounds.board(), links, settings.interval))


async def status_json(request: Request) -> Response:
    """The same verdicts for machines; 503 when an essential service is down or unknown."""
    board = request.app.state.rounds.board()
    return JSONResponse(_document(board), 503 if board.status == "down" else 200)


async def healthz(request: Request) -> Response:
    """200 as long as this process answers, whatever the stack is doing."""
    return PlainTextResponse("ok\n")


def create_app(settings: Settings, rounds: Rounds) -> Starlette:
    """Build the application; its background rounds run as long as it does."""
    routes = [Route("/", index), Route("/status.json", status_json), Route("/healthz", healthz)]
    app = Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)], lifespan=_lifespan)
    app.state.settings, app.state.rounds = settings, rounds
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    watch = asyncio.create_task(_watch(app.state.settings, app.state.rounds))
    yield
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


async def _watch(settings: Settings, rounds: Rounds) -> None:
    urls = (settings.airflow_url, settings.mlflow_url, settings.redis_url)
    # No proxy stands between neighbours. And no connection is kept: one that its server closes
    # at the moment of the next question would look like a failure.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as http:
        started = time.monotonic()
        while True:
            rounds.record(await probes.everything(http, *urls))
            await asyncio.sleep(_pause(settings, rounds, time.monotonic() - started))


def _pause(settings: Settings, rounds: Rounds, age: float) -> float:
    # While the stack comes up somebody waits for it; later a service may stay down for days.
    coming_up = age < STARTING_SECONDS and rounds.board().status != "healthy"
    return min(1.0, settings.interval) if coming_up else settings.interval


def _document(board: Board) -> dict[str, Any]:
    checked_at = board.checked_at and board.checked_at.isoformat(timespec="milliseconds")
    return {
        "version": 1,
        "status": board.status,
        "checked_at": checked_at,
        "services": [_service(shown, board.checked_at) for shown in board.services],
    }


def _service(shown: Shown, checked_at: datetime | None) -> dict[str, Any]:
    seen = shown.verdict.seen or checked_at
    return {
        "name": shown.verdict.name,
        "state": shown.verdict.state,
        "detail": shown.verdict.detail,
        "latency_ms": shown.verdict.latency_ms,
        "since": shown.since.isoformat(timespec="milliseconds"),
        # Older than the service's own start, it is a sign of the life before.
        "last_seen": seen and seen.isoformat(timespec="milliseconds"),
    }


_settings = Settings.load(os.environ)
app = create_app(_settings, Rounds(probes.names(_settings.redis_url), _settings.interval))

if __name__ == "__main__":
    # A health check every few seconds would drown what is worth reading in the log.
    quiet: dict[str, Any] = {"access_log": False, "server_header": False}
    uvicorn.run(app, host=_settings.host, port=_settings.port, **quiet)
