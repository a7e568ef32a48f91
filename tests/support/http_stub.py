"""HTTP and other servers on loopback ports with answers that a test defines."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer, TCPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


def unused_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_address[1]


class Stub:
    """A server that runs in a thread during its `with` block."""

    def __init__(self, server: BaseServer) -> None:
        self.server = server
        # Set on stop. Handlers that leave a request open wait for it.
        self.stopped = threading.Event()

    def __enter__(self) -> Self:
        serve = self.server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.005,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving, like a server that is down; calling it again does nothing."""
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


Answer = tuple[int, Any] | Callable[..., None]


@dataclass(frozen=True)
class Request:
    """A received request; `body` is parsed JSON, None if it was empty."""

    method: str
    target: str
    headers: Message
    body: Any

    @property
    def endpoint(self) -> str:
        """Return method and path, without the query."""
        return f"{self.method} {urlsplit(self.target).path}"

    @property
    def query(self) -> dict[str, list[str]]:
        """Return the parameters of the query."""
        return parse_qs(urlsplit(self.target).query)


class HttpStub(Stub):
    """An HTTP server that records its requests and answers them from `answers`.

    A key is "METHOD /path", or a path with its query for any method. A value is (status, body) or a
    function that answers through the handler. A list of these answers one request each, and its
    last one all further requests. A body of None leaves the request open until the test ends.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Any] = {}
        self.requests: list[Request] = []
        server = ThreadingHTTPServer((host, 0), lambda *args: _Handler(self, *args))
        super().__init__(server)
        self.port = server.server_port
        self.url = f"http://{host}:{self.port}"

    def requests_for(self, key: str) -> list[Request]:
        """Return the received requests that match a key of `answers`."""
        return [request for request in self.requests if key in (request.endpoint, request.target)]

    def answer_to(self, request: Request) -> Answer:
        """Return the answer to a request, 404 if it is not in `answers`."""
        answer: Answer | list[Answer] = (404, {"detail": "not found"})
        for key in (request.endpoint, request.target):
            answer = self.answers.get(key, answer)
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, stub: HttpStub, *args: Any) -> None:
        self.stub = stub
        super().__init__(*args)

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        document = json.loads(body) if body else None
        request = Request(self.command, self.path, self.headers, document)
        self.stub.requests.append(request)
        answer = self.stub.answer_to(request)
        if not isinstance(answer, tuple):
            answer(self)
        elif answer[1] is None:
            self.stub.stopped.wait(10)
        else:
            self.reply(*answer)

    def reply(self, status: int, document: Any) -> None:
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Log nothing, to keep the output of the tests clean."""
