"""A clone in a temporary folder, pages on loopback ports, an engine and a clock that are fakes."""

import importlib
import os
import shutil
import socket
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.clients import postgres
from orchestration.clients.airflow import Airflow
from orchestration.engines import factory
from orchestration.host import clocks, resources
from orchestration.host.drafts import draft_env
from orchestration.host.minimums import EARLIEST, GIB
from orchestration.process import runner, wait
from orchestration.project import Project
from orchestration.settings.model import Settings
from tests.support.clock import FakeClock
from tests.support.fake_engine import FakeEngine
from tests.support.fake_module import fake_module
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
def script(monkeypatch):
    """Import a module of `stack_runtime` afresh.

    `script("mlflow.cleanup", mlflow={…})` replaces what it imports by modules with these members.
    """
    config = str(ROOT / "orchestration/config")
    monkeypatch.syspath_prepend(config)

    def forget():
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name.split(".")[0] == "stack_runtime" and file.startswith(f"{config}/"):
                del sys.modules[name]

    def load(name, **fakes):
        for fake, members in fakes.items():
            fake_module(monkeypatch, fake, **members)
        forget()
        return importlib.import_module(f"stack_runtime.{name}")

    yield load
    forget()


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


@pytest.fixture
def usual_terminal(monkeypatch):
    """An environment of which a test changes what it is about."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def figures(monkeypatch):
    """A machine with plenty of everything and the right time; its figures can be set."""
    figures = SimpleNamespace(memory=16.0, limit=float("inf"), cpus=4, free=100.0)
    figures.now = EARLIEST + timedelta(days=1)
    monkeypatch.setattr(resources, "machine_gib", lambda: figures.memory)
    monkeypatch.setattr(resources, "memory_limit_gib", lambda: figures.limit)
    monkeypatch.setattr(resources, "cpus", lambda: figures.cpus)
    monkeypatch.setattr(clocks, "now", lambda: figures.now)
    usage = SimpleNamespace(disk_usage=lambda place: SimpleNamespace(free=figures.free * GIB))
    monkeypatch.setattr(resources, "shutil", usage)
    return figures


@pytest.fixture
def listener():
    """A port of this very process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def installed(clone, project):
    """A clone with a complete .env."""
    project.write_env(draft_env(project)[0], "docker")
    return clone
