"""A clone in a temporary folder, stub services on loopback ports, and an engine made of paper."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestration.clients import postgres
from orchestration.clients.airflow import Airflow
from orchestration.engines import factory
from orchestration.engines.base import IMAGES, Service
from orchestration.errors import StackError
from orchestration.host.drafts import draft_env
from orchestration.host.resources import Host
from orchestration.process import wait
from orchestration.process.runner import Command, Completed
from orchestration.project import Project
from orchestration.settings.model import Settings

REPO = Path(__file__).resolve().parents[2]
LONG_RUNNING = ("postgres", "redis", "airflow-scheduler", "airflow-worker", "mlflow", "status")
PAPER_POSTGRES = str(REPO / "tests/orchestration/paper_postgres.py")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture
def repo():
    """The repository under test."""
    return REPO


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


class Typist:
    """Types `inv …` as a person does; `type` answers as subprocess.run would."""

    def __init__(self, process):
        self.process = process

    def type(self, *argv, cwd, env):
        said = [f"{cwd}.stdout", f"{cwd}.stderr"]
        asked = {"argv": argv, "cwd": str(cwd), "env": env, "stdout": said[0], "stderr": said[1]}
        for file in said:
            Path(file).write_text("")
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(argv, code, *(Path(file).read_text() for file in said))


@pytest.fixture(scope="session")
def typist():
    """Somebody at a terminal, for as long as the tests run."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "tests.orchestration.typist"]
    with subprocess.Popen(command, cwd=REPO, **pipes) as process:
        yield Typist(process)
        process.stdin.close()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No setting and no proxy of the person's shell reaches a test."""
    example = (REPO / ".env.example").read_text(encoding="utf-8")
    known = {line.partition("=")[0] for line in example.splitlines()}
    for name in list(os.environ):
        if name in known or name.lower() in PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture
def clone(tmp_path):
    """A folder that the code takes for its repository, with .env.example and no .env."""
    root = tmp_path / "clone"
    (root / "orchestration").mkdir(parents=True)
    shutil.copy(REPO / ".env.example", root)
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


class HttpStub:
    """Answers "METHOD /path" with (code, body) of `answers`; of a list each in turn, then the last.

    A body of None leaves the question open until the test ends.
    """

    def __init__(self):
        self.answers = {}
        self.asked = []
        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def of(self, question):
        """The requests that put this question: path, query, headers, body."""
        return [request for request in self.asked if request["question"] == question]

    def next_answer(self, question):
        answer = self.answers.get(question, (404, {"detail": "not found"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    def stack_is_well(self, services=LONG_RUNNING, work=(), **states):
        """Every question of `inv health` is answered well; `states` replaces single verdicts."""
        verdicts = [
            {"name": name, "state": states.get(name, "up"), "detail": f"{name} says so"}
            for name in services
            if name != "status"
        ]
        self.answers |= {
            "GET /api/v2/version": (200, {"version": "3.0.1"}),
            "POST /api/2.0/mlflow/experiments/search": (200, {"experiments": []}),
            "GET /status.json": (200, {"services": verdicts, "work": work}),
        }
        return {"AIRFLOW_PORT": self.port, "MLFLOW_PORT": self.port, "STATUS_PORT": self.port}

    def _handler(stub):
        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                url = urlsplit(self.path)
                question = f"{self.command} {url.path}"
                stub.asked.append(
                    {
                        "question": question,
                        "query": parse_qs(url.query),
                        "headers": dict(self.headers),
                        "body": json.loads(body) if body else None,
                    }
                )
                code, document = stub.next_answer(question)
                if document is None:
                    stub.over.wait(10)
                    return
                text = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def web():
    """One HTTP server that may stand for Airflow, MLflow and the status page."""
    stub = HttpStub()
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    yield stub
    stub.over.set()
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


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
    with ThreadingHTTPServer(("127.0.0.1", 0), None) as server:
        return server.server_port


class PaperEngine:
    """An engine that only notes what it is asked; each fault is an attribute."""

    name = "docker"

    def __init__(self):
        self.asked = []
        self.reasons, self.volumes, self.built = [], [], True
        self.listed = [Service(name, "running", "healthy") for name in LONG_RUNNING]
        self.said, self.held, self.exit_code = {}, {}, 0
        self.stands_on = Host()
        self.held_by, self.meant_for, self.heard_since = {}, {}, {}
        self.prune_fails, self.made = None, []
        self.build_fails, self.errors, self.replace_fails = None, "", {}
        self.start_fails, self.start_waits, self.start_ended = None, None, False
        self.ps_fails, self.memory_fails, self.restart_fails = None, None, None
        self.databases, self.environments, self.lent = "", {}, None

    def problems(self):
        return list(self.reasons)

    def host(self):
        return self.stands_on

    def surviving_data(self):
        return list(self.volumes)

    def images(self):
        return IMAGES

    def is_built(self):
        return self.built

    def build(self, images=IMAGES):
        self.asked.append("build" if tuple(images) == IMAGES else f"build {' '.join(images)}")
        if self.build_fails:
            raise self.build_fails

    def import_errors(self):
        self.asked.append("import_errors")
        return self.errors

    def activate(self, images=IMAGES):
        self.asked.append("activate" if tuple(images) == IMAGES else f"activate {' '.join(images)}")
        self.built = True

    def prune(self):
        self.asked.append("prune")
        if self.prune_fails:
            raise self.prune_fails

    def replace(self, service):
        self.asked.append(f"replace {service}")
        if service in self.replace_fails:
            raise self.replace_fails[service]

    def restart(self, services):
        self.asked.append(f"restart {' '.join(services)}")
        if self.restart_fails:
            raise self.restart_fails

    def run(self, service, argv):
        self.asked.append(("run", service, list(argv)))
        return self.exit_code

    def up(self, services=()):
        self.asked.append(" ".join(("up", *services)))
        if self.start_waits:
            self.start_waits.wait(0.5)
        self.start_ended = True
        if self.start_fails:
            raise self.start_fails

    def stop(self, services):
        self.asked.append(f"stop {' '.join(services)}")

    def finish_tasks(self):
        self.asked.append("finish_tasks")

    def command(self, service, argv, *, anew=False):
        """One of PostgreSQL's tools on the folder `databases`, anything else as it is."""
        argv = tuple(argv)
        if service == "postgres":
            argv = (sys.executable, PAPER_POSTGRES, self.databases, *argv[4:])
        return Command(argv, env={**os.environ, **self.environments.get(service, {})})

    def script(self, name):
        return f"/paper/{name}"

    def builds(self):
        return list(self.made)

    def create_sandbox(self, other):
        self.asked.append(f"create_sandbox {other.project}")
        return self.lent or self

    def remove_sandbox(self, other):
        self.asked.append(f"remove_sandbox {other.project}")

    def down(self, *, volumes, quietly=False):
        self.asked.append(f"down volumes={volumes}")

    def ps(self):
        if self.ps_fails:
            raise self.ps_fails
        return list(self.listed)

    def memory(self):
        if self.memory_fails:
            raise self.memory_fails
        return dict(self.held)

    def logs(self, services, *, tail, since, follow):
        self.asked.append(("logs", list(services), tail, since, follow))
        return self.exit_code

    def tail(self, service, lines, since=None):
        self.heard_since[service] = since
        return "\n".join(self.said.get(service, "").splitlines()[-lines:])

    def environment(self, service):
        return dict(self.held_by.get(service, {}))

    def intended(self, service):
        return dict(self.meant_for.get(service, {}))

    def services(self):
        return iter([service.name for service in self.listed])


@pytest.fixture
def engine():
    """An engine whose services all run."""
    return PaperEngine()


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


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    """A clock that stands until it is slept on."""
    return Clock()


class Shell:
    """What would have been run; `outputs` answers by the words a command line contains."""

    def __init__(self):
        self.commands, self.outputs, self.failures = [], {}, {}

    def run(self, command, *, check=True, on_line=None, **options):
        self.commands.append(command)
        line = str(command)
        reason = next((why for words, why in self.failures.items() if words in line), None)
        if reason and check:
            raise StackError(reason)
        output = next((text for words, text in self.outputs.items() if words in line), "")
        completed = Completed(1 if reason else 0, reason or output)
        for printed in completed.output.splitlines() if on_line else ():
            on_line(printed)
        return completed

    def attach(self, command, **options):
        return self.run(command).code

    @property
    def lines(self):
        return [str(command) for command in self.commands]


@pytest.fixture
def recorded(monkeypatch):
    """Processes are noted, none is started."""
    from orchestration.process import runner

    recorder = Shell()
    monkeypatch.setattr(runner, "run", recorder.run)
    monkeypatch.setattr(runner, "attach", recorder.attach)
    return recorder
