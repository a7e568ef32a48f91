"""What people do wrong, as they type it: exit code 1, few lines, the next command, nothing changed.

In a copy of the repository, as typist.py types it. Where Docker is needed, a stub stands for an
engine that is too old or has no Compose; what a real one refuses is tested in tests/e2e.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestration.host.drafts import draft_env
from orchestration.project import Project
from tests.support.repository import ROOT, copy_repository

WITH_DOCKER = "./install/1st_run_install.sh --with-docker"
MANY_LINES = 8


def behind(file):
    """Where a line stands that is appended to a file of the repository."""
    return f"line {len((ROOT / file).read_text().splitlines()) + 1}"


BEHIND = behind(".env.example")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a file system")


@dataclass
class Place:
    """A copy of the repository, what is exported there, and what to put right again."""

    folder: Path
    environment: dict[str, str]
    typist: Any
    held: ExitStack = field(default_factory=ExitStack)

    def export(self, **values):
        self.environment |= {name: str(value) for name, value in values.items()}

    def write_env(self, **values):
        """A complete .env, with some values replaced."""
        text, _ = draft_env(Project(self.folder, os.environ))
        for name, value in ({"STACK_ENGINE": "standalone"} | values).items():
            lines = text.splitlines()
            text = "\n".join(f"{name}={value}" if _names(line, name) else line for line in lines)
        (self.folder / ".env").write_text(text + "\n")

    def append(self, line):
        self.write_env()
        with (self.folder / ".env").open("ab") as file:
            file.write(line if isinstance(line, bytes) else f"{line}\n".encode())

    def type(self, *argv):
        return self.typist.type(*argv, cwd=self.folder, env=self.environment)

    def snapshot(self):
        """Every file with its content; the lock tells who worked last and may change."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if "__pycache__" not in path.parts and path.name != ".lock" and path.is_file():
                found[str(path)] = path.read_bytes()
        return found

    def listen(self, **environment):
        """A stranger's program on a port; its environment may tell what it is."""
        code = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
        code += "print(s.getsockname()[1], flush=True); time.sleep(60)"
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.held.callback(lambda: (process.kill(), process.communicate()))
        return int(process.stdout.readline())


def _names(line, name):
    return line.partition("=")[0] == name


@pytest.fixture
def place(tmp_path, typist):
    """A copy without .env, where no engine can be reached and nothing listens."""
    folder = tmp_path / "clone"
    parts = ("orchestration", "install", "dags", "tasks.py", ".env.example")
    copy_repository(folder, *parts, compiled=True)
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [str(probe.getsockname()[1]) for probe in probes]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "PYPI_INDEX_URL": "http://127.0.0.1:1/simple",
        **dict(zip(("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"), ports, strict=True)),
    }
    place = Place(folder, environment, typist)
    with place.held:
        yield place


# What was arranged before the command was typed.


def nothing(place):
    """A bare clone."""


def standalone(place):
    place.export(STACK_ENGINE="standalone")


def docker(place):
    place.export(STACK_ENGINE="docker")


def installed(place):
    place.write_env()


def set_to(**values):
    return lambda place: place.write_env(**values)


def exported(**values):
    def arrange(place):
        place.write_env()
        place.export(**values)

    return arrange


def line(text):
    return lambda place: place.append(text)


def no_socket(place):
    place.export(STACK_ENGINE="docker", DOCKER_HOST=f"unix://{place.folder}/no.sock")


def no_rights(place):
    path = place.folder.parent / "docker.sock"
    server = place.held.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    path.chmod(0)
    place.export(STACK_ENGINE="docker", DOCKER_HOST=f"unix://{path}")
    if os.getuid() == 0:
        pytest.skip("root has rights on every socket: tests/e2e/test_normal_user.py does it")


def taken_port(place):
    standalone(place)
    place.export(MLFLOW_PORT=place.listen())


def port_of_another_clone(place):
    standalone(place)
    place.export(AIRFLOW_PORT=place.listen(STACK_ROOT="/home/me/other-clone"))


def equal_ports(place):
    standalone(place)
    place.export(MLFLOW_PORT=place.environment["AIRFLOW_PORT"])


def far_address(place):
    standalone(place)
    place.export(BIND_ADDRESS="192.0.2.1")


def lost_env(place):
    standalone(place)
    folder = place.folder / ".state"
    if os.getuid() == 0:
        folder = Path("/var/lib/mlops-stack") / Project(place.folder, {}).name
    (folder / "postgres").mkdir(parents=True)
    place.held.callback(shutil.rmtree, folder)
    (folder / "postgres" / "PG_VERSION").write_text("16\n")


def read_only_folder(place):
    standalone(place)
    if os.getuid() == 0:
        mount(place, "--bind", str(place.folder), str(place.folder))
        mount(place, "-o", "remount,ro,bind", str(place.folder), undo=False)
    else:
        place.folder.chmod(0o555)
        place.held.callback(place.folder.chmod, 0o755)


def full_disk(place):
    standalone(place)
    inside = place.folder.parent / "small"
    inside.mkdir()
    mount(place, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(inside))
    shutil.copytree(place.folder, inside / "clone", symlinks=True)
    place.folder = inside / "clone"


def mount(place, *arguments, undo=True):
    subprocess.run(["mount", *arguments], check=True)
    if undo:
        place.held.callback(subprocess.run, ["umount", arguments[-1]], check=True)


def at_work(place):
    place.write_env()
    code = "import sys, time; from pathlib import Path; from orchestration.process import lock\n"
    code += "with lock.at_work('backup', Path('.')): print('.', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=place.folder
    )
    place.held.callback(lambda: (process.kill(), process.communicate()))
    process.stdout.readline()


def requirement(text):
    def arrange(place):
        place.write_env()
        with (place.folder / "install" / "requirements.txt").open("a") as file:
            file.write(f"{text}\n")

    return arrange


NOT_INSTALLED = [
    ("health",), ("health", "--json"), ("logs",), ("trigger", "canary"), ("restart",),
    ("rebuild",), ("airflow", "--", "version"), ("shell",), ("open",),
]  # fmt: skip

# What is arranged, what is typed, words that tell what happened, the way on.
REFUSED = {
    "no engine": (docker, ["install"], "No Docker engine answers (connection", WITH_DOCKER),
    "no engine at up": (docker, ["up"], "No Docker engine answers", WITH_DOCKER),
    "no socket": (no_socket, ["install"], "no such file or directory", WITH_DOCKER),
    "no rights": (no_rights, ["install"], "permission denied", "sudo usermod -aG docker"),
    "the engine is gone": (
        set_to(STACK_ENGINE="docker"), ["up"], "No Docker engine answers", WITH_DOCKER,
    ),
    "a taken port": (taken_port, ["install"], "in use by python", "or set MLFLOW_PORT in"),
    "two clones with equal ports": (
        port_of_another_clone, ["up"], "another clone of this stack in /home/me/other-clone",
        "set AIRFLOW_PORT in .env",
    ),
    "two pages on one port": (equal_ports, ["install"], "must differ", "Change them in .env"),
    "an address elsewhere": (
        far_address, ["install"], "no TLS proxy without Docker", "BIND_ADDRESS=127.0.0.1",
    ),
    "another address without TLS": (
        exported(BIND_ADDRESS="0.0.0.0", STACK_ENGINE="docker"), ["install"],
        "over the network", "Set TLS=on in .env, or BIND_ADDRESS=127.0.0.1",
    ),
    "TLS without Docker": (
        exported(TLS="on", STACK_ENGINE="standalone"), ["up"], "runs on Docker only", "Set TLS=off",
    ),
    "a lost .env": (lost_env, ["up"], "earlier install exists", "inv down --volumes --yes"),
    "a read-only folder": (read_only_folder, ["up"], "cannot be written to", "a clone that"),
    "a full disk": (full_disk, ["install"], "GiB of disk space are free", "Free some"),
    "another at work": (at_work, ["up"], "inv backup (process ", "wait until it has ended"),
    "a word for a port": (exported(AIRFLOW_PORT="http"), ["up"], "is not a port", "1 to 65535"),
    "a word for memory": (exported(WORKER_MEMORY="lots"), ["up"], "WORKER_MEMORY=lots", "2g"),
    "port 0": (exported(STATUS_PORT="0"), ["health"], "STATUS_PORT=0 is not a port", "1 to 65535"),
    "port 70000": (exported(MLFLOW_PORT="70000"), ["up"], "MLFLOW_PORT=70000", "1 to 65535"),
    "no such engine": (exported(STACK_ENGINE="podman"), ["up"], "podman", "docker, standalone"),
    "a bare key": (line("KEY"), ["health"], f"{BEHIND}: KEY has no '='", "write KEY="),
    "a colon": (line("KEY: value"), ["up"], f"{BEHIND}: not of the form", "KEY=value"),
    "a dollar": (line("KEY=a$b"), ["up"], f"{BEHIND}: a $ is expanded", "single quotes"),
    "a dollar in double quotes": (line('KEY="a$b"'), ["up"], f"{BEHIND}: a $", "single quotes"),
    "a backslash": (line(r'KEY="a\b"'), ["install"], f"{BEHIND}: a backslash", "single quotes"),
    "an open quote": (line("KEY='a"), ["logs"], BEHIND, "a quote is not closed"),
    "text behind a quote": (line("KEY='a' b"), ["down"], BEHIND, "after the closing quote"),
    "a comment behind a value": (line("KEY=a # b"), ["up"], BEHIND, "a line of its own"),
    "no text": (line(b"KEY=\xff\xfe\n"), ["health"], BEHIND, "UTF-8"),
    "a webhook that is none": (
        set_to(ALERT_WEBHOOK_URL="hooks.slack.com/T0"), ["up"], "ALERT_WEBHOOK_URL is not a web",
        "https://HOST/",
    ),
    "e-mail without a server": (
        set_to(ALERT_EMAIL_TO="me@example.org"), ["up"], "needs a mail server", "Set SMTP_HOST",
    ),
    "a blank secret": (
        set_to(REDIS_PASSWORD=""), ["health"], "REDIS_PASSWORD is blank", "inv install",
    ),
    "a placeholder": (
        set_to(_AIRFLOW_WWW_USER_PASSWORD="changeme"),  # pragma: allowlist secret
        ["up"], "is a placeholder", "inv install",
    ),
    "a short secret": (
        set_to(AIRFLOW_JWT_SECRET="abc"), ["up"], "is shorter than 16", "inv install",
    ),
    "a Fernet key that is none": (
        set_to(AIRFLOW_FERNET_KEY="a" * 44), ["up"], "is not a Fernet key", "leave it blank",
    ),
    "a secret that breaks an address": (
        set_to(REDIS_PASSWORD="pass@word/with:signs"),  # pragma: allowlist secret
        ["up"], "is part of a URL", "in .env",
    ),
    "an unknown service's logs": (
        installed, ["logs", "-s", "web"], "web is not a service", "Use one of: postgres",
    ),
    "an unknown service to restart": (
        installed, ["restart", "-s", "web"], "web is not a service", "Use one of: postgres",
    ),
    "an unknown service to rebuild": (
        installed, ["rebuild", "-s", "web"], "web is not a service", "of: airflow-apiserver",
    ),
    "a shell nowhere": (installed, ["shell", "-s", "web"], "is not a service", "of: postgres"),
    "a service that is not built": (
        installed, ["rebuild", "-s", "postgres"], "is not built here",
        "Use one of: airflow-apiserver",
    ),
    "a one-shot to restart": (
        installed, ["restart", "-s", "airflow-init"], "runs once", "part of inv up",
    ),
    "nothing to restart": (installed, ["restart"], "is not running", "inv up"),
    "a page that is none": (installed, ["open", "-s", "postgres"], "no web page", "mlflow, status"),
    "a page that is down": (installed, ["open"], "Nothing answers at http://", "inv up"),
    "a shell before the environment": (installed, ["shell"], "is not built", "inv install"),
    "lines that are no number": (
        installed, ["logs", "--tail", "many"], "--tail many", "--tail 100",
    ),
    "since when": (
        installed, ["logs", "--since", "monday"], "--since monday", "30s, 10m, 2h or 1d",
    ),
    "broken JSON": (
        installed, ["trigger", "canary", "--conf", "{seed: 7}"], "is not JSON", "--conf",
    ),
    "JSON of another kind": (
        installed, ["trigger", "canary", "--conf", "[1]"], "must be a JSON object", "--conf '{",
    ),
    "a DAG of a stack that is down": (
        installed, ["trigger", "canary"], "Airflow does not answer", "inv up",
    ),
    "deep and watch": (installed, ["health", "--deep", "--watch"], "--watch", "choose one"),
    "volumes without a yes": (
        installed, ["down", "--volumes"], "deletes all runs", "inv down --volumes --yes",
    ),
    "a requirement that is none": (
        requirement("hello world"), ["rebuild"],
        f"install/requirements.txt {behind('install/requirements.txt')}: hello world",
        "then: inv rebuild",
    ),
    **{
        f"inv {' '.join(argv)} before install": (
            nothing, list(argv), "There is no .env yet.", "inv install",
        )
        for argv in NOT_INSTALLED
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=needs_root if c == "a full disk" else ()) for c in REFUSED]
)
def test_what_is_wrong_is_told_with_the_way_on_and_nothing_is_changed(place, case):
    arrange, argv, happened, way_on = REFUSED[case]
    arrange(place)
    before = place.snapshot()
    done = place.type(*argv)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert happened in done.stderr
    assert way_on in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= MANY_LINES, done.stderr
    assert done.stdout.count("\n") <= 1, done.stdout
    assert place.snapshot() == before


def test_no_secret_is_told_in_a_refusal(place):
    place.write_env(
        REDIS_PASSWORD="s3cr3t@b/ad",  # pragma: allowlist secret
        AIRFLOW_JWT_SECRET="sh0rt",  # pragma: allowlist secret
        ALERT_WEBHOOK_URL="hooks/s3cr3t",
        SMTP_PASSWORD="s3cr3t",  # pragma: allowlist secret
        SMTP_PORT="0",
    )
    done = place.type("up")
    assert done.returncode == 1
    for setting in ("REDIS_PASSWORD", "ALERT_WEBHOOK_URL", "SMTP_PORT"):
        assert setting in done.stderr
    assert "s3cr3t" not in done.stderr + done.stdout
    assert "sh0rt" not in done.stderr + done.stdout


def test_a_weak_secret_keeps_nobody_from_looking(place):
    place.write_env(AIRFLOW_JWT_SECRET="abc")
    assert "is shorter" not in place.type("health").stderr


def test_problems_are_told_all_at_once(place):
    taken_port(place)
    place.export(STATUS_PORT=place.environment["AIRFLOW_PORT"])
    lost_env(place)
    told = place.type("install").stderr.splitlines()
    assert told[0] == "Error: The stack cannot be installed yet. Nothing was changed."
    assert [any(words in line for line in told) for words in ("in use", "differ", "gone")] == [
        True,
        True,
        True,
    ]


class OldEngine:
    """The answers of a Docker engine's version question, on a port of this machine."""

    def __init__(self, web, version):
        web.answers |= {
            f"GET {prefix}/version": (200, {"Version": version, "ApiVersion": "1.41"})
            for prefix in ("", "/v1.41")
        }
        self.address = f"tcp://127.0.0.1:{web.port}"


@pytest.mark.parametrize(
    ("version", "script", "happened", "way_on"),
    [
        ("19.3.1", "echo 2.26.1", "Docker Engine 19.3.1 is older than 20.10", "apt-get install"),
        ("20.10.24", "echo 2.10.2", "Compose 2.10.2 is older than 2.20", WITH_DOCKER),
        ("20.10.24", "exit 1", "`docker compose` does not answer", WITH_DOCKER),
        ("20.10.24", None, "`docker compose` does not answer", WITH_DOCKER),
    ],
)
def test_an_engine_that_is_too_old_or_has_no_compose(place, web, version, script, happened, way_on):
    place.export(STACK_ENGINE="docker", DOCKER_HOST=OldEngine(web, version).address)
    programs = place.folder.parent / "bin"
    programs.mkdir()
    if script:
        (programs / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "docker").chmod(stat.S_IRWXU)
    place.export(PATH=programs)
    before = place.snapshot()
    done = place.type("install")
    assert done.returncode == 1
    assert happened in done.stderr
    assert way_on in done.stderr
    assert len(done.stderr.splitlines()) <= MANY_LINES
    assert place.snapshot() == before


def test_data_without_containers_is_not_left_beside_a_docker_engine_that_came_since(place, web):
    place.export(DOCKER_HOST=OldEngine(web, "20.10.24").address)
    lost_env(place)
    place.environment.pop("STACK_ENGINE")
    done = place.type("install")
    assert "Data of an earlier install exists" in done.stderr
    assert not (place.folder / ".env").exists()
