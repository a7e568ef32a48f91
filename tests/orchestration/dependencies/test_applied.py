"""Test finding changed packages that the build in use does not have."""

import pytest

from orchestration.dependencies import applied

LOCK = "pandas==2.1.4\nrich==14.0.0\n"


@pytest.fixture
def install(clone):
    """A clone whose packages match its locks."""
    folder = clone / "install"
    (folder / "wheels").mkdir(parents=True)
    (folder / "requirements.txt").write_text("# ours\npandas<3\nrich\n")
    (folder / "packages.txt").write_text("libgomp1\n")
    (folder / "requirements.lock").write_text(LOCK)
    return folder


@pytest.fixture
def settings(make_settings, install):
    """Settings of that clone, after its build."""
    settings = make_settings()
    applied.record(settings)
    return settings


def test_changes_of_comments_and_order_do_not_count(settings, install):
    (install / "requirements.txt").write_text("rich # why\n\n# other\npandas<3\n")
    (install / "packages.txt").write_text("# why\nlibgomp1 # lightgbm\n")
    (install / "requirements.lock").write_text(f"# header\n{LOCK}")
    assert applied.changes(settings) == []
    assert list(applied.problems(settings)) == []


@pytest.mark.parametrize(
    ("file", "text", "change"),
    [
        ("requirements.txt", "pandas<3\nrich\nfoo\n", "install/requirements.txt line 3: foo"),
        ("requirements.txt", "pandas<3\nrich[all]\n", "install/requirements.txt line 2: rich[all]"),
        ("requirements.txt", "pandas<3\n", "rich was removed from install/requirements.txt"),
        ("packages.txt", "libgomp1\nlibgl1\n", "install/packages.txt line 2: libgl1"),
        ("packages.txt", "", "libgomp1 was removed from install/packages.txt"),
        (
            "requirements.lock",
            "pandas==2.2.0\nrich==14.0.0\n",
            "install/airflow.lock or install/requirements.lock",
        ),
    ],
)
def test_changes_returns_each_change_until_it_is_recorded(settings, install, file, text, change):
    (install / file).write_text(text)
    assert change in applied.changes(settings)
    (problem,) = applied.problems(settings)
    assert change in problem.cause
    assert problem.fix == "inv rebuild"


def test_changed_wheel_of_the_same_name_is_a_change(settings, install):
    wheel = "./wheels/colleague-1.0-py3-none-any.whl"
    (install / wheel).write_bytes(b"1")
    (install / "requirements.txt").write_text(f"{wheel}\n")
    (install / "requirements.lock").write_text(f"{wheel} \\\n")
    applied.record(settings)
    assert applied.changes(settings) == []
    (install / wheel).write_bytes(b"2")
    assert applied.changes(settings) == [f"install/requirements.txt line 1: {wheel}"]


def test_record_leaves_out_lines_that_the_lock_does_not_satisfy(settings, install):
    (install / "requirements.txt").write_text("pandas<3\nrich\nfoo\n")
    applied.record(settings)
    assert applied.changes(settings) == ["install/requirements.txt line 3: foo"]


@pytest.mark.parametrize("content", [None, "", "[]", '{"pins": 1}'])
def test_without_record_the_lock_decides(make_settings, clone, install, content):
    if content is not None:
        (clone / applied.RECORD).write_text(content)
    settings = make_settings()
    assert applied.changes(settings) == []
    (install / "requirements.txt").write_text("pandas<2\n")
    assert applied.changes(settings) == ["install/requirements.txt line 1: pandas<2"]


def test_record_is_readable_by_its_owner_only(settings, clone):
    # URLs of requirements may contain passwords.
    assert (clone / applied.RECORD).stat().st_mode & 0o777 == 0o600
