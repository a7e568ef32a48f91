"""Test that bodies are read after the credentials are checked, and only up to a limit."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from tests.support.fake_module import fake_module

API = "/api/2.0/mlflow/runs/log-batch"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/model.bin"
MIB = 2**20


class JsonResponse:
    """Fake of Starlette's class."""

    def __init__(self, document, status):
        self.document, self.status = document, status

    async def __call__(self, scope, receive, send):
        await send(self.status)
        await send(json.dumps(self.document))


async def run_sync(function, *arguments):
    return function(*arguments)


@pytest.fixture
def request_result(script, monkeypatch):
    """Send chunks to a fake application; return what it received, the answers and the reads."""
    fake_module(monkeypatch, "anyio", to_thread=SimpleNamespace(run_sync=run_sync))
    fake_module(monkeypatch, "starlette.responses", JSONResponse=JsonResponse)
    module = script("mlflow.body_limits")
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 3 * MIB)

    def send(path, chunks, method="POST", known=True, refused=False):
        world = SimpleNamespace(received=None, answers=[], reads=0)
        length = [(b"content-length", str(sum(map(len, chunks))).encode())]
        headers = length if known else [(b"transfer-encoding", b"chunked")]
        scope = {"type": "http", "path": path, "method": method, "headers": headers}
        waiting = list(chunks)

        async def receive():
            world.reads += 1
            body = waiting.pop(0) if waiting else b""
            return {"type": "http.request", "body": body, "more_body": bool(waiting)}

        async def answer(text):
            world.answers.append(text)

        async def application(scope, receive, send):
            world.received, more = b"", True
            while more:
                message = await receive()
                world.received += message["body"]
                more = message["more_body"]

        async def refusal(scope, receive, send):
            await send(401)

        checks = module.BodyLimits(application, lambda scope: refusal if refused else None)
        asyncio.run(checks(scope, receive, answer))
        return world

    return send


@pytest.mark.parametrize("path", [API, ARTIFACT, "/health", "/"])
@pytest.mark.parametrize("known", [True, False])
def test_body_without_credentials_is_not_read(request_result, path, known):
    world = request_result(path, [b"x" * MIB] * 9, "PUT", known=known, refused=True)
    assert (world.answers, world.reads, world.received) == ([401], 0, None)


def test_request_without_body_goes_to_the_application(request_result):
    world = request_result(API, [], "GET", refused=True)
    assert (world.answers, world.received) == ([], b"")


@pytest.mark.parametrize("known", [True, False])
def test_body_up_to_the_limit_is_passed_on(request_result, known):
    chunks = [b"a" * MIB, b"b" * MIB, b"c" * MIB]
    assert request_result(API, chunks, known=known).received == b"".join(chunks)


@pytest.mark.parametrize(("known", "reads"), [(True, 0), (False, 4)])
def test_larger_body_gets_413_and_is_not_collected(request_result, known, reads):
    world = request_result(API, [b"x" * MIB] * 9, known=known)
    assert (world.answers[0], world.received, world.reads) == (413, None, reads)
    assert "mlflow.log_artifact" in world.answers[1]


@pytest.mark.parametrize("known", [True, False])
def test_artifact_of_any_size_is_streamed(request_result, known):
    chunks = [b"x" * MIB] * 9
    assert request_result(ARTIFACT, chunks, "PUT", known=known).received == b"".join(chunks)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ARTIFACT),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/"),
        ("PUT", f"/x{ARTIFACT}"),
        ("POST", "/api/2.0/mlflow-artifacts/mpu/create/x"),
    ],
)
def test_other_routes_have_the_limit(request_result, method, path):
    assert request_result(path, [b"x" * MIB] * 9, method).answers[0] == 413
