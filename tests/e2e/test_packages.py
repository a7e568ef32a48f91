"""Change packages and shared code of a running stack, on either engine."""

import hashlib
import re
import zipfile
from base64 import urlsafe_b64encode

import pytest

from tests.e2e.clone import until

INFO = "colleague-1.0.dist-info"
DAG = """
from datetime import datetime

from airflow.sdk import dag, task
from include.rates import RATE


@dag(schedule=None, start_date=datetime(2025, 1, 1), is_paused_upon_creation=False)
def shares_code():
    @task
    def use():
        import colleague

        assert (RATE, colleague.ANSWER) == (3, 42)

    use()


shares_code()
"""
# Refused lines with words of their message.
REFUSED = {
    "--extra-index-url https://download.example/cpu": "one package index",
    "git+https://git.example/owner/name": "no git",
    "-e .": "install/wheels",
    "./colleague-1.0-py3-none-any.whl": "install/wheels",
}


@pytest.fixture(scope="module")
def install(stack):
    """Return the clone's folder install/, and restore its files at the end."""
    folder = stack.folder / "install"
    names = ("requirements.txt", "requirements.lock", "packages.txt")
    texts = {name: (folder / name).read_text() for name in names}
    yield folder
    (stack.folder / "dags" / "shares_code.py").unlink(missing_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    stack.run_ok("inv", "rebuild")


def make_wheel(path, name, source):
    """Write a wheel with one module."""
    files = {
        f"{name}.py": source,
        f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{file},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()[:-1]},"
        for file, text in files.items()
    ]
    files[f"{INFO}/RECORD"] = "\n".join([*rows, f"{INFO}/RECORD,,\n"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def add_line(install, file, line):
    """Append a line to a file of install/ and return its number."""
    text = (install / file).read_text()
    (install / file).write_text(f"{text}{line}\n")
    return text.count("\n") + 1


@pytest.mark.parametrize("line", REFUSED)
def test_unsupported_line_is_refused_before_a_build(stack, install, line):
    before, original = stack.start_times(), (install / "requirements.txt").read_text()
    number = add_line(install, "requirements.txt", line)
    done = stack.run("inv", "rebuild", timeout=30)
    (install / "requirements.txt").write_text(original)
    assert done.returncode == 1
    assert f"install/requirements.txt line {number}: {line}" in done.stderr
    assert REFUSED[line] in done.stderr
    assert stack.start_times() == before


def test_changed_comment_replaces_nothing(stack, install):
    stack.run_ok("inv", "rebuild")
    before = stack.start_times()
    add_line(install, "requirements.txt", "# a comment")
    add_line(install, "packages.txt", "# another comment")
    assert "Nothing has changed." in stack.run_ok("inv", "rebuild")
    assert stack.start_times() == before
    assert "packages-not-applied" not in stack.run("inv", "doctor").stdout


def test_wheel_and_include_work_in_a_task(stack, install):
    make_wheel(install / "wheels/colleague-1.0-py3-none-any.whl", "colleague", "ANSWER = 42\n")
    number = add_line(install, "requirements.txt", "./wheels/colleague-1.0-py3-none-any.whl")
    line = f"install/requirements.txt line {number}: ./wheels/colleague-1.0-py3-none-any.whl"
    assert line in stack.run("inv", "doctor").stdout
    assert line in stack.run_ok("inv", "up", "--no-proof")
    (stack.folder / "include" / "rates.py").write_text("RATE = 3\n")
    (stack.folder / "dags" / "shares_code.py").write_text(DAG)
    assert re.search(r"Rebuilt and verified in \d+ s", stack.run_ok("inv", "rebuild"))
    assert line not in stack.run("inv", "doctor").stdout
    path = "/api/v2/dags/shares_code"
    until(lambda: stack.airflow(path).get("dag_id") == "shares_code", 60)
    assert "success" in stack.run_ok("inv", "trigger", "shares_code", "--wait")


def test_lightgbm_needs_a_debian_package(stack, engine, install):
    if engine == "standalone":
        pytest.skip("The library may be installed on this machine.")
    before = stack.start_times()
    number = add_line(install, "requirements.txt", "lightgbm")
    done = stack.run("inv", "rebuild")
    assert done.returncode == 1
    assert f"install/requirements.txt line {number}: lightgbm" in done.stderr
    assert "lightgbm: import lightgbm: OSError: libgomp.so.1" in done.stderr
    assert "Debian package libgomp1" in done.stderr
    assert stack.start_times() == before
    add_line(install, "packages.txt", "libgomp1")
    assert "Rebuilt and verified" in stack.run_ok("inv", "rebuild")
    code = "import lightgbm; print(lightgbm.__name__)"
    assert stack.exec_in("airflow-worker", "python", "-c", code).strip() == "lightgbm"


def test_unknown_debian_package_is_refused_with_its_line(stack, engine, install):
    if engine == "standalone":
        pytest.skip("Only images install Debian packages.")
    before, original = stack.start_times(), (install / "packages.txt").read_text()
    number = add_line(install, "packages.txt", "no-such-package-of-ours")
    done = stack.run("inv", "rebuild")
    (install / "packages.txt").write_text(original)
    assert done.returncode == 1
    assert f"install/packages.txt line {number}: no-such-package-of-ours" in done.stderr
    assert stack.start_times() == before
