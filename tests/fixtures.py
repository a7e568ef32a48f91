"""Provide a clone in a temporary folder, pages on loopback ports, a fake engine and clock."""

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
from tests.support.typist import start_typist

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture
def repo():
    """Return the repository under test."""
    return ROOT


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a module of `stack_runtime` again.

    `script("mlflow.cleanup", mlflow={…})` replaces its imports by modules with these members.
    """
    config = str(ROOT / "orchestration/config")
    monkeypatch.syspath_prepend(config)

    def unload():
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name.split(".")[0] == "stack_runtime" and file.startswith(f"{config}/"):
                del sys.modules[name]

    def load(name, **fakes):
        for fake, members in fakes.items():
            fake_module(monkeypatch, fake, **members)
        unload()
        return importlib.import_module(f"stack_runtime.{name}")

    yield load
    unload()


@pytest.fixture(scope="session")
def typist():
    """Return a process that runs `inv` commands for all tests."""
    with start_typist() as process:
        yield process


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Remove the developer's settings and proxies from the environment."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    settings = {line.partition("=")[0] for line in example.splitlines()}
    for name in list(os.environ):
        if name in settings or name.lower() in PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture
def clone(tmp_path):
    """Return a folder that the code uses as its repository, with .env.example and no .env."""
    root = tmp_path / "clone"
    (root / "orchestration").mkdir(parents=True)
    shutil.copy(ROOT / ".env.example", root)
    return root


@pytest.fixture
def project(clone):
    """Return the clone as commands get it."""
    return Project(clone, os.environ)


@pytest.fixture
def make_settings(clone, project):
    """Return a function that drafts the clone's settings, with some values replaced."""

    def make(**values):
        text, _ = draft_env(project)
        environment = {"STACK_ENGINE": "docker", "PATH": os.environ["PATH"]}
        return Settings.from_text(text, clone, environment | {k: str(v) for k, v in values.items()})

    return make


@pytest.fixture
def web(tmp_path):
    """Return an HTTP server that acts as Airflow, MLflow and the status page of the clone."""
    with FakePages() as stub:
        # The folder of `clone`, which not every test needs.
        stub.project = Project(tmp_path / "clone", {}).name
        yield stub


@pytest.fixture
def airflow(web, make_settings, clock, monkeypatch):
    """Return a client of the stub with an account. Its waits take no time."""
    monkeypatch.setattr(wait, "time", clock)
    web.answers["POST /auth/token"] = (201, {"access_token": "t0ken"})
    settings = make_settings(AIRFLOW_PORT=web.port, _AIRFLOW_WWW_USER_PASSWORD="pa55-w0rd")
    return Airflow(settings)


@pytest.fixture
def dead_port():
    """Return a port of this machine on which nothing listens."""
    return unused_port()


@pytest.fixture
def engine():
    """Return an engine whose services are all running."""
    return FakeEngine()


ROWS = "COPY public.{name} (id) FROM stdin;\n1\n2\n\\.\n"


@pytest.fixture
def lived_in(clone, project, engine, tmp_path, monkeypatch):
    """Return an installed clone whose stack runs and has rows, an artifact and a DAG."""
    monkeypatch.setattr(factory, "engine_for", lambda settings: engine)
    project.write_env(draft_env(project)[0], "docker")
    engine.databases = str(tmp_path / "databases")
    Path(engine.databases).mkdir()
    for name in postgres.NAMES:
        Path(engine.databases, name).write_text(ROWS.format(name=f"of_{name}"))
    artifacts = tmp_path / "artifacts"
    (artifacts / "1/model").mkdir(parents=True)
    (artifacts / "1/model/weights").write_text("0.5")
    engine.command_environments["mlflow"] = {"MLFLOW_ARTIFACTS_DESTINATION": str(artifacts)}
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
    """Return a clock that only `sleep` advances."""
    return FakeClock()


@pytest.fixture
def recorded(monkeypatch):
    """Record commands instead of starting processes."""
    recorder = FakeShell()
    monkeypatch.setattr(runner, "run", recorder.run)
    monkeypatch.setattr(runner, "attach", recorder.attach)
    return recorder


@pytest.fixture
def usual_terminal(monkeypatch):
    """Set the variables that affect terminal output to usual values."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def figures(monkeypatch):
    """Return a machine with ample resources and the right time, which tests may change."""
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
    """Return a port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def installed(clone, project):
    """Return a clone with a complete .env."""
    project.write_env(draft_env(project)[0], "docker")
    return clone
