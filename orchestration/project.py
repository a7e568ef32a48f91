"""One clone of the repository: its folder, its .env and the shell's environment."""

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
    """A clone and its environment. Created in tasks.py, which alone reads `os.environ`."""

    root: Path
    environ: Mapping[str, str]

    @property
    def env_file(self) -> Path:
        """The path of .env."""
        return self.root / ".env"

    def settings(self) -> Settings:
        """Return the settings in .env; variables of the shell take precedence.

        Raises StackError if there is no .env, a line is malformed or a value cannot be used.
        """
        if not self.env_file.exists():
            raise StackError(NO_ENV)
        return self.settings_of(envfile.read(self.env_file))

    def settings_of(self, text: str) -> Settings:
        """Return the settings in the text of a .env, which need not exist as a file yet."""
        return Settings.from_text(text, self.root, self.environ)

    def draft_env(self, sizes: Mapping[str, str]) -> tuple[str, str]:
        """Return the text of a complete .env and a one-line summary of the changes, if any.

        Generates blank settings, replaces `auto` by the values in `sizes` and appends new settings.
        Before the first install, settings of the shell replace values of the example, because later
        commands may run in another shell. Other values that are set never change. Nothing is
        written.

        Raises StackError if a value of the shell cannot be written.
        """
        example = self.example()
        text, summary = example, "Created .env from .env.example."
        if self.env_file.exists():
            text, summary = envfile.read(self.env_file), ""
            if missing := envfile.missing_blocks(example, envfile.parse(text)):
                text = envfile.append(text, f"# added by an upgrade\n{missing}")
                summary = "Appended new settings to .env."
        filled, from_shell, general = self._with_exported(text, example)
        filled = envfile.fill(filled, self._generated())
        filled = envfile.fill(filled, sizes, ("auto",))
        summary = summary or ("Filled in blank settings of .env." if filled != text else "")
        if from_shell:
            summary += f"\nWrote to .env from this shell: {', '.join(from_shell)}."
        if general:
            summary += f"\nIn this shell only: {', '.join(general)}. If the stack needs them, "
            summary += "add them to .env."
        return filled, summary

    def _with_exported(self, text: str, example: str) -> tuple[str, list[str], list[str]]:
        """Return the text with the shell's settings instead of the example's, and their names.

        Those of AWS's tools may expire or concern another program, so they are only returned.
        """
        if not self.keys_are_new():
            return text, [], []
        defaults = envfile.parse(example, ".env.example")
        present = {**defaults, **envfile.parse(text)}
        names = [
            name
            for name, default in defaults.items()
            if self.environ.get(name, "") not in ("", default) and present[name] == default
        ]
        general = [name for name in names if name.startswith("AWS_")]
        names = [name for name in names if name not in general]
        for name in names:
            value = envfile.written(name, self.environ[name])
            text = envfile.fill(text, {name: value}, (defaults[name],))
        return text, names, general

    def example(self) -> str:
        """Return the text of .env.example."""
        return (self.root / ".env.example").read_text(encoding="utf-8")

    def secrets(self) -> dict[str, str]:
        """Return the values of all secrets by name, including blank ones.

        Raises StackError if there is no .env.
        """
        if not self.env_file.exists():
            raise StackError(NO_ENV)
        written = envfile.parse(envfile.read(self.env_file))
        return {name: self.environ.get(name, written.get(name, "")) for name in SECRETS}

    def keys_are_new(self) -> bool:
        """Return whether .env still lacks the keys that existing data would need."""
        exists = self.env_file.exists()
        current = envfile.parse(envfile.read(self.env_file)) if exists else {}
        return not (current.get("POSTGRES_PASSWORD") and current.get("AIRFLOW_FERNET_KEY"))

    def write_env(self, text: str, engine: str) -> None:
        """Write .env with mode 0600, replacing the engine `auto` by `engine`."""
        envfile.write(self.env_file, envfile.fill(text, {"STACK_ENGINE": engine}, ("auto",)))

    @property
    def name(self) -> str:
        """The name of this clone's stack, which depends only on the path of the folder."""
        folder = re.sub(r"[^a-z0-9]+", "-", self.root.name.lower()).strip("-") or "stack"
        return f"{folder}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:6]}"

    def _generated(self) -> dict[str, str]:
        return {
            **{name: generate() for name, generate in SECRETS.items()},
            "COMPOSE_PROJECT_NAME": self.name,
            "AIRFLOW_UID": str(os.getuid() or 50000),
        }
