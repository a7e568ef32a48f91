"""Test permission checks with real folders, and fakes for other owners."""

import os
from types import SimpleNamespace

import pytest

from orchestration.host import permissions


@pytest.fixture
def unwritable(monkeypatch):
    """Return a set of folders that count as not writable, even for root."""
    folders, access = set(), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path not in folders and access(path, mode))
    return folders


def test_folder_problems_writable_clone_has_none(make_settings, clone):
    (clone / "install").mkdir()
    assert permissions.folder_problems(make_settings()) == []


@pytest.mark.parametrize("name", [".", "install"])
def test_folder_problems_reports_unwritable_folder(make_settings, clone, unwritable, name):
    (clone / "install").mkdir()
    unwritable.add(clone / name)
    [problem] = permissions.folder_problems(make_settings())
    assert problem.cause == f"{clone / name} is not writable for you."
    assert problem.fix == f"sudo chown -R $USER {clone / name}"
    assert problem.code == "folder-rights"


def test_folder_problems_reports_parent_only(make_settings, clone, unwritable):
    (clone / "install").mkdir()
    unwritable |= {clone, clone / "install"}
    [problem] = permissions.folder_problems(make_settings())
    assert problem.cause.startswith(f"{clone} is not writable")


def test_folder_problems_missing_mounts_need_writable_parent(make_settings, tmp_path, unwritable):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    unwritable.add(elsewhere)
    settings = make_settings(AIRFLOW_PROJ_DIR=elsewhere / "not" / "made")
    [problem] = permissions.folder_problems(settings)
    assert problem.fix == f"sudo chown -R $USER '{elsewhere}'"


def test_folder_problems_existing_mounts_need_no_writable_parent(
    make_settings, tmp_path, unwritable
):
    for name in ("dags", "logs", "plugins"):
        (tmp_path / "project" / name).mkdir(parents=True)
    unwritable.add(tmp_path / "project")
    assert permissions.folder_problems(make_settings(AIRFLOW_PROJ_DIR=tmp_path / "project")) == []


def test_folder_problems_names_read_only_file_system(make_settings, clone, unwritable, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    unwritable.add(clone)
    [problem] = permissions.folder_problems(make_settings())
    assert problem.cause == f"{clone} is on a read-only file system."


def test_nearest_existing_returns_folder_or_parent(tmp_path):
    assert permissions.nearest_existing(tmp_path) == tmp_path
    assert permissions.nearest_existing(tmp_path / "a" / "b") == tmp_path


# Airflow's user in mounted folders


@pytest.mark.parametrize("uid", ["0", "00"])
def test_uid_problem_rejects_root(make_settings, uid):
    problem = permissions.uid_problem(make_settings(AIRFLOW_UID=uid))
    assert problem.cause == f"AIRFLOW_UID={uid} would run Airflow as root."
    assert problem.code == "uid-unusable"


def test_uid_problem_accepts_any_other_user(make_settings):
    assert permissions.uid_problem(make_settings(AIRFLOW_UID="50000")) is None


@pytest.mark.parametrize(
    ("owner", "group", "mode", "allowed"),
    [
        (7, 5, 0o700, True),
        (7, 0, 0o077, False),
        (8, 0, 0o770, True),
        (8, 0, 0o755, False),
        (8, 5, 0o775, False),
        (8, 5, 0o777, True),
        # The first matching class decides, even if a later one would allow more.
        (8, 0, 0o707, False),
    ],
)
def test_permits_decides_as_the_kernel_for_group_0(owner, group, mode, allowed, monkeypatch):
    monkeypatch.setattr(os, "listxattr", lambda path: [], raising=False)
    status = SimpleNamespace(st_uid=owner, st_gid=group, st_mode=0o040000 | mode)
    assert permissions.permits(SimpleNamespace(stat=lambda: status), 7, 0o7) is allowed


def test_permits_trusts_access_control_lists(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    assert not permissions.permits(tmp_path, os.getuid() + 1, 0o7)
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    assert permissions.permits(tmp_path, os.getuid() + 1, 0o7)


def log_problems(make_settings, uid):
    return list(permissions.log_problems(make_settings(AIRFLOW_UID=uid)))


def make_logs(clone, mode):
    (clone / "logs").mkdir()
    (clone / "logs").chmod(mode)


def test_log_problems_usable_or_missing_folder_has_none(make_settings, clone):
    assert log_problems(make_settings, 50000) == []
    make_logs(clone, 0o777)
    assert log_problems(make_settings, 50000) == []


def test_log_problems_reports_one_command(make_settings, clone):
    make_logs(clone, 0o755)
    sudo = "sudo " if os.getuid() else ""
    [problem] = log_problems(make_settings, 50000)
    assert problem.cause == f"AIRFLOW_UID=50000 is not allowed to write to {clone}/logs."
    assert problem.fix == f"{sudo}chown -R 50000:0 {clone}/logs"


def test_log_problems_own_logs_are_fixed_by_chmod(make_settings, clone, monkeypatch):
    make_logs(clone, 0o577)
    owner = (clone / "logs").stat().st_uid
    assert permissions._fix(clone / "logs", owner) == f"chmod -R u+rwX {clone}/logs"
