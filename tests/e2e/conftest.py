"""Share stacks between the end-to-end tests, and keep evidence of each failure."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e import access, arguments, evidence
from tests.e2e.bucket import Server
from tests.e2e.clone import CLONES, SERVICES, Clone, fresh_copy, until
from tests.support.http_stub import HttpStub
from tests.support.repository import ROOT


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=sorted(SERVICES), required=True)
    parser.addoption("--keep", metavar="FOLDER", help="folder for the picture of test_backfill.py")
    parser.addoption(
        "--evidence",
        metavar="FOLDER",
        default=ROOT / ".smoke",
        help="folder for evidence of failures",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of the example in a repository from which it was removed."""
    if not (ROOT / "dags/problems/flights").is_dir():
        for item in items:
            if item.get_closest_marker("example"):
                item.add_marker(pytest.mark.skip(reason="the problem `flights` was removed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator:
    """Collect evidence of a failure before fixtures remove the stack, and name its folder."""
    if call.excinfo and not isinstance(call.excinfo.value, pytest.skip.Exception):
        error = call.excinfo.value
        # A stack that does not start fails every test with the same error. Collect this only once.
        if not any("evidence" in note for note in getattr(error, "__notes__", [])):
            error.add_note(collect_evidence(item, call.excinfo))
    return (yield)


def collect_evidence(item: pytest.Item, failure: pytest.ExceptionInfo) -> str:
    """Collect evidence of a failure, and return a note with its folder or with an error.

    Never raises, because an error here would hide the failure.
    """
    try:
        report = f"{item.nodeid}\n\n{item.repr_failure(failure)}\n"
        engine, folder = item.config.getoption("--engine"), item.config.getoption("--evidence")
        return f"evidence: {evidence.collect(Path(folder), engine, report, CLONES)}"
    except Exception as error:
        return f"no evidence could be kept: {error!r}"


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--engine")


class Receiver(HttpStub):
    """A webhook for alerts, on an address that the services of the stack can reach."""

    def __init__(self, engine: str) -> None:
        docker = engine == "docker"
        super().__init__(psutil.net_if_addrs()["docker0"][0].address if docker else "127.0.0.1")
        self.answers["/hook"] = (200, {})
        self.url += "/hook"

    def alerts(self, *words: str) -> list[str]:
        """Return the texts of the received alerts that contain all these words."""
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
    """Return a clone that `inv up` alone installed, started and verified with the canary."""
    clone = session_copy(request, tmp_path_factory.mktemp("first") / "clone")
    clone.exported["ALERT_WEBHOOK_URL"] = receiver.url
    clone.sockets_before_up = frozenset(access.listening_sockets())
    with arguments.record() as command_lines:
        clone.first_up = clone.run_ok("inv", "up")
    clone.arguments = frozenset(command_lines)
    return clone


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start an S3 server with empty buckets."""
    server = Server(engine, tmp_path_factory.mktemp("bucket") / "buckets")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def second_clone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stack: Clone
) -> Clone:
    """Return another clone on other ports, installed but not started."""
    clone = session_copy(request, tmp_path_factory.mktemp("second") / "clone")
    clone.run_ok("inv", "install")
    return clone


@pytest.fixture(scope="session")
def journal(stack: Clone) -> None:
    """Add the DAG that runs while faults happen, and wait until Airflow has parsed it."""
    stack.add_dags("journal")
    until(lambda: "dag_id" in stack.airflow("/api/v2/dags/journal"), 120)


@pytest.fixture(scope="module")
def passphrase_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file with the passphrase that protects the keys of backups."""
    file = tmp_path_factory.mktemp("passphrase") / "passphrase"
    file.write_text("made up for this test alone\n")
    return str(file)


@pytest.fixture
def figures(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> Iterator[dict]:
    """Return a dict for a test's measurements, which are printed in one line after the test."""
    values: dict[str, float] = {}
    yield values
    line = " | ".join(f"{name} {value:.4g}" for name, value in values.items())
    with capsys.disabled():
        print(f"\n{request.node.name.removeprefix('test_')} | {line}")


def session_copy(request: pytest.FixtureRequest, folder: Path) -> Clone:
    """Make a fresh copy that is removed when the session ends.

    A fixture with `yield` would remove a stack that fails to start before evidence is collected.
    """
    clone = fresh_copy(folder, request.config.getoption("--engine"))
    request.addfinalizer(clone.remove)
    return clone
