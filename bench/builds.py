"""Images: how large they are, how long they take, and how soon a changed requirement runs.

From nothing means without any layer of before. The public images are there, and packages that were
downloaded once are in the build's cache of them: what is measured is work, not the network.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.effort import Effort
from bench.measures import Told
from bench.stacks import Ours
from orchestration.engines.base import IMAGES
from orchestration.engines.docker.candidate_images import BUILDERS
from tests.e2e.clone import Clone, fresh_copy

NAMES = {"airflow": "Airflow image", "mlflow": "MLflow image", "status": "status image"}
# Small, and needed by nothing else. The remark makes each time new to the build's cache.
ADDED = "emoji==2.14.1\n# added at {moment}\n"


def sizes(stack: Ours, _: Effort) -> Iterator[Told]:
    """Gigabytes as `docker images` tells them."""
    for image, measure in NAMES.items():
        size = stack.sdk.images.get(f"{stack.project}-{image}").attrs["Size"]
        yield stack.column, {measure: size / 1e9}


def from_nothing(stack: Ours, _: Effort) -> Iterator[Told]:
    """Seconds for all images, without a layer of before; those in use stay as they are."""
    project = f"{stack.project}-anew"
    try:
        began = time.monotonic()
        built_from_nothing(stack.clone, project)
        yield stack.column, {"build from nothing, packages cached": time.monotonic() - began}
    finally:
        stack.clone.run("docker", "image", "rm", *(f"{project}-{image}" for image in IMAGES))


def changed_requirement(stack: Ours, _: Effort) -> Iterator[Told]:
    """Seconds from a line more in requirements.txt until the running stack has it, proven."""
    with another_clone(stack) as clone:
        clone.well("inv", "up", "--no-proof")
        file = clone.folder / "install" / "requirements.txt"
        file.write_text(file.read_text() + ADDED.format(moment=time.time_ns()))
        began = time.monotonic()
        clone.well("inv", "rebuild")
        yield stack.column, {"changed requirement until it runs": time.monotonic() - began}


@contextmanager
def another_clone(stack: Ours) -> Iterator[Clone]:
    """Beside a stack's own, whose images stay as they are; removed in the end."""
    clone = fresh_copy(stack.clone.folder.with_name("rebuilt"), "docker")
    try:
        clone.well("inv", "install")
        yield clone
    finally:
        clone.remove()


def built_from_nothing(clone: Clone, project: str) -> None:
    """Every image of a clone's own, under another name; raises with the last words of a failure."""
    services = [BUILDERS[image] for image in IMAGES]
    argv = ("docker", "compose", "--progress=plain", "build", "--no-cache", *services)
    environment = clone.environment(DOCKER_BUILDKIT="1", COMPOSE_PROJECT_NAME=project)
    folder, told = clone.folder / "orchestration", {"capture_output": True, "text": True}
    done = subprocess.run(argv, cwd=folder, env=environment, check=False, **told)
    assert done.returncode == 0, done.stderr[-4000:]
