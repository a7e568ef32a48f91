"""One clone: its folder, its .env, and the environment of the shell that works in it."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import Problem, StackError
from orchestration.settings import envfile
from orchestration.settings.model import SECRETS, Settings

NO_ENV = Problem("not-installed", "There is no .env yet.", "inv install", ".env")


@dataclass(frozen=True)
class Project:
    """Created once in tasks.py and passed down; nothing else reads the shell's environment."""

    root: Path
    environ: Mapping[str, str]

    @property
    def env_file(self) -> Path:
        """The settings file."""
        return self.root / ".env"

    def settings(self) -> Settings:
        """Return the settings of .env, with the shell's environment above them.

        Raises StackError when there is no .env, a line is refused, or a value cannot be used.
        """
        if not self.env_file.exists():
            raise StackError(NO_ENV)
        return self.settings_of(envfile.read(self.env_file))

    def settings_of(self, text: str) -> Settings:
        """Return the settings of a .env that may not be written yet; raises as `settings`."""
        return Settings.of_text(text, self.root, self.environ)

    def draft_env(self, sizes: Mapping[str, str]) -> tuple[str, str]:
        """Return the text of a complete .env, and in one line what was done (blank: nothing).

        Blank settings are generated, those set to `auto` taken from `sizes`, and new settings
        appended. A value that is set is never changed. Nothing is written.
        """
        example = self.example()
        before, done = example, ".env made from .env.example"
        if self.env_file.exists():
            before, done = envfile.read(self.env_file), ""
            if added := envfile.missing_blocks(example, envfile.parse(before)):
                before = envfile.append(before, f"# added by an upgrade\n{added}")
                done = "new settings appended to .env"
        filled = envfile.fill(before, self._generated())
        filled = envfile.fill(filled, sizes, ("auto",))
        return filled, done or ("blank settings of .env filled" if filled != before else "")

    def example(self) -> str:
        """Return the text of .env.example."""
        return (self.root / ".env.example").read_text(encoding="utf-8")

    def secrets(self) -> dict[str, str]:
        """Return the value of each secret, blank ones too.

        Raises StackError where there is no .env.
        """
        if not self.env_file.exists():
            raise StackError(NO_ENV)
        written = envfile.parse(envfile.read(self.env_file))
        return {name: self.environ.get(name, written.get(name, "")) for name in SECRETS}

    def keys_are_new(self) -> bool:
        """Return whether .env does not have the keys yet that existing data would need."""
        exists = self.env_file.exists()
        current = envfile.parse(envfile.read(self.env_file)) if exists else {}
        return not (current.get("POSTGRES_PASSWORD") and current.get("AIRFLOW_FERNET_KEY"))

    def write_env(self, text: str, engine: str) -> None:
        """Write .env (0600), with the engine that was chosen instead of `auto`."""
        envfile.write(self.env_file, envfile.fill(text, {"STACK_ENGINE": engine}, ("auto",)))

    @property
    def name(self) -> str:
        """The name of this clone's stack, the same whenever .env is created in this folder."""
        folder = re.sub(r"[^a-z0-9]+", "-", self.root.name.lower()).strip("-") or "stack"
        return f"{folder}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:6]}"

    def _generated(self) -> dict[str, str]:
        return {
            **{name: generate() for name, generate in SECRETS.items()},
            "COMPOSE_PROJECT_NAME": self.name,
            "AIRFLOW_UID": str(os.getuid() or 50000),
        }
