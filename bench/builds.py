"""Measure the images: size, build time, and time until a changed requirement runs.

Clean builds use no cached layer. Base images and packages come from caches, so that the figures
measure work rather than the network.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.effort import Effort
from bench.measures import Measurement
from bench.stacks import Ours
from orchestration.engines.base import IMAGES
from orchestration.engines.docker.candidate_images import BUILDERS
from tests.e2e.clone import Clone, fresh_copy

NAMES = {"airflow": "Airflow image", "mlflow": "MLflow image", "status": "status image"}
# A small package that nothing else needs. The comment makes each line new to the build cache.
REQUIREMENT = "emoji==2.14.1\n# added at {moment}\n"


def sizes(stack: Ours, _: Effort) -> Iterator[Measurement]:
    """Yield the size of each image in gigabytes, as `docker images` shows it."""
    for image, measure in NAMES.items():
        size = stack.sdk.images.get(f"{stack.project}-{image}").attrs["Size"]
        yield stack.column, {measure: size / 1e9}


def clean_build(stack: Ours, _: Effort) -> Iterator[Measurement]:
    """Yield the seconds that a build of all images takes without cached layers.

    The images in use are not replaced.
    """
    project = f"{stack.project}-scratch"
    try:
        began = time.monotonic()
        build_images(stack.clone, project)
        yield stack.column, {"build from nothing, packages cached": time.monotonic() - began}
    finally:
        stack.clone.run("docker", "image", "rm", *(f"{project}-{image}" for image in IMAGES))


def changed_requirement(stack: Ours, _: Effort) -> Iterator[Measurement]:
    """Yield the seconds from a new line in requirements.txt to the end of `inv rebuild`."""
    with temporary_clone(stack) as clone:
        clone.run_ok("inv", "up", "--no-proof")
        file = clone.folder / "install" / "requirements.txt"
        file.write_text(file.read_text() + REQUIREMENT.format(moment=time.time_ns()))
        began = time.monotonic()
        clone.run_ok("inv", "rebuild")
        yield stack.column, {"changed requirement until it runs": time.monotonic() - began}


@contextmanager
def temporary_clone(stack: Ours) -> Iterator[Clone]:
    """Install a second clone, whose images are its own, and remove it at the end."""
    clone = fresh_copy(stack.clone.folder.with_name("rebuilt"), "docker")
    try:
        clone.run_ok("inv", "install")
        yield clone
    finally:
        clone.remove()


def build_images(clone: Clone, project: str) -> None:
    """Build every image of a clone under the name of another Compose project."""
    services = [BUILDERS[image] for image in IMAGES]
    argv = ("docker", "compose", "--progress=plain", "build", "--no-cache", *services)
    environment = clone.environment(DOCKER_BUILDKIT="1", COMPOSE_PROJECT_NAME=project)
    folder, output = clone.folder / "orchestration", {"capture_output": True, "text": True}
    done = subprocess.run(argv, cwd=folder, env=environment, check=False, **output)
    assert done.returncode == 0, done.stderr[-4000:]
