"""What Airflow itself makes of each file, in parallel, remembered until something changed."""

import json
import math
import os
import re
import select
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.dag_lint.cache import Memory
from checks.dag_lint.findings import Finding
from orchestration.errors import StackError
from orchestration.process import runner

SERVER = Path(__file__).with_name("server")
# What the stack's services have as theirs.
PLUGINS = SERVER.parents[2] / "plugins"
SLOW = 2.0
FILES_EACH = 10
A_PACKAGE = "a line in install/requirements.txt, then inv rebuild"
# Beyond a file's own limit: Airflow's import, a busy machine.
PATIENCE = 120.0


@dataclass(frozen=True)
class Airflow:
    """A Python that has Airflow, and a folder for its database and for what is remembered."""

    python: Path
    home: Path

    def environment(self, root: Path, database: Path) -> dict[str, str]:
        """This process's own, with Airflow led to an empty database of its own."""
        return {
            # With `True` Airflow also knows the plugins of its examples.
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(root),
            # The limit is kept from outside; a file could switch off this one.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
            "AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH": "50",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
            # Nothing is left behind in the folder that is looked at; without any bytecode each
            # start would compile Airflow anew.
            "PYTHONPYCACHEPREFIX": str(self.home / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def states(self) -> Iterator[str]:
        """What the answers of this Airflow depend on besides the files it is asked about."""
        stamp = self.home / "stamp"
        yield stamp.read_text() if stamp.exists() else ""
        yield from sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("AIRFLOW"))
        for folder in (SERVER, PLUGINS):
            yield from (path.read_text() for path in sorted(folder.rglob("*.py")))

    @contextmanager
    def database(self) -> Iterator[Path]:
        """A copy of a migrated database without a row, made once; files may write to the copy."""
        made = self.home / "empty.db"
        if not made.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            part = made.with_suffix(".part")
            part.unlink(missing_ok=True)
            argv = (str(self.python), "-m", "airflow", "db", "migrate")
            runner.run(runner.Command(argv, env=self.environment(self.home, part)))
            part.rename(made)
        with tempfile.TemporaryDirectory() as folder:
            yield Path(shutil.copy(made, folder))


@dataclass(frozen=True)
class Parsed:
    """What Airflow made of a file: its DAGs and what it said; seconds of one parse."""

    path: Path
    seconds: float = 0.0
    dags: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()
    remembered: bool = False


class Server:
    """A process that has Airflow imported and parses a file for each line it is given."""

    def __init__(
        self, airflow: Airflow, root: Path, database: Path, modules: Sequence[str]
    ) -> None:
        self.argv = [str(airflow.python), str(SERVER), str(root), *modules]
        self.env = airflow.environment(root, database)
        self.start()

    def start(self) -> None:
        """Start it; it is asked as soon as it is ready."""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            self.argv, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )
        self.ready = False

    def ask(self, file: Path, limit: float) -> dict[str, Any]:
        """Its answer; where the file brought the server itself down, that. Starts it anew then.

        Raises StackError with its last words if it does not even start.
        """
        if not self.ready:
            if self.line(PATIENCE) != "ready":
                raise StackError(f"Airflow does not start to parse:\n{self.end()}")
            self.ready = True
        assert self.process.stdin
        # Gone already, it says nothing either.
        with suppress(BrokenPipeError):
            request = {"file": str(file), "limit": limit}
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        if said := self.line(PATIENCE + 2 * limit):
            answer: dict[str, Any] = json.loads(said)
            return answer
        self.end()
        self.start()
        return {"ended": True, "how": "the process above it gone too"}

    def line(self, seconds: float) -> str:
        """The next line it says, blank if none comes."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return ""
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self) -> str:
        """End it; the last words of its log."""
        self.process.kill()
        self.process.communicate()
        self.log.seek(0)
        return runner.tail(self.log.read().decode(errors="replace"))


@dataclass
class Truth:
    """Parses files on all processors; the servers start at once, while others read the sources."""

    airflow: Airflow
    root: Path
    limit: float
    fresh: bool = False
    servers: list[Server] = field(default_factory=list)

    def start(self, files: Sequence[Path], database: Path) -> None:
        """Look what is known already, and start as many servers as the rest can use."""
        given = [*self.airflow.states(), str(self.limit)]
        self.memory = Memory(self.airflow.home / "parsed", self.root, given)
        known = {} if self.fresh else self.memory.known(files)
        self.known = {path: _judged(path, one, remembered=True) for path, one in known.items()}
        self.waiting = [path for path in files if path not in self.known]
        modules = sorted({name for path in self.waiting for name in _of_airflow(path)})
        # Airflow's import takes as long as some hundred files; few files need no second one.
        for _ in range(min(os.cpu_count() or 1, math.ceil(len(self.waiting) / FILES_EACH))):
            self.servers.append(Server(self.airflow, self.root, database, modules))

    def results(self, told: Callable[[int], None]) -> list[Parsed]:
        """Each file, in order; `told` hears how many are done.

        Raises StackError where Airflow does not start.
        """
        todo = iter(self.waiting)
        answers: dict[Path, dict[str, Any]] = {}
        lock = threading.Lock()

        def work(server: Server) -> None:
            while True:
                with lock:
                    told(len(self.known) + len(answers))
                    path = next(todo, None)
                if path is None:
                    return
                answers[path] = server.ask(path, self.limit)

        with ThreadPoolExecutor(max(1, len(self.servers))) as threads:
            list(threads.map(work, self.servers))
        self.memory.keep(answers)
        judged = [_judged(path, answer) for path, answer in answers.items()]
        return sorted([*self.known.values(), *judged], key=lambda one: one.path)

    def end(self) -> None:
        """End the servers."""
        for server in self.servers:
            server.end()


def _of_airflow(path: Path) -> list[str]:
    """The modules of Airflow that a file imports, for the server to have them before it forks.

    As Airflow's dag-processor does before each file (`parsing_pre_import_modules`).
    """
    text = path.read_text(encoding="utf-8", errors="ignore") if path.suffix == ".py" else ""
    return re.findall(r"^(?:from|import) (airflow(?:\.\w+)+)", text, re.MULTILINE)


def _judged(path: Path, answer: Mapping[str, Any], *, remembered: bool = False) -> Parsed:
    """An answer as findings."""
    if "limit" in answer:
        why = f"not parsed within {answer['limit']:g} s"
        return Parsed(path, answer["limit"], findings=[Finding(path, 1, "time-limit", why)])
    if "ended" in answer:
        why = f"it ends the process that parses it ({answer['how']})"
        return Parsed(path, findings=[Finding(path, 1, "ended", why)])
    found = [Finding(Path(file), line, rule, why) for file, line, rule, why in answer["work"]]
    killed = any(one.rule == "kill" for one in found)
    found += [] if killed else [_import_error(path, error) for error in answer["errors"]]
    if answer["seconds"] > SLOW:
        why = f"{answer['seconds']:.1f} s to parse"
        found.append(Finding(path, 1, "slow-parse", why))
    return Parsed(path, answer["seconds"], answer["dags"], found, remembered)


def _import_error(path: Path, error: str) -> Finding:
    """Where in the file it happened, as its traceback tells; a zip file has no lines."""
    lines = re.findall(rf'File "{re.escape(str(path))}", line (\d+)', error)
    said = error.strip().splitlines()[-1]
    fix = A_PACKAGE if said.startswith("ModuleNotFoundError") else ""
    return Finding(path, int(lines[-1]) if lines else 1, "import-error", said, fix)
