"""The real status server on a free port, with its own rounds or with those of a test."""

import threading
import time
from dataclasses import replace

import uvicorn

from status.board import Rounds
from status.server import Settings, create_app, initial_rounds
from tests.support.http_stub import unused_port

# Seconds between two updates of an open page.
INTERVAL = 0.3


class Served:
    """The server in a thread; without settings it probes nothing and shows the test's rounds."""

    def __init__(self, settings=None):
        defaults = {"REDIS_URL": "redis://x", "STATUS_INTERVAL_SECONDS": str(INTERVAL)}
        self.lifespan = "on" if settings else "off"
        self.settings = settings or Settings.load(defaults)
        rounds = initial_rounds(self.settings)
        # The rounds of a test do not become stale.
        rounds = rounds if settings else Rounds(rounds.board().round, interval=1e9)
        self.app = create_app(self.settings, rounds)
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        """Start the server; after a stop on the same port."""
        options = {
            "log_level": "warning",
            "lifespan": self.lifespan,
            "timeout_graceful_shutdown": 1,
        }
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=self.port, **options))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Stop the server, so that nothing listens on the port."""
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def show(self, latest):
        """Record a round."""
        self.app.state.views.rounds.record(latest)
        self.app.state.views.clear()

    def set_interval(self, seconds):
        """Set the update interval for pages that are opened from now on."""
        self.app.state.views.settings = replace(self.settings, interval=seconds)

    def use(self, rounds):
        """Show other rounds, or another object with a method `board`."""
        self.app.state.views.rounds = rounds
        self.app.state.views.clear()
