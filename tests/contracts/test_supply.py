"""Test that everything is installed by hash, signature or digest."""

import re

import pytest

from tests.support.process import path_with_programs, run
from tests.support.repository import ROOT

RECIPES = sorted(
    path
    for place in ("install", "orchestration", ".devcontainer", ".ci", "noxfile.py")
    for path in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
    if path.suffix in (".dockerfile", ".sh", ".py") or path.name == "run"
)

DIGEST = "sha256:" + "ab" * 32
ENV = """DEBIAN_IMAGE=debian:bookworm-slim
POSTGRES_IMAGE=postgres:16
REDIS_IMAGE=redis:7.2-bookworm
AIRFLOW_BASE_IMAGE=debian:bookworm-slim
"""
# A fake docker: it has pulled the Debian and Redis images and built the PostgreSQL image.
DOCKER = f"""case "$5" in
    debian:bookworm-slim) echo debian@{DIGEST} ;;
    redis:7.2-bookworm) echo mirror.example:5000/redis@{DIGEST} ;;
    postgres:16) echo ;;
    *) exit 1 ;;
esac
"""


def code(path):
    """Return a file's text without comments and with each command on one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return re.sub(r"\\\n\s*", "", text)


def installs():
    """Return each command that installs Python packages, with its file."""
    pattern = re.compile(r"[^\n;&]*\bpip\b[^\n;&]*\b(?:install|sync)\b[^\n;&]*")
    return [(path, command) for path in RECIPES for command in pattern.findall(code(path))]


def test_the_recipes_are_found():
    names = {path.name for path in RECIPES}
    assert {"airflow.dockerfile", "debian.sh", "1st_run_install.sh", "virtualenvs.py"} <= names
    assert len([path for path, _ in installs() if path.suffix != ".py"]) >= 12


def test_python_packages_are_installed_with_their_hashes():
    without = [
        (path.name, command.strip())
        for path, command in installs()
        if path.suffix != ".py" and "--require-hashes" not in command
    ]
    # The official image has other versions than our locks, so no lock has their hashes.
    ((name, command),) = without
    assert name == "airflow.dockerfile"
    assert "-c /tmp/installed.txt -r /tmp/requirements.txt" in command


@pytest.mark.parametrize("path", ["noxfile.py", "orchestration/engines/standalone/virtualenvs.py"])
def test_environments_are_installed_with_hashes(path):
    text = code(ROOT / path)
    commands = re.findall(r'"pip", "(?:sync|install)"|session\.install\(', text)
    assert commands
    assert text.count("--require-hashes") >= len(commands)


def test_debian_packages_are_verified_by_signature():
    for path in RECIPES:
        assert not re.search(r"allow-unauthenticated|no-check-gpg|trusted=yes", code(path)), path
    debootstrap = code(ROOT / "install/base/debian.sh")
    assert 'debootstrap --force-check-gpg --keyring="$KEYS"' in debootstrap


def test_base_images_are_settings():
    """Images are settings of .env.example; Dockerfiles may only repeat them as defaults."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    images = set(re.findall(r"^\w+_IMAGE=(\S+)$", example, re.MULTILINE))
    for path in (ROOT / "install").rglob("*.dockerfile"):
        text = path.read_text(encoding="utf-8")
        bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        named = {base for base in bases if "$" not in base} - set(
            re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE)
        )
        assert named == set(), path
        defaults = set(re.findall(r"^ARG \w+_IMAGE=([^\s$]+)$", text, re.MULTILINE))
        assert defaults <= images, path


@pytest.fixture
def clone(tmp_path):
    """Return a folder with the script and a .env."""
    (tmp_path / "install" / "base").mkdir(parents=True)
    script = tmp_path / "install" / "base" / "digests.sh"
    script.write_text((ROOT / "install/base/digests.sh").read_text(encoding="utf-8"))
    (tmp_path / ".env").write_text(ENV)
    return tmp_path


def digests(clone):
    path = path_with_programs(clone, docker=DOCKER)
    return run("sh", "install/base/digests.sh", cwd=clone, env={"PATH": path})


def test_digests_prints_tag_and_digest_of_pulled_images(clone):
    assert digests(clone).stdout.splitlines() == [
        f"DEBIAN_IMAGE=debian:bookworm-slim@{DIGEST}",
        f"REDIS_IMAGE=redis:7.2-bookworm@{DIGEST}",
        f"AIRFLOW_BASE_IMAGE=debian:bookworm-slim@{DIGEST}",
    ]


def test_digests_names_locally_built_images(clone):
    message = "POSTGRES_IMAGE: postgres:16 was not pulled from a registry"
    assert message in digests(clone).stderr


def test_digests_repeated_prints_the_same(clone):
    first = digests(clone).stdout
    with (clone / ".env").open("a") as env:
        env.write(first)
    assert digests(clone).stdout == first


def test_digests_without_env_names_the_next_command(clone):
    (clone / ".env").unlink()
    done = digests(clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert ".env is missing.\nRun: inv install" in done.stderr
