"""The real status server on a port of its own, by itself or with rounds that are given to it."""

import threading
import time
from dataclasses import replace

import uvicorn

from status.board import Rounds
from status.server import Settings, create_app, waiting
from tests.support.http_stub import unused_port

# Seconds between two looks of an open page at its server.
INTERVAL = 0.3


class Served:
    """The server in a thread; without settings it asks nobody and shows what it is given."""

    def __init__(self, settings=None):
        told = {"REDIS_URL": "redis://x", "STATUS_INTERVAL_SECONDS": str(INTERVAL)}
        self.lifespan = "on" if settings else "off"
        self.settings = settings or Settings.load(told)
        rounds = waiting(self.settings)
        # Rounds that are given by hand do not grow old.
        rounds = rounds if settings else Rounds(rounds.board().round, interval=1e9)
        self.app = create_app(self.settings, rounds)
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        """Answer, again on the same port."""
        told = {"log_level": "warning", "lifespan": self.lifespan, "timeout_graceful_shutdown": 1}
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=self.port, **told))
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
        """Go away as a killed process does: nobody answers on the port any more."""
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def show(self, found):
        """Take in a round."""
        self.app.state.viewed.rounds.record(found)
        self.app.state.viewed.forget()

    def every(self, seconds):
        """Let pages that are opened from now on look again after so many seconds."""
        self.app.state.viewed.settings = replace(self.settings, interval=seconds)

    def watch(self, rounds):
        """Show other rounds, or whatever else has a board()."""
        self.app.state.viewed.rounds = rounds
        self.app.state.viewed.forget()
