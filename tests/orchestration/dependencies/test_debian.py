"""Test packages.txt, and the Debian package that a missing library is probably in."""

import pytest

from orchestration.dependencies import debian

MISSING = "OSError: {}: cannot open shared object file: No such file or directory"


@pytest.fixture
def settings(make_settings, clone):
    """Settings of a clone whose packages.txt has two packages and a comment."""
    (clone / "install").mkdir()
    (clone / "install/packages.txt").write_text(
        "# ours\nlibgomp1  # lightgbm\n\nunixodbc=2.3.11-2\n"
    )
    return make_settings()


# Names in Debian 12.
@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libgomp.so.1", "libgomp1"),
        ("libGL.so.1", "libgl1"),
        ("libX11.so.6", "libx11-6"),
        ("libpq.so.5", "libpq5"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libodbc.so.2", "unixodbc"),
        ("libgeos_c.so.1", "libgeos-c1v5"),
        ("libsndfile.so.1", "libsndfile1"),
        ("libcgraph.so.6", "libcgraph6"),
    ],
)
def test_missing_library_advice_names_debian_package(library, package):
    advice = debian.missing_library_advice(f"lightgbm: {MISSING.format(library)}")
    assert advice.startswith(f"{library} is probably in the Debian package {package}.")


def test_missing_library_advice_of_other_error_is_blank():
    assert debian.missing_library_advice("ModuleNotFoundError: No module named 'x'") == ""


def test_lines_are_packages_without_comments(settings):
    assert list(debian.lines(settings)) == [(2, "libgomp1"), (4, "unixodbc=2.3.11-2")]
    assert debian.refusals(settings) == []


@pytest.mark.parametrize(
    "line", ["libgomp1 libgl1", "-y", "a; rm -rf /", "LibGomp", "x@1", "$(id)"]
)
def test_refusals_names_line_that_is_no_package(settings, clone, line):
    (clone / "install/packages.txt").write_text(f"libgl1\n{line}\n")
    (message,) = debian.refusals(settings)
    assert message.startswith(f"install/packages.txt line 2: {line}\n")


def test_lines_at_fault_finds_package_unknown_to_apt(settings):
    error = "E: Unable to locate package libgomp1"
    assert debian.lines_at_fault(settings, error) == ["install/packages.txt line 2: libgomp1"]
    error = "E: Version '2.3.11-2' for 'unixodbc' was not found"
    assert debian.lines_at_fault(settings, error) == [
        "install/packages.txt line 4: unixodbc=2.3.11-2"
    ]
    assert debian.lines_at_fault(settings, "no space left on device") == []


def test_advice_prints_apt_command_of_missing_packages(settings, recorded):
    recorded.outputs = {"dpkg-query": "libgomp1 installed\nunixodbc config-files\n"}
    assert debian.advice(settings).endswith(
        "Run: sudo apt-get install --no-install-recommends unixodbc=2.3.11-2"
    )
    recorded.outputs = {"dpkg-query": "libgomp1 installed\nunixodbc installed\n"}
    assert debian.advice(settings) == ""


def test_advice_without_packages_runs_nothing(make_settings, recorded):
    assert debian.advice(make_settings()) == ""
    assert recorded.commands == []
