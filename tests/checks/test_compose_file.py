"""The compose file as Compose itself reads it, with the settings of `.env.example` alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checks import compose_file

ROOT = Path(__file__).resolve().parents[2]
FILE, TLS = "orchestration/docker-compose.yaml", "orchestration/docker-compose.tls.yaml"
S3, LOGS = (f"orchestration/docker-compose.{name}.yaml" for name in ("s3", "logs"))
with_compose = pytest.mark.skipif(not compose_file.compose(), reason=compose_file.ABSENT)


@pytest.fixture
def folder(tmp_path):
    """The real compose file and the real example of settings."""
    (tmp_path / "orchestration").mkdir()
    for name in (FILE, TLS, S3, LOGS, ".env.example"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def check(folder, **environment):
    argv = [sys.executable, "-m", "checks.compose_file", folder]
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        argv, cwd=ROOT, env={**variables, **environment}, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def change(folder, old, new):
    text = (folder / FILE).read_text("utf-8")
    assert old in text
    (folder / FILE).write_text(text.replace(old, new, 1), "utf-8")


@with_compose
def test_the_repository_s_own_file_passes_without_a_person_s_settings(folder):
    (folder / "orchestration/.env").write_text("POSTGRES_IMAGE=: :\n")
    (folder / "orchestration/docker-compose.override.yaml").write_text("nonsense: 1\n")
    names = (FILE, f"with {TLS}", f"with {S3}", "with all of them")
    told = "".join(f"{name}: as Compose reads it\n" for name in names)
    assert check(folder, REDIS_IMAGE=": :") == (0, told)


@with_compose
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("  redis:\n    <<", "  redis:\n    imagine: 1\n    <<", "imagine"),
        ("services:\n", "services:\n  odd\n", "yaml: line "),
        ("depends_on: [postgres]", "depends_on: [postgresql]", "postgresql"),
        ("${POSTGRES_PASSWORD:?", "${POSTGRES_PASWORD:?", "POSTGRES_PASWORD is missing a value"),
        ("${SMTP_HOST:-}", "${SMTP_HSOT}", "SMTP_HSOT"),
    ],
)
def test_what_compose_refuses_or_a_setting_that_does_not_exist_is_told(folder, old, new, reason):
    change(folder, old, new)
    code, told = check(folder)
    assert code == 1
    assert FILE in told
    assert reason in told


@with_compose
def test_what_only_the_file_for_tls_asks_for_is_read_too(folder):
    text = (folder / TLS).read_text("utf-8")
    (folder / TLS).write_text(text.replace("${PUBLIC_HOST:?", "${PUBLIC_HSOT:?"), "utf-8")
    code, told = check(folder)
    assert code == 1
    assert "PUBLIC_HSOT is missing a value" in told


def test_without_compose_it_says_so_and_fails_in_ci_alone(folder):
    told = f"{FILE}: not read: {compose_file.ABSENT}\n"
    assert check(folder, PATH="") == (0, told)
    assert check(folder, PATH="", CI="true") == (1, told)
