"""A clone in a temporary folder, pages on loopback ports, an engine and a clock that are fakes."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from orchestration.clients import postgres
from orchestration.clients.airflow import Airflow
from orchestration.engines import factory
from orchestration.host.drafts import draft_env
from orchestration.process import runner, wait
from orchestration.project import Project
from orchestration.settings.model import Settings
from tests.support.clock import FakeClock
from tests.support.fake_engine import FakeEngine
from tests.support.fake_pages import FakePages
from tests.support.fake_shell import FakeShell
from tests.support.http_stub import unused_port
from tests.support.repository import ROOT
from tests.support.typist import at_a_terminal

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture
def repo():
    """The repository under test."""
    return ROOT


@pytest.fixture
def script(repo):
    """Import a script of config/ as it is run there: by its path, not as a package."""

    def load(name):
        path = repo / "orchestration" / "config" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"config_{name}", path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.fixture(scope="session")
def typist():
    """Somebody at a terminal, for as long as the tests run."""
    with at_a_terminal() as somebody:
        yield somebody


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No setting and no proxy of the person's shell reaches a test."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    known = {line.partition("=")[0] for line in example.splitlines()}
    for name in list(os.environ):
        if name in known or name.lower() in PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture
def clone(tmp_path):
    """A folder that the code takes for its repository, with .env.example and no .env."""
    root = tmp_path / "clone"
    (root / "orchestration").mkdir(parents=True)
    shutil.copy(ROOT / ".env.example", root)
    return root


@pytest.fixture
def project(clone):
    """The clone as commands get it."""
    return Project(clone, os.environ)


@pytest.fixture
def make_settings(clone, project):
    """Settings of the clone as `inv install` would draft them, with some values replaced."""

    def make(**values):
        text, _ = draft_env(project)
        given = {"STACK_ENGINE": "docker", "PATH": os.environ["PATH"]}
        return Settings.of_text(text, clone, given | {k: str(v) for k, v in values.items()})

    return make


@pytest.fixture
def web():
    """One HTTP server that may stand for Airflow, MLflow and the status page."""
    with FakePages() as stub:
        yield stub


@pytest.fixture
def airflow(web, make_settings, clock, monkeypatch):
    """A client of the stub, with an account; its waiting costs no time."""
    monkeypatch.setattr(wait, "time", clock)
    web.answers["POST /auth/token"] = (201, {"access_token": "t0ken"})
    settings = make_settings(AIRFLOW_PORT=web.port, _AIRFLOW_WWW_USER_PASSWORD="pa55-w0rd")
    return Airflow(settings)


@pytest.fixture
def dead_port():
    """A port of this machine where nothing listens."""
    return unused_port()


@pytest.fixture
def engine():
    """An engine whose services all run."""
    return FakeEngine()


ROWS = "COPY public.{name} (id) FROM stdin;\n1\n2\n\\.\n"


@pytest.fixture
def lived_in(clone, project, engine, tmp_path, monkeypatch):
    """A clone that is installed and running, with a row or two, an artifact and a DAG."""
    monkeypatch.setattr(factory, "engine_for", lambda chosen: engine)
    project.write_env(draft_env(project)[0], "docker")
    engine.databases = str(tmp_path / "databases")
    Path(engine.databases).mkdir()
    for name in postgres.NAMES:
        Path(engine.databases, name).write_text(ROWS.format(name=f"of_{name}"))
    artifacts = tmp_path / "artifacts"
    (artifacts / "1/model").mkdir(parents=True)
    (artifacts / "1/model/weights").write_text("0.5")
    engine.environments["mlflow"] = {"MLFLOW_ARTIFACTS_DESTINATION": str(artifacts)}
    (clone / "install").mkdir()
    for lock, pin in (("airflow", "apache-airflow==3.0.1"), ("mlflow", "mlflow==3.17.2")):
        (clone / f"install/{lock}.lock").write_text(f"{pin} \\\n    --hash=x\n")
    for name in ("requirements.txt", "requirements.lock"):
        (clone / "install" / name).write_text("pandas\n")
    (clone / "dags").mkdir()
    (clone / "dags/mine.py").write_text("# a DAG\n")
    return clone


@pytest.fixture
def clock():
    """A clock that stands until it is slept on."""
    return FakeClock()


@pytest.fixture
def recorded(monkeypatch):
    """Processes are noted, none is started."""
    recorder = FakeShell()
    monkeypatch.setattr(runner, "run", recorder.run)
    monkeypatch.setattr(runner, "attach", recorder.attach)
    return recorder
