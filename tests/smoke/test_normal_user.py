"""The first command of the README, on a bare clone, as a person without any rights, no Docker."""

import os
import pwd
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.smoke.conftest import fresh_copy

USER = "mlops-newcomer"
DOCKER_SOCKET = Path("/var/run/docker.sock")
pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="not root: the other tests ran as a normal user already"
)


@pytest.fixture(scope="module")
def newcomer(engine):
    """A clone in the home of an account made for this, taken away with it."""
    assert engine == "standalone"
    # What an administrator prepares; without it the script names this package.
    if subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], check=False).returncode:
        subprocess.run(["apt-get", "install", "-qq", "-y", "python3-venv"], check=True)
    subprocess.run(["useradd", "--create-home", USER], check=False, capture_output=True)
    account = pwd.getpwnam(USER)
    clone = fresh_copy(Path(account.pw_dir) / "stack", engine)
    subprocess.run(["chown", "-R", f"{USER}:", account.pw_dir], check=True)
    yield clone
    run_as_newcomer(clone, ".venv/bin/inv", "down", "--volumes", "--yes")
    subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)


def run_as_newcomer(clone, *argv, **settings):
    account = pwd.getpwnam(USER)
    passed = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "XDG_RUNTIME_DIR")}
    environment = {**passed, **clone.exported, "HOME": account.pw_dir, "USER": USER, **settings}
    environment["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        ["setpriv", f"--reuid={USER}", f"--regid={account.pw_gid}", "--init-groups", *argv],
        cwd=clone.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_the_first_command_of_the_readme_ends_with_the_proof(newcomer):
    done = run_as_newcomer(newcomer, "./install/1st_run_install.sh")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "up and proven in" in done.stdout
    assert (newcomer.folder / ".state" / "postgres" / "PG_VERSION").exists()
    down = run_as_newcomer(newcomer, ".venv/bin/inv", "down")
    assert down.returncode == 0, down.stderr
    assert alive_of(USER) == []


@pytest.mark.skipif(not DOCKER_SOCKET.exists(), reason="no Docker engine is here")
def test_without_rights_on_docker_the_way_to_them_is_told(newcomer):
    before = (newcomer.folder / ".env").read_bytes()
    done = run_as_newcomer(newcomer, ".venv/bin/inv", "install", STACK_ENGINE="docker")
    assert done.returncode == 1
    assert "no Docker engine answers (permission denied)" in done.stderr
    assert "sudo usermod -aG docker" in done.stderr
    assert (newcomer.folder / ".env").read_bytes() == before


def alive_of(user):
    """The command lines of a user's processes; one that ended but was not collected is not one."""
    found = []
    for process in psutil.process_iter(["username", "status", "cmdline"]):
        if process.info["username"] == user and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.info["cmdline"])
    return found
