"""Servers on loopback ports that answer what a test tells them to."""

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
    """Return a port of this machine where nothing listens."""
    with TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_address[1]


class Stub:
    """A server that runs in a thread for as long as its `with` block."""

    def __init__(self, server: BaseServer) -> None:
        self.server = server
        # Set at the end: whoever leaves a request open waits for it.
        self.over = threading.Event()

    def __enter__(self) -> Self:
        serve = self.server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.005,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away, as a server that is down; a second time does nothing."""
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


Answer = tuple[int, Any] | Callable[..., None]


@dataclass(frozen=True)
class Request:
    """A request as it was received; `body` is parsed JSON, None if there was none."""

    method: str
    target: str
    headers: Message
    body: Any

    @property
    def question(self) -> str:
        """Method and path, without the query."""
        return f"{self.method} {urlsplit(self.target).path}"

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the query."""
        return parse_qs(urlsplit(self.target).query)


class HttpStub(Stub):
    """An HTTP server that keeps its requests and answers them from `answers`.

    A key is "METHOD /path", or a path with its query for any method. A value is (status, body), a
    function that answers through the handler, or a list of these for one request each, whose last
    one stays. A body of None leaves the request open until the test ends.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Any] = {}
        self.requests: list[Request] = []
        server = ThreadingHTTPServer((host, 0), lambda *words: _Handler(self, *words))
        super().__init__(server)
        self.port = server.server_port
        self.url = f"http://{host}:{self.port}"

    def of(self, key: str) -> list[Request]:
        """Return the requests for a key of `answers`."""
        return [request for request in self.requests if key in (request.question, request.target)]

    def answer_to(self, request: Request) -> Answer:
        """Return the answer to a request: 404 for one that is not in `answers`."""
        answer: Answer | list[Answer] = (404, {"detail": "not found"})
        for key in (request.question, request.target):
            answer = self.answers.get(key, answer)
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, stub: HttpStub, *words: Any) -> None:
        self.stub = stub
        super().__init__(*words)

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        document = json.loads(body) if body else None
        request = Request(self.command, self.path, self.headers, document)
        self.stub.requests.append(request)
        answer = self.stub.answer_to(request)
        if not isinstance(answer, tuple):
            answer(self)
        elif answer[1] is None:
            self.stub.over.wait(10)
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
        """Keep the output of the tests clean."""
