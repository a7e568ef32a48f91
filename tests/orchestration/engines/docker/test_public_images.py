"""Public images: existing, pulled or built, and the problem if none of these works."""

import io

import docker
import pytest
import requests

from orchestration.engines.docker import public_images
from orchestration.errors import StackError
from orchestration.process.runner import Command

PUBLIC = ("debian:bookworm-slim", "postgres:16", "redis:7.2-bookworm")


class Machine:
    """A docker SDK with the images of this machine and of a registry."""

    def __init__(self):
        self.local, self.registry = set(), set()
        self.registry_error = docker.errors.APIError("refused")
        self.images = self

    def get(self, name):
        if name not in self.local:
            raise docker.errors.ImageNotFound(name)

    def get_registry_data(self, name):
        if name not in self.registry:
            raise self.registry_error


@pytest.fixture
def machine(monkeypatch):
    """A machine without images and without a registry."""
    machine = Machine()
    monkeypatch.setattr(docker, "from_env", lambda timeout: machine)
    return machine


DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    "name", ["postgres:16", "postgres", "mirror.example:5000/lib/postgres:16.4"]
)
def test_provide_pulls_a_pinned_image_by_digest(machine, make_settings, recorded, name):
    pinned = f"{name}@{DIGEST}"
    machine.local, machine.registry = {PUBLIC[0], PUBLIC[2]}, {pinned}
    public_images.provide(machine, make_settings(POSTGRES_IMAGE=pinned))
    assert recorded.lines == [f"docker pull {pinned}"]


@pytest.mark.parametrize("setting", public_images.IMAGE_SETTINGS)
def test_provide_does_not_replace_a_pinned_image(machine, make_settings, recorded, setting):
    settings = make_settings(**{setting: f"some:16@{DIGEST}"})
    with pytest.raises(StackError) as error:
        public_images.provide(machine, settings)
    assert f"No registry provides {setting}=some:16@{DIGEST}, and" in str(error.value)
    assert "Remove @sha256:... in .env, then run: inv install" in str(error.value)
    assert recorded.lines == []


@pytest.mark.parametrize("uid", [0, 1000])
def test_base_problem_of_a_pinned_image_applies_to_root_too(
    machine, make_settings, monkeypatch, uid
):
    monkeypatch.setattr("os.getuid", lambda: uid)
    settings = make_settings(DEBIAN_IMAGE=f"debian:bookworm-slim@{DIGEST}")
    assert "Remove @sha256:" in public_images.base_problem(machine, settings).fix
    machine.registry = {settings["DEBIAN_IMAGE"]}
    assert public_images.base_problem(machine, settings) is None


def test_missing_returns_the_names_of_missing_images(machine):
    machine.local = {"a", "c"}
    assert public_images.missing(machine, ["a", "b", "c", "d"]) == ["b", "d"]


def test_provide_with_all_images_does_nothing(machine, make_settings, recorded):
    machine.local = set(PUBLIC)
    public_images.provide(machine, make_settings())
    assert recorded.lines == []


def test_provide_pulls_what_a_registry_offers(machine, make_settings, recorded, capsys):
    machine.local, machine.registry = {PUBLIC[0]}, set(PUBLIC)
    public_images.provide(machine, make_settings())
    assert recorded.lines == ["docker pull postgres:16", "docker pull redis:7.2-bookworm"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [docker.errors.APIError("refused"), requests.ReadTimeout()])
def test_provide_without_a_registry_builds_the_base_first(
    machine, make_settings, recorded, clone, capsys, error
):
    machine.registry_error = error
    public_images.provide(machine, make_settings())
    debian, stand_ins = recorded.commands
    assert debian.argv == ("sh", str(clone / "install/base/debian.sh"), "debian:bookworm-slim")
    file = str(clone / "install/base/compose.yaml")
    compose = ("docker", "compose", "--progress=plain", "-f", file)
    assert stand_ins.argv == (*compose, "build", "postgres", "redis")
    output = capsys.readouterr().out
    assert output.startswith(f"No registry provides {', '.join(PUBLIC)}")


def test_provide_builds_stand_ins_outside_the_project(machine, make_settings, recorded):
    public_images.provide(machine, make_settings())
    environment = recorded.commands[-1].env
    assert "COMPOSE_PROJECT_NAME" not in environment
    assert environment["POSTGRES_IMAGE"] == "postgres:16"


def test_provide_builds_only_missing_images(machine, make_settings, recorded):
    machine.local = {PUBLIC[0], PUBLIC[1]}
    public_images.provide(machine, make_settings())
    [command] = recorded.commands
    assert command.argv[-2:] == ("build", "redis")


def test_provide_refuses_an_airflow_base_that_no_registry_offers(machine, make_settings, recorded):
    machine.local = set(PUBLIC)
    with pytest.raises(StackError) as error:
        public_images.provide(machine, make_settings(AIRFLOW_BASE_IMAGE="apache/airflow:3.0.1"))
    assert "No registry provides apache/airflow:3.0.1" in str(error.value)
    assert "AIRFLOW_BASE_IMAGE=debian:bookworm-slim" in str(error.value)
    assert recorded.lines == []


@pytest.mark.parametrize(
    ("setting", "image"), [("POSTGRES_IMAGE", "postgres:17"), ("REDIS_IMAGE", "valkey:8")]
)
def test_provide_refuses_an_image_that_cannot_be_built(
    machine, make_settings, recorded, setting, image
):
    machine.local = set(PUBLIC)
    with pytest.raises(StackError, match=f"No registry provides {image}.*\nSet {setting} in .env"):
        public_images.provide(machine, make_settings(**{setting: image}))
    assert recorded.lines == []


def test_provide_ignores_the_registry_in_the_name_of_an_image(machine, make_settings, recorded):
    machine.local = set(PUBLIC)
    public_images.provide(
        machine, make_settings(POSTGRES_IMAGE="mirror.example:5000/lib/postgres:16.4")
    )
    assert recorded.commands[-1].argv[-2:] == ("build", "postgres")


# A base image that only root can build


@pytest.fixture
def normal_user(monkeypatch):
    """The user is not root."""
    monkeypatch.setattr(public_images.os, "getuid", lambda: 1000)


def test_base_problem_without_a_registry_and_root(machine, make_settings, normal_user):
    problem = public_images.base_problem(machine, make_settings())
    assert (problem.code, problem.fix) == (
        "registry-unreachable", "sudo install/base/debian.sh debian:bookworm-slim",
    )  # fmt: skip
    machine.registry_error = requests.ReadTimeout()
    assert public_images.base_problem(machine, make_settings()) == problem


def test_base_problem_of_an_available_image_is_none(machine, make_settings, normal_user):
    machine.registry = {PUBLIC[0]}
    assert public_images.base_problem(machine, make_settings()) is None
    machine.local, machine.registry = {PUBLIC[0]}, set()
    assert public_images.base_problem(machine, make_settings()) is None


def test_base_problem_for_root_queries_no_registry(machine, make_settings, monkeypatch):
    monkeypatch.setattr(public_images.os, "getuid", lambda: 0)
    monkeypatch.setattr(public_images, "_is_offered", lambda name: pytest.fail("queried"))
    assert public_images.base_problem(machine, make_settings()) is None


# Builds

STEP = "#28 [status stage-1 3/5] RUN uv pip install -r /tmp/status.lock\n"
SUMMARY = """\
#28 0.367 error: No solution found when resolving dependencies
#28 0.367   cause: Because no-such-package was not found in the package registry
#28 ERROR: process "/bin/sh -c uv pip install" did not complete successfully: exit code: 1
------
 > [status stage-1 3/5] RUN uv pip install -r /tmp/status.lock:
0.367 error: No solution found when resolving dependencies
0.367   cause: Because no-such-package was not found in the package registry
------
failed to solve: process "/bin/sh -c uv pip install" did not complete successfully: exit code: 1
"""
# An invalid Dockerfile.
NO_STEP = """\
#2 [status internal] load .dockerignore
#2 DONE 0.0s
failed to solve: dockerfile parse error line 2: RUNN
"""
SILENT = """\
#8 ERROR: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3
------
 > [status 2/2] RUN exit 3:
------
failed to solve: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3
"""


def printing(text, code=0):
    """Return a build command that prints `text` and exits with `code`."""
    return Command(("sh", "-c", 'printf %s "$0"; exit "$1"', text, str(code)))


def failure(text):
    with pytest.raises(StackError) as error:
        public_images.build(printing(text, 17))
    return str(error.value).partition("\nexited with code 17:\n")[2]


def test_build_prints_the_output_of_docker(capsys):
    public_images.build(printing(STEP + "#28 DONE 1.0s\n"))
    assert capsys.readouterr().out == STEP + "#28 DONE 1.0s\n"


def test_build_failure_is_the_output_of_the_failed_step():
    assert failure("#27 unrelated\n" * 300 + STEP + SUMMARY).splitlines() == [
        "0.367 error: No solution found when resolving dependencies",
        "0.367   cause: Because no-such-package was not found in the package registry",
    ]


def test_build_failure_of_a_long_step_is_its_last_lines():
    lines = "".join(f"{number}\n" for number in range(100))
    assert failure(SUMMARY.replace("0.367 error", f"{lines}0.367 error")).startswith("90\n91\n")


@pytest.mark.parametrize("text", [NO_STEP, SILENT])
def test_build_failure_without_output_of_a_step_ends_with_the_reason(text):
    assert failure(text) == text.strip()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://me:pa55@host/simple", "https://***@host/simple"),  # pragma: allowlist secret
        ("https://me:p@55@host/simple", "https://***@host/simple"),
        ("https://pa55@host:8443", "https://***@host:8443"),
        ("git+ssh://me:pa55@host/a@1", "git+ssh://***@host/a@1"),  # pragma: allowlist secret
        ("https://host/simple/pa@1", "https://host/simple/pa@1"),
    ],
)
def test_build_hides_passwords_of_addresses(capsys, address, expected):
    text = SUMMARY.replace("no-such-package", f'"{address}"')
    assert f'Because "{expected}" was' in failure(text)
    assert capsys.readouterr().out == text.replace(address, expected)


def test_build_output_reaches_a_terminal_that_is_not_utf8(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    public_images.build(printing("╰─▶ Because\n"))
    assert out.buffer.getvalue() == b"??? Because\n"
