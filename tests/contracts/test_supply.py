"""What is installed is what was meant: hashes, signatures, digests, commits."""

import re

import pytest

from tests.support.process import put_before, run
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
# Knows Debian's and Redis's image as pulled, PostgreSQL's as made here.
DOCKER = f"""case "$5" in
    debian:bookworm-slim) echo debian@{DIGEST} ;;
    redis:7.2-bookworm) echo mirror.example:5000/redis@{DIGEST} ;;
    postgres:16) echo ;;
    *) exit 1 ;;
esac
"""


def code(path):
    """Its text without comments, each command on one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return re.sub(r"\\\n\s*", "", kept)


def installs():
    """Each command of the recipes that installs Python packages, with its file."""
    asked = re.compile(r"[^\n;&]*\bpip\b[^\n;&]*\b(?:install|sync)\b[^\n;&]*")
    return [(path, found) for path in RECIPES for found in asked.findall(code(path))]


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
    # On the official image: the versions it holds are not ours, so no lock can have their hashes.
    ((name, command),) = without
    assert name == "airflow.dockerfile"
    assert "-c /tmp/held.txt -r /tmp/requirements.txt" in command


@pytest.mark.parametrize("path", ["noxfile.py", "orchestration/engines/standalone/virtualenvs.py"])
def test_environments_are_made_with_hashes(path):
    text = code(ROOT / path)
    made = re.findall(r'"pip", "(?:sync|install)"|session\.install\(', text)
    assert made
    assert text.count("--require-hashes") >= len(made)


def test_debian_s_packages_are_taken_signed():
    for path in RECIPES:
        assert not re.search(r"allow-unauthenticated|no-check-gpg|trusted=yes", code(path)), path
    debootstrap = code(ROOT / "install/base/debian.sh")
    assert 'debootstrap --force-check-gpg --keyring="$KEYS"' in debootstrap


def test_images_stand_in_one_place():
    """An image is a setting of .env.example; elsewhere the same name is only its default."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    meant = set(re.findall(r"^\w+_IMAGE=(\S+)$", example, re.MULTILINE))
    for path in (ROOT / "install").rglob("*.dockerfile"):
        text = path.read_text(encoding="utf-8")
        bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        named = {base for base in bases if "$" not in base} - set(
            re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE)
        )
        assert named == set(), path
        defaults = set(re.findall(r"^ARG \w+_IMAGE=([^\s$]+)$", text, re.MULTILINE))
        assert defaults <= meant, path


@pytest.fixture
def clone(tmp_path):
    """A folder with the script and an .env."""
    (tmp_path / "install" / "base").mkdir(parents=True)
    script = tmp_path / "install" / "base" / "digests.sh"
    script.write_text((ROOT / "install/base/digests.sh").read_text(encoding="utf-8"))
    (tmp_path / ".env").write_text(ENV)
    return tmp_path


def digests(clone):
    path = put_before(clone, docker=DOCKER)
    return run("sh", "install/base/digests.sh", cwd=clone, env={"PATH": path})


def test_each_pulled_image_is_given_with_its_tag_and_digest(clone):
    assert digests(clone).stdout.splitlines() == [
        f"DEBIAN_IMAGE=debian:bookworm-slim@{DIGEST}",
        f"REDIS_IMAGE=redis:7.2-bookworm@{DIGEST}",
        f"AIRFLOW_BASE_IMAGE=debian:bookworm-slim@{DIGEST}",
    ]


def test_what_was_made_here_is_told_and_left(clone):
    told = "POSTGRES_IMAGE: postgres:16 was not pulled from a registry"
    assert told in digests(clone).stderr


def test_asked_again_it_gives_the_same(clone):
    first = digests(clone).stdout
    with (clone / ".env").open("a") as env:
        env.write(first)
    assert digests(clone).stdout == first


def test_without_an_env_it_says_what_comes_first(clone):
    (clone / ".env").unlink()
    done = digests(clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no .env: inv install" in done.stderr
