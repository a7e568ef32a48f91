"""Test importing installed packages by the names of their distributions."""

import os
import subprocess
import sys

import pytest

from tests.support.repository import ROOT

CONFIG = ROOT / "orchestration/config"
FAILURES = {
    "missing": (
        "raise OSError('libgomp.so.1: cannot open shared object file')",
        "OSError: libgomp",
    ),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", "Python crashed (exit code -11)"),
}


@pytest.fixture
def site(tmp_path):
    """Return a function that installs a distribution with these files."""

    def add(name, files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))

    add.path = tmp_path
    return add


def import_packages(site, *names):
    """Return the exit code and the printed lines."""
    argv = [sys.executable, "-P", "-m", "stack_runtime.airflow.import_packages", *names]
    environment = {**os.environ, "PYTHONPATH": f"{CONFIG}:{site.path}"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_packages_are_imported_by_their_modules_not_by_their_names(site):
    site("scikit-toy", {"toy/__init__.py": "print('hello')", "toy/part/__init__.py": "1 / 0"})
    site("one-module", {"single.py": ""})
    assert import_packages(site, "scikit-toy", "one-module") == (0, ["2 packages imported"])


def test_package_in_namespace_is_imported(site):
    site("cloud-toy", {"cloudy/toy/__init__.py": "1 / 0"})
    code, lines = import_packages(site, "cloud-toy")
    assert (code, lines) == (
        1, ["cloud-toy: import cloudy.toy: ZeroDivisionError: division by zero"],
    )  # fmt: skip


def test_data_programs_and_stray_folders_are_not_imported(site):
    files = {"toy-stubs/__init__.py": "", "tests/__init__.py": "1 / 0", "toy/data.csv": ""}
    site("toy-stubs", {**files, "_private.py": "1 / 0"})
    assert import_packages(site, "toy-stubs")[0] == 0


@pytest.mark.parametrize("kind", FAILURES)
def test_failed_import_is_reported_and_the_next_package_is_tried(site, kind):
    source, message = FAILURES[kind]
    site("broken", {"broken/__init__.py": source})
    site("later", {"later/__init__.py": "1 / 0"})
    code, lines = import_packages(site, "broken", "later")
    assert code == 1
    assert lines[0].startswith("broken: ")
    assert message in lines[0]
    assert lines[1:] == ["later: import later: ZeroDivisionError: division by zero"]


def test_missing_package_is_reported(site):
    assert import_packages(site, "absent") == (1, ["absent: not installed"])
