"""Run the README's first command in a new clone, without Docker, as a user without privileges."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.e2e.clone import CLONES, Clone, fresh_copy

USER = "mlops-newcomer"
DOCKER_SOCKET = Path("/var/run/docker.sock")
# Variables of this process that a login of the account does not have.
NOT_PASSED = ("VIRTUAL_ENV", "XDG_RUNTIME_DIR")
pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="not root, so the other tests already ran as a normal user"
)


class Newcomer(Clone):
    """A clone in the home folder of an account that exists only for this test."""

    def run(self, *argv, timeout=900, **settings):
        """Run a command as that account, with the environment of a fresh login."""
        account = pwd.getpwnam(USER)
        passed = {k: v for k, v in self.environment(**settings).items() if k not in NOT_PASSED}
        path = f"{self.folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
        groups = (f"--reuid={USER}", f"--regid={account.pw_gid}", "--init-groups")
        return subprocess.run(
            ["setpriv", *groups, *argv],
            cwd=self.folder,
            env={**passed, "HOME": account.pw_dir, "USER": USER, "PATH": path},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def state_folder(self):
        return self.folder / ".state"

    def remove(self):
        self.run("inv", "down", "--volumes", "--yes")
        CLONES.remove(self)
        # `userdel --remove` takes four times as long for 100,000 files.
        shutil.rmtree(pwd.getpwnam(USER).pw_dir)
        subprocess.run(["userdel", USER], check=True, capture_output=True)


@pytest.fixture(scope="module")
def newcomer(engine):
    """Return a clone of a new account, and remove both at the end."""
    assert engine == "standalone"
    # An administrator has to install this package. The script names it if it is missing.
    if subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], check=False).returncode:
        subprocess.run(["apt-get", "install", "-qq", "-y", "python3-venv"], check=True)
    subprocess.run(["useradd", "--create-home", USER], check=False, capture_output=True)
    home = pwd.getpwnam(USER).pw_dir
    clone = fresh_copy(Path(home) / "stack", engine, Newcomer)
    subprocess.run(["chown", "-R", f"{USER}:", home], check=True)
    yield clone
    clone.remove()


def test_readme_command_starts_a_verified_stack(newcomer):
    output = newcomer.run_ok("./install/1st_run_install.sh")
    assert "Started and verified in" in output
    assert (newcomer.folder / ".state" / "postgres" / "PG_VERSION").exists()
    newcomer.run_ok("inv", "down")
    assert command_lines_of(USER) == []


@pytest.mark.skipif(not DOCKER_SOCKET.exists(), reason="no Docker engine is here")
def test_install_without_docker_permission_prints_the_fix(newcomer):
    before = (newcomer.folder / ".env").read_bytes()
    done = newcomer.run("inv", "install", STACK_ENGINE="docker")
    assert done.returncode == 1
    assert "No Docker engine answers (permission denied)" in done.stderr
    assert "sudo usermod -aG docker" in done.stderr
    assert (newcomer.folder / ".env").read_bytes() == before


def command_lines_of(user):
    """Return the command lines of a user's processes, except zombies."""
    command_lines = []
    for process in psutil.process_iter(["username", "status", "cmdline"]):
        if process.info["username"] == user and process.info["status"] != psutil.STATUS_ZOMBIE:
            command_lines.append(process.info["cmdline"])
    return command_lines
