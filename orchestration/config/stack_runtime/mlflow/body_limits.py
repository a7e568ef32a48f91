"""Check the credentials of a request before its body is read, and limit the body's size.

MLflow reads the body of almost every request into memory before it checks the password. So anybody
who reaches the server could exhaust its memory. Only artifacts are written to disk as they arrive.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

MAX_BODY_BYTES = 64 * 2**20
ARTIFACT = re.compile(r"/(ajax-)?api/2\.0/mlflow-artifacts/artifacts/.+")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
TOO_LARGE = {
    "error_code": "INVALID_PARAMETER_VALUE",
    "message": f"A request can have at most {MAX_BODY_BYTES // 2**20} MiB. Log more data as an "
    "artifact: mlflow.log_artifact(FILE)",
}


class BodyLimits:
    """ASGI middleware: let a body through to the application only with valid credentials.

    `refusal` receives the scope of a request and returns an ASGI response, or None if the
    credentials are valid. It runs in a thread, because it may ask the database.
    """

    def __init__(self, app: Any, refusal: Callable[[Scope], Any]) -> None:
        self.app, self.refusal = app, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused, and pass on all others."""
        if scope["type"] == "http" and (size := body_size(scope)) != 0:
            from anyio import to_thread
            from starlette.responses import JSONResponse

            if answer := await to_thread.run_sync(self.refusal, scope):
                await answer(scope, receive, send)
                return
            if not is_artifact(scope):
                body = None if (size or 0) > MAX_BODY_BYTES else await read(receive)
                if body is None:
                    code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    await JSONResponse(TOO_LARGE, code)(scope, receive, send)
                    return
                receive = replay(body, receive)
        await self.app(scope, receive, send)


def body_size(scope: Scope) -> int | None:
    """Return the length of a request's body in bytes, or None if it is not known beforehand."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else None


def is_artifact(scope: Scope) -> bool:
    """Return whether a request uploads an artifact."""
    return scope["method"] == "PUT" and bool(ARTIFACT.fullmatch(scope["path"]))


async def read(receive: Receive) -> list[MutableMapping[str, Any]] | None:
    """Return the messages of a body, or None once they exceed MAX_BODY_BYTES."""
    messages: list[MutableMapping[str, Any]] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return messages


def replay(messages: list[MutableMapping[str, Any]], receive: Receive) -> Receive:
    """Return a function that returns each message once, then continues with `receive`."""
    messages.reverse()

    async def next_message() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return next_message


def refusal_of(auth: Any) -> Callable[[Scope], Any]:
    """Return a function that answers a request as MLflow's authorization function does."""
    from flask import Response as FlaskResponse
    from starlette.requests import Request
    from starlette.responses import Response

    def refusal(scope: Scope) -> Any:
        request = Request(scope)
        context = {"path": scope["path"], "method": scope["method"]}
        with auth.app.test_request_context(headers=dict(request.headers), **context):
            result = auth.authenticate_request()
        if not isinstance(result, FlaskResponse):
            return None
        return Response(result.get_data(), result.status_code, dict(result.headers))

    return refusal
