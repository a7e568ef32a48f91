"""This clone's Docker images before they are used: built and looked at under another project."""

from collections.abc import Collection, Mapping
from typing import Any

from orchestration.engines.base import Build, runtime_module
from orchestration.engines.docker import public_images
from orchestration.engines.docker.project import ComposeProject
from orchestration.process import runner

# The service of the compose file that each image is built by.
BUILDERS = {"airflow": "airflow-init", "mlflow": "mlflow-migrate", "status": "status", "tls": "tls"}
# Whose place what is built takes when its DAGs are imported.
PARSER = "airflow-dag-processor"

LABEL = "com.docker.compose.project"


class CandidateImages:
    """Images that take the names of those in use once they are adopted."""

    def __init__(self, project: ComposeProject) -> None:
        self.project = project
        self.name = f"{project.settings.project}-candidate"

    def build(self, images: Collection[str]) -> None:
        """Build them, public images first; raises StackError with the last words of what failed."""
        public_images.provide(self.project.sdk, self.project.settings)
        wanted = [BUILDERS[image] for image in images]
        command = self.project.compose("--progress=plain", "build", *wanted, project=self.name)
        public_images.build(command)

    def import_errors(self) -> str:
        """Import every DAG in the Airflow image; the errors, a line each, or blank."""
        first, *more = self._networks()
        parse = (*runtime_module("airflow.parse_dags"), "/opt/airflow/dags")
        created = self._one_off(first, *parse)
        # Behind what Docker warns of.
        one_off = runner.run(created).output.split()[-1]
        try:
            # By its own words: before 25 a container is created in one network alone.
            for network in more:
                runner.run(runner.Command(("docker", "network", "connect", network, one_off)))
            return runner.run(
                runner.Command(("docker", "start", "--attach", one_off)), check=False
            ).failure_output
        finally:
            runner.run(runner.Command(("docker", "rm", "--force", one_off)))

    def activate(self, images: Collection[str]) -> None:
        """Give them the names that containers are made from."""
        for image in images:
            built = self.project.sdk.images.get(f"{self.name}-{image}")
            built.tag(f"{self.project.settings.project}-{image}")

    def prune(self) -> None:
        """Remove what was not adopted and what was replaced; what runs keeps its own."""
        sdk, names = self.project.sdk, [f"{self.name}-{image}" for image in BUILDERS]
        for name in set(names) - set(public_images.absent(sdk, names)):
            sdk.images.remove(name)
        project = f"label={LABEL}={self.name}"
        runner.run(runner.Command(("docker", "image", "prune", "--force", "--filter", project)))

    def builds(self) -> list[Build]:
        """The images that carry this clone's label, each with the bytes it shares with no other."""
        known = self.project.sdk.df()["Images"] or []
        ours = [one for one in known if (one["Labels"] or {}).get(LABEL) == self.name]
        return [
            Build(_name(one), one["Size"] - max(one["SharedSize"], 0), self._is_needed(one))
            for one in ours
        ]

    def _is_needed(self, image: Mapping[str, Any]) -> bool:
        adopted = [name for name in _names(image) if not name.startswith(f"{self.name}-")]
        return bool(adopted) or image["Containers"] != 0

    def _networks(self) -> list[str]:
        """Those of the service that parses DAGs, where the stack runs: they may ask it things."""
        config = self.project.config
        if not any(service.state == "running" for service in self.project.ps()):
            return ["none"]
        return [config["networks"][name]["name"] for name in config["services"][PARSER]["networks"]]

    def _one_off(self, network: str, *argv: str) -> runner.Command:
        """Creates a container of the Airflow image, as the one that parses DAGs is."""
        parser = self.project.config["services"][PARSER]
        mounts = [
            f"--volume={mount['source']}:{mount['target']}:ro"
            for mount in parser["volumes"]
            if mount["type"] == "bind"
        ]
        # Values stay out of the argument list: `ps` shows it to everybody.
        names = [f"--env={name}" for name in parser["environment"]]
        rights = ("--cap-drop=ALL", "--security-opt=no-new-privileges:true")
        options = (*rights, f"--user={parser['user']}", f"--network={network}", *mounts, *names)
        return runner.Command(
            ("docker", "create", *options, f"{self.name}-airflow", *argv),
            env={**self.project.settings.compose_environment(), **parser["environment"]},
        )


def _names(image: Mapping[str, Any]) -> list[str]:
    """Its names; engines differ in how they say that it has none."""
    return [name for name in image["RepoTags"] or [] if name != "<none>:<none>"]


def _name(image: Mapping[str, Any]) -> str:
    return (_names(image) or [image["Id"]])[0]
