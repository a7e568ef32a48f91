"""The first command of the README, on a bare clone, as a person without any rights, no Docker."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.e2e.clone import STANDING, Clone, fresh_copy

USER = "mlops-newcomer"
DOCKER_SOCKET = Path("/var/run/docker.sock")
# What the shell that runs these tests has and a login of that account has not.
OURS = ("VIRTUAL_ENV", "XDG_RUNTIME_DIR")
pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="not root: the other tests ran as a normal user already"
)


class Newcomer(Clone):
    """A clone in the home of an account made for this."""

    def run(self, *argv, timeout=900, **settings):
        """Run a command as that account, after a login without anything of ours on the way."""
        account = pwd.getpwnam(USER)
        passed = {k: v for k, v in self.environment(**settings).items() if k not in OURS}
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
        STANDING.remove(self)
        # `userdel --remove` takes four times as long to delete 100,000 files.
        shutil.rmtree(pwd.getpwnam(USER).pw_dir)
        subprocess.run(["userdel", USER], check=True, capture_output=True)


@pytest.fixture(scope="module")
def newcomer(engine):
    """Taken away with its account."""
    assert engine == "standalone"
    # What an administrator prepares; without it the script names this package.
    if subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], check=False).returncode:
        subprocess.run(["apt-get", "install", "-qq", "-y", "python3-venv"], check=True)
    subprocess.run(["useradd", "--create-home", USER], check=False, capture_output=True)
    home = pwd.getpwnam(USER).pw_dir
    clone = fresh_copy(Path(home) / "stack", engine, Newcomer)
    subprocess.run(["chown", "-R", f"{USER}:", home], check=True)
    yield clone
    clone.remove()


def test_the_first_command_of_the_readme_ends_with_the_proof(newcomer):
    output = newcomer.well("./install/1st_run_install.sh")
    assert "up and proven in" in output
    assert (newcomer.folder / ".state" / "postgres" / "PG_VERSION").exists()
    newcomer.well("inv", "down")
    assert alive_of(USER) == []


@pytest.mark.skipif(not DOCKER_SOCKET.exists(), reason="no Docker engine is here")
def test_without_rights_on_docker_the_way_to_them_is_told(newcomer):
    before = (newcomer.folder / ".env").read_bytes()
    done = newcomer.run("inv", "install", STACK_ENGINE="docker")
    assert done.returncode == 1
    assert "No Docker engine answers (permission denied)" in done.stderr
    assert "sudo usermod -aG docker" in done.stderr
    assert (newcomer.folder / ".env").read_bytes() == before


def alive_of(user):
    """The command lines of a user's processes; one that ended but was not collected is not one."""
    found = []
    for process in psutil.process_iter(["username", "status", "cmdline"]):
        if process.info["username"] == user and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.info["cmdline"])
    return found
