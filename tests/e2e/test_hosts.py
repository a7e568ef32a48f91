"""Install and start a clone on a hardened host, whose umask closes new files to other users."""

import os
from pathlib import Path

import pytest

from tests.e2e.clone import fresh_copy


@pytest.fixture(scope="module", params=[0o027, 0o077], ids=["027", "077"])
def hardened(request, engine, tmp_path_factory):
    """Return a clone as `git clone` creates it with a strict umask, and remove it at the end."""
    folder = tmp_path_factory.mktemp("hardened") / "clone"
    clone = fresh_copy(folder, engine)
    clone.umask = request.param
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o777 & ~clone.umask)
    yield clone
    clone.remove()


def test_up_starts_a_verified_stack(hardened):
    assert "Started and verified in" in hardened.run_ok("inv", "up")
    assert hardened.health()["status"] == "healthy"


def test_clone_and_secrets_stay_closed(hardened):
    closed = (hardened.folder, hardened.folder / ".env")
    assert [path.stat().st_mode & 0o007 for path in closed] == [0, 0]


def test_doctor_finds_nothing(hardened):
    assert hardened.run_ok("inv", "doctor") == "No known problems. All services are healthy.\n"


def test_pulled_configuration_is_opened_by_the_next_start(hardened, engine):
    if engine == "standalone":
        pytest.skip("its services read the configuration as the owner of the clone")
    script = hardened.folder / "orchestration/config/redis-server/start.sh"
    script.chmod(0o600)
    report = hardened.run("inv", "doctor").stdout
    assert report.startswith("folder-rights (machine): Containers are not allowed to read")
    assert str(script) in report
    assert "Run: inv up" in report
    hardened.run_ok("inv", "up")
    assert script.stat().st_mode & 0o777 == 0o644


def test_rebuild_and_down_work(hardened):
    hardened.run_ok("inv", "rebuild", "-s", "status")
    hardened.run_ok("inv", "down")


def test_systemd_prints_units_of_this_clone_and_engine(hardened):
    text = hardened.run_ok("inv", "systemd")
    project = hardened.setting("COMPOSE_PROJECT_NAME")
    for name in ("stack-{}.service", "backup-{}.service", "backup-{}.timer"):
        assert f"# /etc/systemd/system/mlops-{name.format(project)}\n" in text
    assert f"WorkingDirectory={hardened.folder}" in text
    assert ("docker.service" in text) is (hardened.engine == "docker")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can install units")
@pytest.mark.skipif(not Path("/run/systemd/system").exists(), reason="systemd does not run here")
def test_systemd_units_of_this_clone_can_be_installed_and_removed(hardened):
    project = hardened.setting("COMPOSE_PROJECT_NAME")
    units = Path("/etc/systemd/system")
    try:
        hardened.run_ok("inv", "systemd", "--install")
        assert len([*units.glob(f"mlops-*-{project}.*")]) == 3
        hardened.run_ok("systemctl", "is-enabled", f"mlops-stack-{project}.service")
    finally:
        hardened.run("systemctl", "disable", f"mlops-stack-{project}.service",
                     f"mlops-backup-{project}.timer")  # fmt: skip
        for path in units.glob(f"mlops-*-{project}.*"):
            path.unlink()
        hardened.run("systemctl", "daemon-reload")
