"""The stacks that the smoke tests share, and the evidence that a failure leaves."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e import arguments, doors, evidence
from tests.e2e.bucket import Server
from tests.e2e.clone import SERVICES, STANDING, Clone, fresh_copy, until
from tests.support.http_stub import HttpStub
from tests.support.repository import ROOT


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=sorted(SERVICES), required=True)
    parser.addoption("--keep", metavar="FOLDER", help="where test_backfill.py writes its picture")
    parser.addoption(
        "--evidence", metavar="FOLDER", default=ROOT / ".smoke", help="what failures leave"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator:
    """Leave evidence of a failure while everything that it met still stands."""
    if call.excinfo and not isinstance(call.excinfo.value, pytest.skip.Exception):
        error = call.excinfo.value
        # A stack that did not come up fails every test with the same error: told once.
        if not any("evidence" in note for note in getattr(error, "__notes__", [])):
            error.add_note(where_evidence_is(item, call.excinfo))
    return (yield)


def where_evidence_is(item: pytest.Item, failed: pytest.ExceptionInfo) -> str:
    """Make it and tell its folder, or why there is none; never raises, the failure comes first."""
    try:
        told = f"{item.nodeid}\n\n{item.repr_failure(failed)}\n"
        engine, folder = item.config.getoption("--engine"), item.config.getoption("--evidence")
        return f"evidence: {evidence.leave(Path(folder), engine, told, STANDING)}"
    except Exception as error:
        return f"no evidence could be kept: {error!r}"


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--engine")


class Receiver(HttpStub):
    """What alerts are sent to: a webhook where the stack's services can reach it."""

    def __init__(self, engine: str) -> None:
        docker = engine == "docker"
        super().__init__(psutil.net_if_addrs()["docker0"][0].address if docker else "127.0.0.1")
        self.answers["/hook"] = (200, {})
        self.url += "/hook"

    def told(self, *words: str) -> list[str]:
        """The alerts that hold all these words."""
        texts = [request.body["text"] for request in self.requests]
        return [text for text in texts if all(word in text for word in words)]


@pytest.fixture(scope="session")
def receiver(engine: str) -> Iterator[Receiver]:
    with Receiver(engine) as server:
        yield server


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Clone:
    """A clone that was brought up by `inv up` alone, with its proof; taken away at the end."""
    clone = standing_copy(request, tmp_path_factory.mktemp("first") / "clone")
    clone.exported["ALERT_WEBHOOK_URL"] = receiver.url
    clone.listened = frozenset(doors.listening())
    with arguments.seen() as found:
        clone.first_up = clone.well("inv", "up")
    clone.arguments = frozenset(found)
    return clone


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks S3, with empty buckets."""
    server = Server(engine, tmp_path_factory.mktemp("bucket") / "buckets")
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def second_clone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stack: Clone
) -> Clone:
    """Another clone on other ports, not started yet."""
    clone = standing_copy(request, tmp_path_factory.mktemp("second") / "clone")
    clone.well("inv", "install")
    return clone


@pytest.fixture(scope="session")
def journal(stack: Clone) -> None:
    """The DAG that faults meet at work, parsed."""
    stack.add_dags("journal")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/journal"), 120)


@pytest.fixture(scope="module")
def phrase(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with what the keys of backups are kept with."""
    file = tmp_path_factory.mktemp("phrase") / "phrase"
    file.write_text("made up for this test alone\n")
    return str(file)


@pytest.fixture
def told(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> Iterator[dict]:
    """Figures of a fault; tells them as a line once its test has ended."""
    figures: dict[str, float] = {}
    yield figures
    line = " | ".join(f"{name} {value:.4g}" for name, value in figures.items())
    with capsys.disabled():
        print(f"\n{request.node.name.removeprefix('test_')} | {line}")


def standing_copy(request: pytest.FixtureRequest, folder: Path) -> Clone:
    """A fresh copy that stands until the session ends.

    Without `yield`: a start that fails would be taken away before it could be looked at.
    """
    clone = fresh_copy(folder, request.config.getoption("--engine"))
    request.addfinalizer(clone.remove)
    return clone
