"""Test with real files that containers can read a clone that was made with any umask."""

import os
from pathlib import Path
from stat import S_IMODE

import pytest

from orchestration.errors import StackError
from orchestration.host import file_modes
from tests.support.repository import ROOT

# User and group of PostgreSQL, MLflow, the status page and Airflow in their containers.
USERS = {"postgres": (999, 999), "mlflow": (50001, 0), "airflow": (50000, 0)}
FOLDERS = ("orchestration/config", "status", "install/base", "dags/ml")


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=["022", "027", "077"])
def umask(request):
    """Return a umask that holds during the test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def fill(clone):
    """Create files in a clone as Git does, with the umask of this process."""
    for name in FOLDERS:
        (clone / name).mkdir(parents=True)
        (clone / name / "code.py").write_text("")
    start = clone / "orchestration/config/start.sh"
    start.touch(0o777)
    (clone / "install/uv.lock").touch()
    (clone / ".env").touch()
    (clone / "dags/.airflowignore").touch()
    (clone / "dags/key.pem").touch(0o600)


def may_read(path, user):
    """Return whether a user may read a file, or list and enter a folder, as the kernel decides."""
    uid, gid = USERS[user]
    status, needed = path.stat(), 0o5 if path.is_dir() else 0o4
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return (status.st_mode >> shift) & needed == needed


def unreadable(clone, folder, user):
    paths = [clone / folder, *(clone / folder).rglob("*")]
    return [path for path in paths if not may_read(path, user)]


def test_open_files_lets_every_service_read_the_configuration(umask, clone, make_settings):
    fill(clone)
    file_modes.open_files(make_settings(AIRFLOW_UID=os.getuid() or 50000))
    for user in USERS:
        assert unreadable(clone, "orchestration/config", user) == []


def test_open_files_gives_clones_the_same_modes(umask, clone, make_settings):
    fill(clone)
    file_modes.open_files(make_settings(AIRFLOW_UID=os.getuid() or 50000))
    paths = [path for name in FOLDERS[:3] for path in (clone / name, *(clone / name).rglob("*"))]
    modes = {S_IMODE(path.stat().st_mode) for path in (*paths, clone / "install/uv.lock")}
    assert modes == {0o755, 0o644}
    assert S_IMODE((clone / "orchestration/config/start.sh").stat().st_mode) == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root's files have the group 0 of containers")
def test_open_files_lets_airflow_alone_read_dags_of_root(umask, clone, make_settings):
    fill(clone)
    before = S_IMODE((clone / "dags/ml/code.py").stat().st_mode) & 0o007
    settings = make_settings(AIRFLOW_UID=50000)
    file_modes.open_files(settings)
    code = [path for path in unreadable(clone, "dags", "airflow") if path.name != "key.pem"]
    assert code == []
    assert S_IMODE((clone / "dags/ml/code.py").stat().st_mode) & 0o007 == before
    assert list(file_modes.problems(settings)) == list(file_modes.unopened(settings)) == []


def test_open_files_keeps_secrets_and_the_folder_of_the_clone_closed(clone, make_settings):
    before = os.umask(0o077)
    try:
        fill(clone)
    finally:
        os.umask(before)
    clone.chmod(0o700)
    file_modes.open_files(make_settings(AIRFLOW_UID=os.getuid() or 50000))
    closed = [clone, clone / ".env", clone / "dags/key.pem"]
    assert [S_IMODE(path.stat().st_mode) & 0o077 for path in closed] == [0, 0, 0]


def test_open_files_changes_nothing_if_all_is_readable(clone, make_settings):
    fill(clone)
    settings = make_settings(AIRFLOW_UID=os.getuid() or 50000)
    file_modes.open_files(settings)
    before = {path: path.lstat().st_ctime_ns for path in clone.rglob("*")}
    file_modes.open_files(settings)
    assert {path: path.lstat().st_ctime_ns for path in clone.rglob("*")} == before


@pytest.fixture
def foreign(clone, monkeypatch):
    """A clone with a umask of 077 that belongs to another user than this process."""
    before = os.umask(0o077)
    try:
        fill(clone)
    finally:
        os.umask(before)
    owner = clone.stat().st_uid
    monkeypatch.setattr(file_modes.os, "getuid", lambda: owner + 4321)

    def refuse(path, mode):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refuse)
    return clone


def test_problems_names_all_foreign_files_with_one_command(foreign, make_settings):
    [problem] = file_modes.problems(make_settings(AIRFLOW_UID="1234567"))
    assert problem.code == "folder-rights"
    assert problem.cause.startswith(
        f"Containers are not allowed to read {foreign}/orchestration/config, "
    )
    assert problem.cause.endswith(" more.")
    folders = f"{foreign}/orchestration/config {foreign}/dags"
    assert problem.fix == f"sudo chmod -R a+rX {folders}"


def test_open_files_of_another_user_raises_with_the_command(foreign, make_settings):
    with pytest.raises(StackError, match="Run: sudo chmod -R a\\+rX") as error:
        file_modes.open_files(make_settings(AIRFLOW_UID="1234567"))
    assert f"{foreign}/dags" not in str(error.value), "a DAG does not prevent a start"


def test_unopened_are_files_that_the_next_start_opens(clone, make_settings):
    fill(clone)
    (clone / "orchestration/config/code.py").chmod(0o600)
    settings = make_settings(AIRFLOW_UID=os.getuid() or 50000)
    [problem] = file_modes.unopened(settings)
    assert problem.fix == "inv up"
    assert f"{clone}/orchestration/config/code.py" in problem.cause
    assert list(file_modes.problems(settings)) == []
    file_modes.open_files(settings)
    assert list(file_modes.unopened(settings)) == []


def test_folders_exist_in_the_repository():
    patterns = (*file_modes.OF_REPOSITORY, *file_modes.OF_IMAGES)
    assert all([*ROOT.glob(pattern)] for pattern in patterns)


def test_open_tree_opens_what_the_owner_may_read(tmp_path):
    (tmp_path / "bin").mkdir(0o700)
    (tmp_path / "bin/postgres").touch(0o700)
    (tmp_path / "link").symlink_to("nowhere")
    file_modes.open_tree(tmp_path)
    assert S_IMODE((tmp_path / "bin").stat().st_mode) == 0o755
    assert S_IMODE((tmp_path / "bin/postgres").stat().st_mode) == 0o755
