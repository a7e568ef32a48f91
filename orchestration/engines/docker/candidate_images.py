"""Build and check this clone's images under another project name before they are used."""

from collections.abc import Collection, Mapping
from typing import Any

from orchestration.engines.base import Build, runtime_module
from orchestration.engines.docker import public_images
from orchestration.engines.docker.project import ComposeProject
from orchestration.process import runner

# The service of the Compose file that builds each image.
BUILDERS = {"airflow": "airflow-init", "mlflow": "mlflow-migrate", "status": "status", "tls": "tls"}
# A new Airflow image imports DAGs with the configuration of this service.
PARSER = "airflow-dag-processor"

LABEL = "com.docker.compose.project"


class CandidateImages:
    """Images that get the names of the active ones once they are activated."""

    def __init__(self, project: ComposeProject) -> None:
        self.project = project
        self.name = f"{project.settings.project}-candidate"

    def build(self, images: Collection[str]) -> None:
        """Provide public images, then build these. Raises StackError with the failed step."""
        public_images.provide(self.project.sdk, self.project.settings)
        services = [BUILDERS[image] for image in images]
        command = self.project.compose("--progress=plain", "build", *services, project=self.name)
        public_images.build(command)

    def import_errors(self) -> str:
        """Import every DAG in the Airflow image and return the errors, one per line, or ""."""
        return self._run_as_parser(*runtime_module("airflow.parse_dags"), "/opt/airflow/dags")

    def package_errors(self, packages: Collection[str]) -> str:
        """Import packages in the Airflow image and return the errors, one per line, or ""."""
        return self._run_as_parser(*runtime_module("airflow.import_packages"), *packages)

    def _run_as_parser(self, *argv: str) -> str:
        """Run a command in the Airflow image as PARSER; return its output if it fails."""
        first, *others = self._networks()
        # Docker prints warnings before the id.
        container = runner.run(self._create_parser(first, *argv)).output.split()[-1]
        try:
            # Before Docker 25 a container can only be created in one network.
            for network in others:
                runner.run(runner.Command(("docker", "network", "connect", network, container)))
            return runner.run(
                runner.Command(("docker", "start", "--attach", container)), check=False
            ).failure_output
        finally:
            runner.run(runner.Command(("docker", "rm", "--force", container)))

    def activate(self, images: Collection[str]) -> None:
        """Tag the images with the names that containers are created from."""
        for image in images:
            candidate = self.project.sdk.images.get(f"{self.name}-{image}")
            candidate.tag(f"{self.project.settings.project}-{image}")

    def prune(self) -> None:
        """Remove inactive and replaced images, except those that containers run from."""
        sdk, names = self.project.sdk, [f"{self.name}-{image}" for image in BUILDERS]
        for name in set(names) - set(public_images.missing(sdk, names)):
            sdk.images.remove(name)
        project = f"label={LABEL}={self.name}"
        runner.run(runner.Command(("docker", "image", "prune", "--force", "--filter", project)))

    def builds(self) -> list[Build]:
        """Return the images with this clone's label and the bytes each shares with no other."""
        images = self.project.sdk.df()["Images"] or []
        return [
            Build(_name(image), image["Size"] - max(image["SharedSize"], 0), self._is_needed(image))
            for image in images
            if (image["Labels"] or {}).get(LABEL) == self.name
        ]

    def _is_needed(self, image: Mapping[str, Any]) -> bool:
        active = [name for name in _names(image) if not name.startswith(f"{self.name}-")]
        return bool(active) or image["Containers"] != 0

    def _networks(self) -> list[str]:
        """Return PARSER's networks, because DAGs may query services; "none" if all are down."""
        config = self.project.config
        if not any(service.state == "running" for service in self.project.ps()):
            return ["none"]
        return [config["networks"][name]["name"] for name in config["services"][PARSER]["networks"]]

    def _create_parser(self, network: str, *argv: str) -> runner.Command:
        """Return the command that creates a container of the new image, configured as PARSER."""
        parser = self.project.config["services"][PARSER]
        mounts = [
            f"--volume={mount['source']}:{mount['target']}:ro"
            for mount in parser["volumes"]
            if mount["type"] == "bind"
        ]
        # Pass only names of variables: `ps` shows arguments to everybody.
        names = [f"--env={name}" for name in parser["environment"]]
        rights = ("--cap-drop=ALL", "--security-opt=no-new-privileges:true")
        options = (*rights, f"--user={parser['user']}", f"--network={network}", *mounts, *names)
        return runner.Command(
            ("docker", "create", *options, f"{self.name}-airflow", *argv),
            env={**self.project.settings.compose_environment(), **parser["environment"]},
        )


def _names(image: Mapping[str, Any]) -> list[str]:
    """Return an image's names. Engines differ in how they report that it has none."""
    return [name for name in image["RepoTags"] or [] if name != "<none>:<none>"]


def _name(image: Mapping[str, Any]) -> str:
    return (_names(image) or [image["Id"]])[0]
