"""What is in each image, as CycloneDX in sbom/NAME.cdx.json. `nox -s audit` runs it.

The Python packages come from the locks, with every hash, and need nothing but cyclonedx-py;
Debian's come from the image's own list (dpkg), where there is one. An image without a lock is
Debian's alone. PostgreSQL made here is the wheel of its lock.
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
LOCKS_OF: Mapping[str, tuple[str, ...]] = {
    "airflow": ("airflow.lock", "requirements.lock"),
    "mlflow": ("mlflow.lock",),
    "status": ("status.lock",),
    "postgres": ("base/postgres.lock",),
    # Of Debian's packages alone.
    "redis": (),
    "tls": (),
}
# Set by install/base/compose.yaml: without it, an image holds what its makers put there.
MADE_HERE = "org.mlops-stack.built-from"
LISTING = r""". /etc/os-release && printf 'distro\t%s\t%s\n' "$ID" "$VERSION_ID" \
&& dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n'"""
VALIDATION = """import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
with open(sys.argv[1], encoding="utf-8") as file:
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
sys.exit(wrong and str(wrong))"""
Bom = dict[str, Any]


def main() -> int:
    """Write the bill of every image."""
    try:
        if not shutil.which("cyclonedx-py"):
            raise StackError("cyclonedx-py is not on PATH: nox -s audit")
        settings = load_or_draft(Project(ROOT, os.environ))
        for name in LOCKS_OF:
            print(write(name, settings), flush=True)
    except StackError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    return 0


def write(name: str, settings: Settings) -> str:
    """Write the bill of an image; a line that tells its file and what it holds, or why none is.

    Raises StackError when it would not be whole or not keep to CycloneDX's schema.
    """
    file = settings.root / "sbom" / f"{name}.cdx.json"
    public = {"postgres": settings["POSTGRES_IMAGE"], "redis": settings["REDIS_IMAGE"]}
    tag = public.get(name, f"{settings.project}-{name}")
    image, why = found(tag)
    if reason := foreign(name, image, settings) or ("" if image or LOCKS_OF[name] else why):
        file.unlink(missing_ok=True)
        return f"{name}: no bill is written: {reason}"
    wanted = pinned(name, settings.root)
    bom, told = python_part(wanted), f"{len(wanted)} from PyPI"
    if image:
        add_image(bom, name, image.id, listing := debian_packages(listed(image.id)))
        told += f", {len(listing)} from Debian ({tag})"
    else:
        told += f", none from Debian: {why}"
    save(bom, file)
    return f"sbom/{file.name}: {told}"


def pinned(name: str, root: Path) -> list[Pin]:
    """What the locks of an image pin: each package once, by its name."""
    locks = [pins(root / "install" / lock) for lock in LOCKS_OF[name]]
    image = {pin.key: pin for lock in locks for pin in lock}
    return [image[key] for key in sorted(image)]


def found(tag: str) -> tuple[Any, str]:
    """The image of a name, or None and why there is none."""
    import docker

    if problem := daemon.unreachable():
        return None, problem.cause
    try:
        return daemon.client().images.get(tag), ""
    except docker.errors.ImageNotFound:
        return None, f"no image {tag} on this machine"


def foreign(name: str, image: Any, settings: Settings) -> str:
    """Why an image is not made of our locks, or blank."""
    base = settings["AIRFLOW_BASE_IMAGE"]
    if name == "airflow" and base != settings["DEBIAN_IMAGE"]:
        return f"it stands on {base}, which brings its own packages"
    if name in ("postgres", "redis") and image and MADE_HERE not in image.labels:
        return f"{settings[f'{name.upper()}_IMAGE']} was not made here"
    return ""


def python_part(wanted: list[Pin]) -> Bom:
    """The bill of pinned packages; raises StackError when cyclonedx-py fails or leaves one out."""
    with TemporaryDirectory() as folder:
        lines, out = Path(folder, "pins.txt"), Path(folder, "bom.json")
        lines.write_text("\n".join(map(str, wanted)), encoding="utf-8")
        # Validated when it is whole: the schema takes seconds.
        argv = ("cyclonedx-py", "requirements", "--output-reproducible", "--no-validate")
        runner.run(runner.Command((*argv, "--spec-version", "1.6", "-o", str(out), str(lines))))
        bom: Bom = {"components": []} | json.loads(out.read_text(encoding="utf-8"))
    held = {(part["name"], part["version"]) for part in bom["components"]}
    if wrong := sorted(" ".join(one) for one in held ^ {(pin.name, pin.version) for pin in wanted}):
        raise StackError(f"cyclonedx-py does not give as pinned: {', '.join(wrong)}")
    for part in bom["components"]:
        # The line it was read from: each hash a second time, half of the file.
        part.pop("description", None)
    return bom


def listed(image_id: str) -> str:
    """What LISTING prints in an image."""
    argv = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image_id)
    return runner.run(runner.Command((*argv, "-c", LISTING))).output


def debian_packages(listing: str) -> list[Bom]:
    """Components for what LISTING printed; raises StackError if no distribution or package is."""
    rows = [line.split("\t") for line in listing.splitlines()]
    distro = [row[1:] for row in rows if row[0] == "distro" and len(row) == 3]
    installed = [row[1:] for row in rows if row[0] == "installed" and len(row) == 4]
    if not distro or not installed:
        raise StackError(f"the image lists no Debian packages:\n{runner.tail(listing)}")
    ((system, release),) = distro
    return [
        {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        for name, version, arch in sorted(installed)
        for spelled in [f"{quote(name, safe='')}@{quote(version, safe=':')}"]
        for purl in [f"pkg:deb/{system}/{spelled}?arch={arch}&distro={system}-{release}"]
    ]


def add_image(bom: Bom, name: str, image_id: str, packages: list[Bom]) -> None:
    """Say whose bill it is, and add what the image holds besides."""
    bom["components"] += packages
    whole = {"type": "container", "bom-ref": name, "name": name, "version": image_id}
    bom["metadata"]["component"] = whole
    bom["metadata"]["properties"] = [{"name": "mlops-stack:image-id", "value": image_id}]


def save(bom: Bom, file: Path) -> None:
    """Write a bill that keeps to CycloneDX's schema; raises StackError for another."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    # The interpreter that cyclonedx-py runs by: only that one has the schemas.
    python = Path(shutil.which("cyclonedx-py") or "").with_name("python")
    runner.run(runner.Command((str(python), "-c", VALIDATION, str(file))))


if __name__ == "__main__":
    sys.exit(main())
