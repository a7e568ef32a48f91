"""Who may write where: real folders, some of them shut, and owners of paper."""

import os
from types import SimpleNamespace

import pytest

from orchestration.host import permissions


@pytest.fixture
def shut(monkeypatch):
    """Folders that this user may not write to, root too; the others are asked of the system."""
    shut, real = set(), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path not in shut and real(path, mode))
    return shut


def test_a_clone_that_can_be_written_to_is_no_problem(make_settings, clone):
    (clone / "install").mkdir()
    assert permissions.folder_problems(make_settings()) == []


@pytest.mark.parametrize("name", [".", "install"])
def test_clone_and_locks_must_be_writable(make_settings, clone, shut, name):
    (clone / "install").mkdir()
    shut.add(clone / name)
    [problem] = permissions.folder_problems(make_settings())
    assert problem.cause == f"{clone / name} is not writable for you."
    assert problem.fix == f"sudo chown -R $USER {clone / name}"
    assert problem.code == "folder-rights"


def test_a_folder_that_is_mended_with_the_one_around_it_is_not_told(make_settings, clone, shut):
    (clone / "install").mkdir()
    shut |= {clone, clone / "install"}
    [problem] = permissions.folder_problems(make_settings())
    assert problem.cause.startswith(f"{clone} is not writable")


def test_folders_that_must_be_made_need_a_writable_place(make_settings, tmp_path, shut):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    shut.add(elsewhere)
    chosen = make_settings(AIRFLOW_PROJ_DIR=elsewhere / "not" / "made")
    [problem] = permissions.folder_problems(chosen)
    assert problem.fix == f"sudo chown -R $USER '{elsewhere}'"


def test_folders_that_are_there_need_none(make_settings, tmp_path, shut):
    for name in ("dags", "logs", "plugins"):
        (tmp_path / "project" / name).mkdir(parents=True)
    shut.add(tmp_path / "project")
    assert permissions.folder_problems(make_settings(AIRFLOW_PROJ_DIR=tmp_path / "project")) == []


def test_a_read_only_mount_is_told_as_such(make_settings, clone, shut, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    shut.add(clone)
    [problem] = permissions.folder_problems(make_settings())
    assert problem.cause == f"{clone} is on a read-only file system."


def test_the_nearest_folder_that_exists_is_found(tmp_path):
    assert permissions.nearest(tmp_path) == tmp_path
    assert permissions.nearest(tmp_path / "a" / "b") == tmp_path


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
def test_airflow_needs_a_user_that_is_not_root(make_settings, uid, why):
    problem = permissions.uid_problem(make_settings(AIRFLOW_UID=uid))
    assert problem.cause == f"AIRFLOW_UID={uid} {why}."
    assert problem.code == "uid-unusable"


def test_any_other_user_is_fine(make_settings):
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
        # The class that fits first decides, also against a later one.
        (8, 0, 0o707, False),
    ],
)
def test_rights_are_those_of_the_user_in_group_0(owner, group, mode, allowed, monkeypatch):
    monkeypatch.setattr(os, "listxattr", lambda path: [], raising=False)
    held = SimpleNamespace(st_uid=owner, st_gid=group, st_mode=0o040000 | mode)
    assert permissions.permits(SimpleNamespace(stat=lambda: held), 7, 0o7) is allowed


def test_an_access_list_is_taken_for_the_persons_intent(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    assert not permissions.permits(tmp_path, os.getuid() + 1, 0o7)
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    assert permissions.permits(tmp_path, os.getuid() + 1, 0o7)


def project(clone, **modes):
    for name, mode in modes.items():
        (clone / name).mkdir()
        (clone / name).chmod(mode)


def mount_problems(make_settings, uid):
    return list(permissions.mount_problems(make_settings(AIRFLOW_UID=uid)))


def test_folders_that_airflow_may_use_or_that_are_not_made_are_no_problem(make_settings, clone):
    assert mount_problems(make_settings, 50000) == []
    project(clone, dags=0o755, logs=0o777, plugins=0o755)
    assert mount_problems(make_settings, 50000) == []


def test_folders_that_airflow_may_not_use_are_told_with_one_command_each(make_settings, clone):
    project(clone, dags=0o700, logs=0o755, plugins=0o755)
    sudo = "sudo " if os.getuid() else ""
    not_allowed = "AIRFLOW_UID=50000 is not allowed to"
    assert [(one.cause, one.fix) for one in mount_problems(make_settings, 50000)] == [
        (f"{not_allowed} read {clone}/dags.", f"chmod -R a+rX {clone}/dags"),
        (f"{not_allowed} write to {clone}/logs.", f"{sudo}chown -R 50000:0 {clone}/logs"),
    ]


def test_logs_of_airflows_own_user_are_mended_by_their_mode(make_settings, clone):
    project(clone, logs=0o577)
    # Root is refused by uid_problem before; here it stands for any owner.
    [problem] = mount_problems(make_settings, os.getuid())
    assert problem.fix == f"chmod -R u+rwX {clone}/logs"
