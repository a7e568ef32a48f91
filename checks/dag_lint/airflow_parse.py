"""Parse DAG files with Airflow itself, on all CPUs, and only those that changed."""

import itertools
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from checks.dag_lint.cache import Answer, Cache
from checks.dag_lint.findings import Finding
from orchestration.dependencies import debian
from orchestration.errors import StackError
from orchestration.process import runner

SERVER = Path(__file__).with_name("server")
# The plugins folder of the stack's services.
PLUGINS = SERVER.parents[2] / "plugins"
# The server applies some of the patches of the services.
PATCHES = SERVER.parents[2] / "orchestration/config/stack_runtime/airflow/patches"
SLOW = 2.0
FILES_EACH = 10
PACKAGE_FIX = "add the package to install/requirements.txt, then run: inv rebuild"
MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
# Seconds beyond a file's own limit, for Airflow's import on a busy machine.
PATIENCE = 120.0


@dataclass(frozen=True)
class Parsed:
    """The DAGs and findings of a file, and the seconds of one parse."""

    path: Path
    seconds: float = 0.0
    dags: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()
    cached: bool = False


@dataclass(frozen=True)
class Airflow:
    """A Python with Airflow, and a folder for its database and the cache."""

    python: Path
    home: Path

    def parse(self, files: Sequence[Path], root: Path, limit: float, fresh: bool) -> list[Parsed]:
        """Return Airflow's result for each file, in order; `fresh` bypasses the cache.

        `limit` is the seconds for one file. Raises StackError if Airflow does not start.
        """
        cache = Cache(self.home / "parsed", root, [*_states(), str(limit)])
        cached = {} if fresh else cache.answers(files)
        answers: dict[Path, Answer] = {}
        waiting = [path for path in files if path not in cached]
        todo = iter(waiting)
        modules = sorted({name for path in waiting for name in _airflow_modules(path)})
        lock = threading.Lock()

        def work(_: int) -> None:
            """Send files to a server until all are parsed. Start a new server if it crashes."""
            for first in todo:
                with self._server(root, database, modules) as server:
                    for path in itertools.chain([first], todo):
                        with suppress(OSError):
                            server.send((str(path), limit))
                        answer = _receive(server, PATIENCE + 2 * limit)
                        with lock:
                            answers[path] = answer or {"how": "the parsing server too"}
                            _show_progress(len(cached) + len(answers), len(files))
                        if not answer:
                            break

        # Airflow's import takes as long as some hundred files, so few files need one server.
        servers = min(os.cpu_count() or 1, math.ceil(len(waiting) / FILES_EACH))
        with self._database() as database, ThreadPoolExecutor(servers or 1) as threads:
            list(threads.map(work, range(servers)))
        cache.store(answers)
        answers |= cached
        return [judge(path, answers[path], cached=path in cached) for path in files]

    def _environment(self, root: Path, database: Path) -> dict[str, str]:
        """Return this process's environment, with Airflow on an empty database."""
        return {
            # `True` would also load the plugins of Airflow's examples.
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(root),
            # The server enforces the limit, because a file could disable Airflow's own.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
            "AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH": "50",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
            # Write no bytecode into the checked folder, but keep it elsewhere: otherwise each
            # start would compile Airflow again.
            "PYTHONPYCACHEPREFIX": str(self.home / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "",
        }

    @contextmanager
    def _database(self) -> Iterator[Path]:
        """Provide a copy of an empty, migrated database, to which the files may write."""
        database = self.home / "empty.db"
        if not database.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            part = database.with_suffix(".part")
            part.unlink(missing_ok=True)
            argv = (str(self.python), "-m", "airflow", "db", "migrate")
            runner.run(runner.Command(argv, env=self._environment(self.home, part)))
            part.rename(database)
        with tempfile.TemporaryDirectory() as folder:
            yield Path(shutil.copy(database, folder))

    @contextmanager
    def _server(self, root: Path, database: Path, modules: Sequence[str]) -> Iterator[Connection]:
        """Start a process that imports Airflow, and provide the connection to send it files.

        Raises StackError with its last output if it does not start.
        """
        ours, theirs = Pipe()
        number = theirs.fileno()
        with ours, tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [str(self.python), str(SERVER), str(root), str(number), *modules],
                env=self._environment(root, database),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[number],
            )
            theirs.close()
            try:
                if not _receive(ours, PATIENCE):
                    log.seek(0)
                    text = log.read().decode(errors="replace")
                    raise StackError(f"Airflow did not start:\n{runner.tail(text)}")
                yield ours
            finally:
                process.kill()
                process.wait()


def _states() -> Iterator[str]:
    """Yield everything except the DAG files that the answers depend on."""
    yield from sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("AIRFLOW"))
    for folder in (SERVER, PLUGINS, PATCHES):
        yield from (path.read_text() for path in sorted(folder.rglob("*.py")))


def _receive(server: Connection, seconds: float) -> Any:
    """Return the next message of a server, or None if it sends none in time or exits."""
    with suppress(EOFError, OSError):
        return server.recv() if server.poll(seconds) else None


def _show_progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{of} parsed " + "\r" * (done == of), end="", file=sys.stderr, flush=True)


def _airflow_modules(path: Path) -> list[str]:
    """Return the Airflow modules that a file imports, which a server imports before it forks.

    Airflow's dag-processor does the same (`parsing_pre_import_modules`).
    """
    text = path.read_text(encoding="utf-8", errors="ignore") if path.suffix == ".py" else ""
    return re.findall(r"^(?:from|import) (airflow(?:\.\w+)+)", text, re.MULTILINE)


def judge(path: Path, answer: Answer, *, cached: bool = False) -> Parsed:
    """Convert the answer of a server to the findings of a file."""
    if "limit" in answer:
        why = f"not parsed within {answer['limit']:g} s"
        return Parsed(path, answer["limit"], findings=[Finding(path, 1, "time-limit", why)])
    if "how" in answer:
        why = f"the file kills the process that parses it ({answer['how']})"
        return Parsed(path, findings=[Finding(path, 1, "ended", why)])
    findings = [Finding(Path(file), line, rule, why) for file, line, rule, why in answer["work"]]
    if not any(one.rule == "kill" for one in findings):
        findings += [_import_error(path, error) for error in answer["errors"]]
    if answer["seconds"] > SLOW:
        findings.append(Finding(path, 1, "slow-parse", f"{answer['seconds']:.1f} s to parse"))
    return Parsed(path, answer["seconds"], answer["dags"], findings, cached)


def _import_error(path: Path, error: str) -> Finding:
    """Return a finding at the file's last line in the traceback; a zip file has no lines."""
    lines = re.findall(rf'File "{re.escape(str(path))}", line (\d+)', error)
    last = error.strip().splitlines()[-1]
    fix = debian.missing_library_advice(last).replace("\n", " ").rstrip(".")
    if match := MISSING_MODULE.match(last):
        fix = _missing_module_fix(path, match[1])
    return Finding(path, int(lines[-1]) if lines else 1, "import-error", last, fix)


def _missing_module_fix(path: Path, module: str) -> str:
    """Return the next step for a module that a file cannot import."""
    name = module.partition(".")[0]
    if name == "include":
        return "put the module into include/, next to the DAGs folder"
    if name in (folder.name for folder in path.parents[:3]):
        return f"remove the prefix {name}: modules are searched in the DAGs folder itself"
    return PACKAGE_FIX
