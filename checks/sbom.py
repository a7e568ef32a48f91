"""Write the software bill of materials (SBOM) of each image to sbom/NAME.cdx.json (CycloneDX).

`nox -s audit` runs it. Python packages come from the locks, with every hash, and need only
cyclonedx-py. Debian packages come from dpkg in the image, if the image exists. An image without a
lock has only Debian packages. A PostgreSQL image that is built here contains the wheel of its lock.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from checks.pins import Pin, pins
from orchestration.engines.docker import daemon
from orchestration.errors import StackError
from orchestration.host.drafts import load_or_draft
from orchestration.process import runner
from orchestration.project import Project
from orchestration.settings.model import Settings

ROOT = Path(__file__).resolve().parents[1]
IMAGE_LOCKS: Mapping[str, tuple[str, ...]] = {
    "airflow": ("airflow.lock", "requirements.lock"),
    "mlflow": ("mlflow.lock",),
    "status": ("status.lock",),
    "postgres": ("base/postgres.lock",),
    # These contain only Debian packages.
    "redis": (),
    "tls": (),
}
# install/base/compose.yaml sets this label on images that are built here.
BUILD_LABEL = "org.mlops-stack.built-from"
LISTING = r""". /etc/os-release && printf 'distro\t%s\t%s\n' "$ID" "$VERSION_ID" \
&& dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n'"""
VALIDATION = """import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
with open(sys.argv[1], encoding="utf-8") as file:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
sys.exit(error and str(error))"""
Bom = dict[str, Any]


def main() -> int:
    """Write the SBOM of every image and return an exit code."""
    try:
        if not shutil.which("cyclonedx-py"):
            raise StackError("cyclonedx-py is not on PATH.", fix="nox -s audit")
        settings = load_or_draft(Project(ROOT, os.environ))
        for name in IMAGE_LOCKS:
            print(write(name, settings), flush=True)
    except StackError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def write(name: str, settings: Settings) -> str:
    """Write the SBOM of an image; return a line with its contents or why it is not written.

    Raises StackError if it would be incomplete or violate CycloneDX's schema.
    """
    file = settings.root / "sbom" / f"{name}.cdx.json"
    public = {"postgres": settings["POSTGRES_IMAGE"], "redis": settings["REDIS_IMAGE"]}
    tag = public.get(name, f"{settings.project}-{name}")
    image, missing = find_image(tag)
    reason = foreign_reason(name, image, settings)
    if reason := reason or ("" if image or IMAGE_LOCKS[name] else missing):
        file.unlink(missing_ok=True)
        return f"{name}: No SBOM is written. {reason}"
    image_pins = pinned(name, settings.root)
    bom, contents = python_part(image_pins), f"{len(image_pins)} from PyPI"
    if image:
        add_image(bom, name, image.id, packages := debian_packages(package_listing(image.id)))
        contents += f", {len(packages)} from Debian ({tag})"
    else:
        contents += f", none from Debian. {missing}"
    save(bom, file)
    return f"sbom/{file.name}: {contents}"


def pinned(name: str, root: Path) -> list[Pin]:
    """Return the pins of an image's locks, each package once, in the order of their names."""
    locks = [pins(root / "install" / lock) for lock in IMAGE_LOCKS[name]]
    image = {pin.key: pin for lock in locks for pin in lock}
    return [image[key] for key in sorted(image)]


def find_image(tag: str) -> tuple[Any, str]:
    """Return the image with a tag and a blank string, or None and why it is missing."""
    import docker

    if problem := daemon.engine_problem():
        return None, problem.cause
    try:
        return daemon.client().images.get(tag), ""
    except docker.errors.ImageNotFound:
        return None, f"This machine has no image {tag}."


def foreign_reason(name: str, image: Any, settings: Settings) -> str:
    """Return why an image does not consist of our locks, or a blank string."""
    base = settings["AIRFLOW_BASE_IMAGE"]
    if name == "airflow" and base != settings["DEBIAN_IMAGE"]:
        return f"The image is based on {base}, which contains other packages."
    if name in ("postgres", "redis") and image and BUILD_LABEL not in image.labels:
        return f"{settings[f'{name.upper()}_IMAGE']} was not built here."
    return ""


def python_part(image_pins: list[Pin]) -> Bom:
    """Return the SBOM of pins. Raises StackError if cyclonedx-py fails or omits a package."""
    with TemporaryDirectory() as folder:
        lines, out = Path(folder, "pins.txt"), Path(folder, "bom.json")
        lines.write_text("\n".join(map(str, image_pins)), encoding="utf-8")
        # save() validates the complete document, because validation takes seconds.
        argv = ("cyclonedx-py", "requirements", "--output-reproducible", "--no-validate")
        runner.run(runner.Command((*argv, "--spec-version", "1.6", "-o", str(out), str(lines))))
        bom: Bom = {"components": []} | json.loads(out.read_text(encoding="utf-8"))
    listed = {(part["name"], part["version"]) for part in bom["components"]}
    if difference := listed ^ {(pin.name, pin.version) for pin in image_pins}:
        names = ", ".join(sorted(map(" ".join, difference)))
        raise StackError(f"cyclonedx-py's components differ from the pins: {names}")
    for part in bom["components"]:
        # The description repeats every hash and would double the size of the file.
        part.pop("description", None)
    return bom


def package_listing(image_id: str) -> str:
    """Run LISTING in an image and return its output."""
    argv = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image_id)
    return runner.run(runner.Command((*argv, "-c", LISTING))).output


def debian_packages(listing: str) -> list[Bom]:
    """Return components for LISTING's output. Raises StackError if it names no packages."""
    rows = [line.split("\t") for line in listing.splitlines()]
    distro = [row[1:] for row in rows if row[0] == "distro" and len(row) == 3]
    installed = [row[1:] for row in rows if row[0] == "installed" and len(row) == 4]
    if not distro or not installed:
        raise StackError(f"The image lists no Debian packages:\n{runner.tail(listing)}")
    ((system, release),) = distro
    return [
        {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        for name, version, arch in sorted(installed)
        for spelled in [f"{quote(name, safe='')}@{quote(version, safe=':')}"]
        for purl in [f"pkg:deb/{system}/{spelled}?arch={arch}&distro={system}-{release}"]
    ]


def add_image(bom: Bom, name: str, image_id: str, packages: list[Bom]) -> None:
    """Add an image's Debian packages to its SBOM and name the image as the subject."""
    bom["components"] += packages
    image = {"type": "container", "bom-ref": name, "name": name, "version": image_id}
    bom["metadata"]["component"] = image
    bom["metadata"]["properties"] = [{"name": "mlops-stack:image-id", "value": image_id}]


def save(bom: Bom, file: Path) -> None:
    """Write and validate an SBOM. Raises StackError if it violates CycloneDX's schema."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    # Only the interpreter that runs cyclonedx-py has the schemas.
    python = Path(shutil.which("cyclonedx-py") or "").with_name("python")
    runner.run(runner.Command((str(python), "-c", VALIDATION, str(file))))


if __name__ == "__main__":
    sys.exit(main())
