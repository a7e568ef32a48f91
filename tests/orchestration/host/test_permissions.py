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


@pytest.mark.parametrize(
    ("uid", "why"),
    [
        ("0", "would run Airflow as root"),
        ("00", "would run Airflow as root"),
        ("me", "is not a numeric user id"),
        ("-1", "is not a numeric user id"),
        ("1000:0", "is not a numeric user id"),
    ],
)
def test_uid_problem_rejects_root_and_non_numbers(make_settings, uid, why):
    problem = permissions.uid_problem(make_settings(AIRFLOW_UID=uid))
    assert problem.cause == f"AIRFLOW_UID={uid} {why}."
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


def make_folders(clone, **modes):
    for name, mode in modes.items():
        (clone / name).mkdir()
        (clone / name).chmod(mode)


def mount_problems(make_settings, uid):
    return list(permissions.mount_problems(make_settings(AIRFLOW_UID=uid)))


def test_mount_problems_usable_or_missing_folders_have_none(make_settings, clone):
    assert mount_problems(make_settings, 50000) == []
    make_folders(clone, dags=0o755, logs=0o777, plugins=0o755)
    assert mount_problems(make_settings, 50000) == []


def test_mount_problems_reports_one_command_per_folder(make_settings, clone):
    make_folders(clone, dags=0o700, logs=0o755, plugins=0o755)
    sudo = "sudo " if os.getuid() else ""
    not_allowed = "AIRFLOW_UID=50000 is not allowed to"
    assert [(one.cause, one.fix) for one in mount_problems(make_settings, 50000)] == [
        (f"{not_allowed} read {clone}/dags.", f"chmod -R a+rX {clone}/dags"),
        (f"{not_allowed} write to {clone}/logs.", f"{sudo}chown -R 50000:0 {clone}/logs"),
    ]


def test_mount_problems_own_logs_are_fixed_by_chmod(make_settings, clone):
    make_folders(clone, logs=0o577)
    # In practice uid_problem has rejected root before. Here root is just another owner.
    [problem] = mount_problems(make_settings, os.getuid())
    assert problem.fix == f"chmod -R u+rwX {clone}/logs"
