"""Test wrong use of `inv`: exit code 1 or 2, few lines, the next command, and no change.

The commands run in a copy of the repository. If Docker is needed, a stub acts as an engine that is
too old or has no Compose. tests/e2e tests a real engine.
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
MAX_LINES = 8


def line_after(file):
    """Return the number of a line that is appended to a file of the repository."""
    return f"line {len((ROOT / file).read_text().splitlines()) + 1}"


LAST = line_after(".env.example")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a file system")


@dataclass
class Place:
    """A copy of the repository, its exported variables, and the cleanup after the test."""

    folder: Path
    environment: dict[str, str]
    typist: Any
    cleanup: ExitStack = field(default_factory=ExitStack)

    def export(self, **values):
        self.environment |= {name: str(value) for name, value in values.items()}

    def write_env(self, **values):
        """Write a complete .env, with some values replaced."""
        text, _ = draft_env(Project(self.folder, os.environ))
        for name, value in ({"STACK_ENGINE": "standalone"} | values).items():
            lines = text.splitlines()
            text = "\n".join(f"{name}={value}" if _sets(line, name) else line for line in lines)
        (self.folder / ".env").write_text(text + "\n")

    def append(self, line):
        self.write_env()
        with (self.folder / ".env").open("ab") as file:
            file.write(line if isinstance(line, bytes) else f"{line}\n".encode())

    def type(self, *argv):
        return self.typist.type(*argv, cwd=self.folder, env=self.environment)

    def snapshot(self):
        """Return every file with its content, except the lock, which names the last command."""
        contents = {}
        for path in sorted(self.folder.rglob("*")):
            if "__pycache__" not in path.parts and path.name != ".lock" and path.is_file():
                contents[str(path)] = path.read_bytes()
        return contents

    def listen(self, **environment):
        """Start another program on a port; its environment may identify it. Return the port."""
        code = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
        code += "print(s.getsockname()[1], flush=True); time.sleep(60)"
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.cleanup.callback(lambda: (process.kill(), process.communicate()))
        return int(process.stdout.readline())


def _sets(line, name):
    return line.partition("=")[0] == name


@pytest.fixture
def place(tmp_path, typist):
    """Return a copy without .env, in which no engine answers and nothing listens."""
    folder = tmp_path / "clone"
    parts = ("orchestration", "install", "dags", "tasks.py", ".env.example")
    copy_repository(folder, *parts, compiled=True)
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [str(probe.getsockname()[1]) for probe in probes]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "PYPI_INDEX_URL": "http://127.0.0.1:1/simple",
        **dict(zip(("AIRFLOW_PORT", "MLFLOW_PORT", "STATUS_PORT"), ports, strict=True)),
    }
    place = Place(folder, environment, typist)
    with place.cleanup:
        yield place


# Arrangements before the command


def nothing(place):
    """Leave the clone as it is."""


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
    server = place.cleanup.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    path.chmod(0)
    place.export(STACK_ENGINE="docker", DOCKER_HOST=f"unix://{path}")
    if os.getuid() == 0:
        pytest.skip("root may use every socket; tests/e2e/test_normal_user.py covers this case")


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
    place.cleanup.callback(shutil.rmtree, folder)
    (folder / "postgres" / "PG_VERSION").write_text("16\n")


def read_only_folder(place):
    standalone(place)
    if os.getuid() == 0:
        mount(place, "--bind", str(place.folder), str(place.folder))
        mount(place, "-o", "remount,ro,bind", str(place.folder), undo=False)
    else:
        place.folder.chmod(0o555)
        place.cleanup.callback(place.folder.chmod, 0o755)


def full_disk(place):
    standalone(place)
    disk = place.folder.parent / "small"
    disk.mkdir()
    mount(place, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk))
    shutil.copytree(place.folder, disk / "clone", symlinks=True)
    place.folder = disk / "clone"


def mount(place, *arguments, undo=True):
    subprocess.run(["mount", *arguments], check=True)
    if undo:
        place.cleanup.callback(subprocess.run, ["umount", arguments[-1]], check=True)


def other_command(place):
    place.write_env()
    code = "import sys, time; from pathlib import Path; from orchestration.process import lock\n"
    code += "with lock.acquire('backup', Path('.')): print('.', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=place.folder
    )
    place.cleanup.callback(lambda: (process.kill(), process.communicate()))
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

# By name: the arrangement, the command, words of the cause, words of the next step.
CASES = {
    "no engine": (docker, ["install"], "No Docker engine answers (connection", WITH_DOCKER),
    "no engine at up": (docker, ["up"], "No Docker engine answers", WITH_DOCKER),
    "no socket": (no_socket, ["install"], "no such file or directory", WITH_DOCKER),
    "no rights": (no_rights, ["install"], "permission denied", "sudo usermod -aG docker"),
    "engine is gone": (
        set_to(STACK_ENGINE="docker"), ["up"], "No Docker engine answers", WITH_DOCKER,
    ),
    "port in use": (taken_port, ["install"], "in use by python", "or set MLFLOW_PORT in"),
    "port of another clone": (
        port_of_another_clone, ["up"], "another clone of this stack in /home/me/other-clone",
        "set AIRFLOW_PORT in .env",
    ),
    "same port for two pages": (equal_ports, ["install"], "must differ", "Change them in .env"),
    "network address without Docker": (
        far_address, ["install"], "no TLS proxy without Docker", "BIND_ADDRESS=127.0.0.1",
    ),
    "network address without TLS": (
        exported(BIND_ADDRESS="0.0.0.0", STACK_ENGINE="docker"), ["install"],
        "over the network", "Set TLS=on in .env, or BIND_ADDRESS=127.0.0.1",
    ),
    "TLS without Docker": (
        exported(TLS="on", STACK_ENGINE="standalone"), ["up"], "runs on Docker only", "Set TLS=off",
    ),
    "lost .env": (lost_env, ["up"], "earlier install exists", "inv down --volumes --yes"),
    "read-only folder": (read_only_folder, ["up"], "is not writable", "a clone that"),
    "full disk": (full_disk, ["install"], "GiB of disk space are free", "Free some"),
    "second command": (other_command, ["up"], "inv backup (process ", "Wait until it has finished"),
    "text as port": (exported(AIRFLOW_PORT="http"), ["up"], "is not a port", "1 to 65535"),
    "text as memory": (exported(WORKER_MEMORY="lots"), ["up"], "WORKER_MEMORY=lots", "2g"),
    "port 0": (exported(STATUS_PORT="0"), ["health"], "STATUS_PORT=0 is not a port", "1 to 65535"),
    "port 70000": (exported(MLFLOW_PORT="70000"), ["up"], "MLFLOW_PORT=70000", "1 to 65535"),
    "unknown engine": (exported(STACK_ENGINE="podman"), ["up"], "podman", "docker, standalone"),
    "key only": (line("KEY"), ["health"], f"{LAST}: KEY has no '='", "write KEY="),
    "colon": (line("KEY: value"), ["up"], f"{LAST}: not of the form", "KEY=value"),
    "dollar": (line("KEY=a$b"), ["up"], f"{LAST}: a $ is expanded", "single quotes"),
    "dollar in double quotes": (line('KEY="a$b"'), ["up"], f"{LAST}: a $", "single quotes"),
    "backslash": (line(r'KEY="a\b"'), ["install"], f"{LAST}: a backslash", "single quotes"),
    "unclosed quote": (line("KEY='a"), ["logs"], LAST, "a quote is not closed"),
    "text after quote": (line("KEY='a' b"), ["down"], LAST, "after the closing quote"),
    "comment after value": (line("KEY=a # b"), ["up"], LAST, "a line of its own"),
    "binary line": (line(b"KEY=\xff\xfe\n"), ["health"], LAST, "UTF-8"),
    "invalid webhook": (
        set_to(ALERT_WEBHOOK_URL="hooks.slack.com/T0"), ["up"], "ALERT_WEBHOOK_URL is not a web",
        "https://HOST/",
    ),
    "e-mail without server": (
        set_to(ALERT_EMAIL_TO="me@example.org"), ["up"], "needs a mail server", "Set SMTP_HOST",
    ),
    "blank secret": (
        set_to(REDIS_PASSWORD=""), ["health"], "REDIS_PASSWORD is blank", "inv install",
    ),
    "placeholder as secret": (
        set_to(_AIRFLOW_WWW_USER_PASSWORD="changeme"),  # pragma: allowlist secret
        ["up"], "is a placeholder", "inv install",
    ),
    "short secret": (
        set_to(AIRFLOW_JWT_SECRET="abc"), ["up"], "is shorter than 16", "inv install",
    ),
    "invalid Fernet key": (
        set_to(AIRFLOW_FERNET_KEY="a" * 44), ["up"], "is not a Fernet key", "leave it blank",
    ),
    "secret that breaks a URL": (
        set_to(REDIS_PASSWORD="pass@word/with:signs"),  # pragma: allowlist secret
        ["up"], "is part of a URL", "in .env",
    ),
    "logs of unknown service": (
        installed, ["logs", "-s", "web"], "web is not a service", "Use one of: postgres",
    ),
    "restart of unknown service": (
        installed, ["restart", "-s", "web"], "web is not a service", "Use one of: postgres",
    ),
    "rebuild of unknown service": (
        installed, ["rebuild", "-s", "web"], "web is not a service", "of: airflow-apiserver",
    ),
    "shell in no service": (installed, ["shell", "-s", "web"], "is not a service", "of: postgres"),
    "rebuild of public image": (
        installed, ["rebuild", "-s", "postgres"], "is not built here",
        "Use one of: airflow-apiserver",
    ),
    "restart of init job": (
        installed, ["restart", "-s", "airflow-init"], "runs once", "part of inv up",
    ),
    "restart of stopped stack": (installed, ["restart"], "is not running", "inv up"),
    "unknown page": (installed, ["open", "-s", "postgres"], "no web page", "mlflow, status"),
    "page is down": (installed, ["open"], "Nothing answers at http://", "inv up"),
    "shell before build": (installed, ["shell"], "is not built", "inv install"),
    "text as tail": (
        installed, ["logs", "--tail", "many"], "--tail many", "--tail 100",
    ),
    "invalid since": (
        installed, ["logs", "--since", "monday"], "--since monday", "30s, 10m, 2h or 1d",
    ),
    "invalid JSON": (
        installed, ["trigger", "canary", "--conf", "{seed: 7}"], "is not JSON", "--conf",
    ),
    "JSON but no object": (
        installed, ["trigger", "canary", "--conf", "[1]"], "must be a JSON object", "--conf '{",
    ),
    "invalid date": (
        installed, ["trigger", "canary", "--date", "nonsense"], "not a date", "--date 2026-01-31",
    ),
    "trigger on stopped stack": (
        installed, ["trigger", "canary"], "Airflow does not answer", "inv up",
    ),
    "deep with watch": (
        installed, ["health", "--deep", "--watch"], "combined", "Run: inv health --deep",
    ),
    "volumes without yes": (
        installed, ["down", "--volumes"], "deletes all runs", "inv down --volumes --yes",
    ),
    "invalid requirement": (
        requirement("hello world"), ["rebuild"],
        f"install/requirements.txt {line_after('install/requirements.txt')}: hello world",
        "then run: inv rebuild",
    ),
    **{
        f"inv {' '.join(argv)} before install": (
            nothing, list(argv), "There is no .env yet.", "inv install",
        )
        for argv in NOT_INSTALLED
    },
}  # fmt: skip

# Cases in which an argument is invalid whatever the state of the stack: exit code 2.
WRONG_ARGUMENTS = {
    "logs of unknown service",
    "restart of unknown service",
    "rebuild of unknown service",
    "shell in no service",
    "rebuild of public image",
    "restart of init job",
    "unknown page",
    "text as tail",
    "invalid since",
    "invalid JSON",
    "JSON but no object",
    "invalid date",
    "deep with watch",
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=needs_root if c == "full disk" else ()) for c in CASES]
)
def test_wrong_use_names_the_next_step_and_changes_nothing(place, case):
    arrange, argv, cause, next_step = CASES[case]
    arrange(place)
    before = place.snapshot()
    done = place.type(*argv)
    assert done.returncode == (2 if case in WRONG_ARGUMENTS else 1), done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert cause in done.stderr
    assert next_step in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= MAX_LINES, done.stderr
    assert done.stdout.count("\n") <= 1, done.stdout
    assert place.snapshot() == before


def test_error_message_contains_no_secret(place):
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


def test_health_with_weak_secret_is_allowed(place):
    place.write_env(AIRFLOW_JWT_SECRET="abc")
    assert "is shorter" not in place.type("health").stderr


def test_install_reports_all_problems_at_once(place):
    taken_port(place)
    place.export(STATUS_PORT=place.environment["AIRFLOW_PORT"])
    lost_env(place)
    lines = place.type("install").stderr.splitlines()
    assert lines[0] == "Error: The stack cannot be installed yet. Nothing was changed."
    assert [any(words in line for line in lines) for words in ("in use", "differ", "gone")] == [
        True,
        True,
        True,
    ]


class OldEngine:
    """Answer version requests like a Docker engine, on a port of this machine."""

    def __init__(self, web, version):
        web.answers |= {
            f"GET {prefix}/version": (200, {"Version": version, "ApiVersion": "1.41"})
            for prefix in ("", "/v1.41")
        }
        web.answers["GET /v1.41/info"] = (200, {})
        self.address = f"tcp://127.0.0.1:{web.port}"


@pytest.mark.parametrize(
    ("version", "script", "cause", "next_step"),
    [
        ("19.3.1", "echo 2.26.1", "Docker Engine 19.3.1 is older than 20.10", "apt-get install"),
        ("20.10.24", "echo 2.10.2", "Compose 2.10.2 is older than 2.20", WITH_DOCKER),
        ("20.10.24", "exit 1", "Compose v2 is not available", WITH_DOCKER),
        ("20.10.24", None, "Compose v2 is not available", WITH_DOCKER),
    ],
)
def test_old_engine_or_compose_is_reported(place, web, version, script, cause, next_step):
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
    assert cause in done.stderr
    assert next_step in done.stderr
    assert len(done.stderr.splitlines()) <= MAX_LINES
    assert place.snapshot() == before


def test_install_with_new_docker_refuses_if_standalone_data_exists(place, web):
    place.export(DOCKER_HOST=OldEngine(web, "20.10.24").address)
    lost_env(place)
    place.environment.pop("STACK_ENGINE")
    done = place.type("install")
    assert "Data of an earlier install exists" in done.stderr
    assert not (place.folder / ".env").exists()
