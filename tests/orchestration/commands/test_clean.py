"""What `inv clean` removes and keeps. The SQL itself is tested in tests/e2e/test_clean.py."""

import json
import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration import lifecycle
from orchestration.commands import clean
from orchestration.commands.clean import Row, as_table, freed, parse_age, size_text
from orchestration.engines.base import Build, runtime_module
from orchestration.engines.docker import engine as docker_engine
from orchestration.engines.docker.engine import DockerEngine
from orchestration.engines.standalone import virtualenvs
from orchestration.engines.standalone.environment import State
from orchestration.engines.standalone.virtualenvs import Environments
from orchestration.errors import StackError
from orchestration.process import background
from tests.support.repository import ROOT

DAY = 86400
NOW = time.time()
BEFORE = NOW - 30 * DAY
HISTORY = {"what": "Airflow's history", "holds": 4096, "old": 1024, "summary": "2 runs, 9 rows"}
DELETED = {
    "what": "MLflow's deleted runs",
    "holds": 2**21,
    "old": 2**20,
    "summary": "1 run, 0 models",
}


def script_output(row, left=None):
    return f"a line that Airflow prints\n{json.dumps([{**row, 'left': left}])}\n"


@pytest.fixture
def cleaned(project, engine, make_settings, recorded, monkeypatch, capsys):
    """A function that runs `inv clean` with the fake engine and returns its output as one line."""
    monkeypatch.setattr(background, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(clean, "working_engine", lambda project: (make_settings(), engine))
    recorded.outputs = {
        "airflow.cleanup": script_output(HISTORY), "mlflow.cleanup": script_output(DELETED),
    }  # fmt: skip
    engine.existing_builds = [Build("mine-airflow", 1000, True), Build("sha256:old", 500, False)]

    def run(**options):
        clean.run(project, **{"older_than": "30d", "dry_run": False, **options})
        return " ".join(capsys.readouterr().out.split())

    return run


# The command


def test_clean_dry_run_lists_sizes_and_removes_nothing(cleaned, engine, recorded):
    output = cleaned(dry_run=True)
    assert recorded.lines == [
        " ".join([sys.executable, *runtime_module(name)[1:], str(30 * DAY)])
        for name in ("airflow.cleanup", "mlflow.cleanup")
    ]
    assert engine.calls == []
    assert "would be freed" in output
    assert "Airflow's history 4.0 KiB 1.0 KiB 2 runs, 9 rows" in output
    assert "builds 1.5 KiB 500 B sha256:old" in output
    assert f"total {size_text(1024 + 2**20 + 500)}" in output


def test_clean_removes_and_prints_freed_space(cleaned, engine, recorded, monkeypatch):
    recorded.outputs["airflow.cleanup"] = script_output(HISTORY, left=3072)
    monkeypatch.setattr(engine, "prune", lambda: engine.existing_builds.pop())
    output = cleaned(older_than="12h")
    assert [line.split()[4:] for line in recorded.lines] == [[str(12 * 3600), "apply"]] * 2
    assert "Airflow's history 4.0 KiB 1.0 KiB 3.0 KiB 2 runs, 9 rows" in output
    assert "MLflow's deleted runs 2.0 MiB 0 B 2.0 MiB" in output
    assert "builds 1.5 KiB 500 B 1000 B sha256:old" in output
    assert f"total {size_text(1024 + 500)}" in output


def test_clean_without_inactive_builds_does_not_prune(cleaned, engine):
    engine.existing_builds = [Build("mine-airflow", 1000, True)]
    assert "builds 1000 B 0 B 1000 B none inactive" in cleaned()
    assert engine.calls == []


def test_clean_runs_all_steps_and_raises_failures_at_the_end(cleaned, engine, recorded, capsys):
    recorded.failures = {"mlflow.cleanup": "no answer within 1800 s"}
    engine.prune_fails = StackError("no Docker engine answers")
    with pytest.raises(StackError) as raised:
        cleaned()
    assert str(raised.value).splitlines() == [
        "MLflow: no answer within 1800 s",
        "builds: no Docker engine answers",
        "Fix this, then run: inv clean",
    ]
    output = capsys.readouterr().out
    assert "2 runs, 9 rows" in output
    assert "no Docker engine answers" in output


def test_clean_raises_failures_reported_by_a_script(cleaned, recorded):
    rows = [HISTORY, {"what": "task logs", "error": "3 of 9 files could not be removed"}]
    recorded.outputs["airflow.cleanup"] = json.dumps(rows)
    with pytest.raises(StackError, match="task logs: 3 of 9 files could not be removed"):
        cleaned()


def test_clean_of_stopped_stack_suggests_inv_up_and_prunes(cleaned, engine, recorded):
    engine.ps_result = []
    with pytest.raises(StackError) as raised:
        cleaned()
    assert "Airflow: postgres is not running.\nRun: inv up" in str(raised.value)
    assert "MLflow: mlflow is not running.\nRun: inv up" in str(raised.value)
    assert (recorded.lines, engine.calls) == ([], ["prune"])


def test_clean_fails_if_a_script_prints_no_json(cleaned, recorded):
    recorded.outputs["airflow.cleanup"] = "Killed"
    with pytest.raises(StackError, match=r"Airflow: Expected JSON, .*\nKilled"):
        cleaned()


@pytest.mark.parametrize(
    ("text", "age"),
    [("30d", timedelta(days=30)), ("60m", timedelta(hours=1)), ("12h", timedelta(hours=12))],
)
def test_parse_age_returns_timedelta(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("month", "not a duration"),
        ("", "not a duration"),
        ("-3d", "not a duration"),
        ("59m", "too short"),
        ("0d", "too short"),
    ],
)
def test_clean_with_invalid_age_fails_before_any_engine_call(
    cleaned, engine, recorded, text, reason
):
    with pytest.raises(StackError, match=f"^--older-than {text} is {reason}"):
        cleaned(older_than=text)
    assert (recorded.lines, engine.calls) == ([], [])


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * 2**20, "20 MiB"), (2**50, "1024 TiB")],
)
def test_size_text_uses_binary_units(count, text):
    assert size_text(count) == text


def test_freed_is_zero_if_services_wrote_more_meanwhile():
    assert freed(Row("x", holds=10, old=5, left=12)) == 0
    assert freed(Row("x", holds=10, old=5)) == 0


def test_as_table_escapes_brackets():
    table = as_table([Row("a", summary="[red]"), Row("b", error="[bold]")], removed=False)
    assert list(table.columns[-1].cells) == [r"\[red]", r"\[bold]", ""]


def test_clean_up_modules_and_services_exist_on_both_engines():
    from orchestration.engines.standalone.engine import SERVICES

    runtime = ROOT / "orchestration/config/stack_runtime"
    for module, service, needed in clean.MODULES.values():
        assert (runtime / f"{module.replace('.', '/')}.py").exists()
        assert {service, needed} <= set(SERVICES)
    assert clean.working_engine is lifecycle.working_engine


# Builds


def test_docker_builds_marks_unused_images_of_this_clone(make_settings, recorded):
    docker = DockerEngine(make_settings())
    ours = docker.candidates.name
    image = {"Size": 900, "SharedSize": 600, "Labels": {"com.docker.compose.project": ours}}
    foreign = {**image, "Labels": {"com.docker.compose.project": "another-candidate"}}
    images = [
        {**image, "Id": "used", "RepoTags": [f"{docker.settings.project}-mlflow:latest"]},
        {**image, "Id": "running", "RepoTags": None, "Containers": 1},
        {**image, "Id": "unknown", "RepoTags": None, "Containers": -1},
        {**image, "Id": "old", "RepoTags": ["<none>:<none>"]},
        {**image, "Id": "unfinished", "RepoTags": [f"{ours}-mlflow:latest"], "SharedSize": -1},
        {**foreign, "Id": "theirs", "RepoTags": None},
        {**image, "Id": "nobody's", "RepoTags": None, "Labels": None},
    ]
    for one in images:
        one.setdefault("Containers", 0)
    docker.project.__dict__["sdk"] = SimpleNamespace(df=lambda: {"Images": images})
    assert docker.builds() == [
        Build(f"{docker.settings.project}-mlflow:latest", 300, True),
        Build("running", 300, True),
        Build("unknown", 300, True),
        Build("old", 300, False),
        Build(f"{ours}-mlflow:latest", 900, False),
    ]
    assert docker_engine.Build is Build


def test_docker_builds_without_images_is_empty(make_settings):
    docker = DockerEngine(make_settings())
    docker.project.__dict__["sdk"] = SimpleNamespace(df=lambda: {"Images": None})
    assert docker.builds() == []


def test_standalone_builds_marks_what_prune_would_delete(clone, make_settings, monkeypatch):
    state = State(clone / ".state")
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: state))
    environments = Environments(make_settings())
    for name in ("status-new", "status-old", "status-runs"):
        (state.folder / "envs" / name).mkdir(parents=True)
    (state.folder / "envs" / "status").symlink_to("status-new")
    (state.folder / "envs/status-old/module.py").write_bytes(b"x" * 9000)
    needed = {build.name: build.needed for build in environments.builds(["status-runs"])}
    assert needed == {"status-new": True, "status-old": False, "status-runs": True}
    environments.prune(["status-runs"])
    names = {build.name for build in environments.builds(["status-runs"])}
    assert names == {"status-new", "status-runs"}


def test_reclaimable_bytes_excludes_files_linked_to_the_cache(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "cache").write_bytes(b"x" * 9000)
    os.link(tmp_path / "cache", tmp_path / "env" / "linked")
    assert virtualenvs.reclaimable_bytes(tmp_path / "env") == 0
    (tmp_path / "env" / "own").write_bytes(b"x" * 9000)
    assert virtualenvs.reclaimable_bytes(tmp_path / "env") >= 9000


# The scripts in the services


def write(path, days, size=5000):
    """Create a file that was last written so many days ago, in folders of the same age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    age(path, days)
    return path


def age(path, days):
    for place in [path, *path.parents][:5]:
        os.utime(place, (NOW - days * DAY,) * 2, follow_symlinks=False)


@pytest.fixture
def logs(tmp_path, script):
    """A logs folder with all kinds of runs. `clean` cleans it, `files` lists what remains."""
    folder = tmp_path / "logs"
    old = "dag_id=flights/run_id=manual__old/task_id=train/map_index=0/attempt=1.log"
    for name in (
        old,
        "dag_id=flights/run_id=manual__runs/task_id=train/attempt=1.log",
        "dag_id=gone/run_id=manual__old/task_id=train/attempt=1.log",
        "dag_processor/2013-01-01/dags-folder/flights.py.log",
        "notes/2013-01-01/mine.txt",
        "dag_id=mine/notes/mine.txt",
    ):
        write(folder / name, 40)
    write(folder / "dag_id=flights/run_id=manual__young/task_id=train/attempt=1.log", 1)
    write(folder / "dag_processor/2013-05-01/dags-folder/flights.py.log", 1)
    age(folder / "dag_id=flights", 1)
    (folder / "dag_processor" / "latest").symlink_to("2013-01-01")
    living = {("flights", "manual__runs")}

    def clean(remove=True):
        processor = folder / "dag_processor"
        return script("airflow.old_files").logs(folder, processor, living, BEFORE, remove=remove)

    def files():
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return {name for name in names if "latest" not in name}

    return SimpleNamespace(folder=folder, clean=clean, files=files, old=old)


def test_logs_removes_old_ones_and_keeps_those_of_running_runs(logs):
    row = logs.clean()
    assert logs.files() == {
        "dag_id=flights/run_id=manual__runs/task_id=train/attempt=1.log",
        "dag_id=flights/run_id=manual__young/task_id=train/attempt=1.log",
        "dag_processor/2013-05-01/dags-folder/flights.py.log",
        "notes/2013-01-01/mine.txt",
        "dag_id=mine/notes/mine.txt",
    }
    assert (row.summary, row.left) == ("3 files", row.holds - row.old)
    assert row.old >= 3 * 5000


def test_logs_removes_empty_folders(logs):
    logs.clean()
    assert not (logs.folder / "dag_id=flights/run_id=manual__old").exists()
    assert not (logs.folder / "dag_processor/2013-01-01").exists()
    assert not (logs.folder / "dag_id=gone").exists()


def test_logs_keeps_new_folders(logs):
    new = logs.folder / "dag_id=flights/run_id=manual__begins/task_id=train"
    new.mkdir(parents=True)
    logs.clean()
    assert new.exists()


def test_logs_dry_run_removes_nothing(logs):
    before = logs.files()
    row = logs.clean(remove=False)
    assert logs.files() == before
    assert (row.summary, row.left) == ("3 files", None)
    assert row.old >= 3 * 5000


def test_logs_does_not_follow_links(logs, tmp_path):
    outside = write(tmp_path / "outside" / "task_id=t" / "attempt=1.log", 90)
    (logs.folder / "dag_id=flights" / "run_id=linked").symlink_to(outside.parent.parent)
    logs.clean()
    assert outside.exists()


def test_logs_counts_processor_logs_in_another_folder_once(logs, script, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "2013-01-01" / "flights.py.log", 40)
    files = script("airflow.old_files")
    row = files.logs(logs.folder, elsewhere, set(), BEFORE, remove=False)
    within = files.logs(logs.folder, logs.folder / "dag_processor", set(), BEFORE, remove=False)
    assert row.holds == within.holds + files.allocated([elsewhere])


def test_logs_reports_unremovable_files_and_removes_the_rest(logs, script, monkeypatch):
    files, unlink = script("airflow.old_files"), Path.unlink

    def failing_unlink(path, *arguments, **options):
        if "dag_id=gone" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", failing_unlink)
    with pytest.raises(OSError, match=r"1 of 4 files could not be removed: .*Permission denied"):
        files.logs(logs.folder, logs.folder / "dag_processor", set(), BEFORE, remove=True)
    assert logs.old not in logs.files()


@pytest.fixture
def shared(tmp_path, script):
    """A function that cleans a data folder and returns the row and the removed folders."""
    folder = tmp_path / "data"
    for name, days in (
        ("flights/manual__old", 40),
        ("flights/named_by_hand", 40),
        ("flights/manual__nobody_knows_it", 40),
        ("flights/my_tables", 40),
        ("flights/manual__2013-02-01T00_00_00_00_00", 40),
        ("flights/manual__written", 0),
        ("mine/manual__old", 40),
    ):
        write(folder / name / "table.parquet", days)
        age(folder / name, days)
    living = {("flights", "manual__2013-02-01T00:00:00+00:00")}
    gone = [("flights", name) for name in ("manual__old", "named by hand", "manual__written")]

    files = script("airflow.old_files")

    def clean(remove=True):
        before = {path for path in folder.glob("*/*")}
        row = files.data(folder, {"flights"}, living, gone, BEFORE, remove=remove)
        return row, {path.name for path in before - set(folder.glob("*/*"))}

    return clean


def test_data_removes_folders_of_removed_runs_and_keeps_users_files(shared):
    row, removed = shared()
    assert removed == {"manual__old", "named_by_hand", "manual__nobody_knows_it"}
    assert (row.summary, row.left) == ("3 folders", row.holds - row.old)


def test_data_dry_run_removes_nothing(shared):
    row, removed = shared(remove=False)
    assert (row.summary, row.left, removed) == ("3 folders", None, set())


def test_folder_name_matches_the_pipelines(script):
    source = (ROOT / "dags/ml/data.py").read_text()
    assert 're.sub(r"[^A-Za-z0-9_-]", "_", run_id)' in source
    assert script("airflow.old_files").folder_name("manual__2013-01-01T00:00:00+00:00/..") == (
        "manual__2013-01-01T00_00_00_00_00___"
    )


def test_data_without_folder_is_empty(script, tmp_path):
    row = script("airflow.old_files").data(tmp_path / "none", {"a"}, set(), [], BEFORE, remove=True)
    assert (row.holds, row.old, row.summary) == (0, 0, "0 folders")


def test_cleanup_report_prints_rows_of_all_steps(script, capsys):
    report = script("shared.cleanup_report")

    def chatty():
        print("not a row")
        return report.Row("b", 1, 0, "none")

    def failing():
        raise OSError("no space left\nwith more of it")

    report.run({"a": failing, "b": chatty, "c": lambda: 1 / 0})
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert [row.get("error") for row in rows] == ["no space left", None, "division by zero"]
    assert "not a row" in captured.err
    assert captured.out.startswith('[{"what": ')


class Cursor:
    """A cursor with prepared answers that records its statements."""

    description = True

    def __init__(self, statements, answers):
        self.statements, self.answers, self.rows = statements, answers, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def execute(self, statement, values):
        self.statements.append(statement)
        self.rows = next((rows for words, rows in self.answers.items() if words in statement), [])
        if isinstance(self.rows, Exception):
            raise self.rows

    def fetchall(self):
        return self.rows


@pytest.fixture
def history(script):
    """Airflow's history on a fake database: 1 of 2 rows is old in each table of 2 MiB."""
    statements, cleanups = [], []
    answers = {
        "to_regclass": [(True,)],
        "FILTER": [(1, 2)],
        "pg_total": [(2**21,)],
        "count(*) FROM": [(0,)],
        "SELECT id FROM old_run": [(7,)],
        "RETURNING": [("flights", "manual__old")],
        "FROM old_run": [("flights", "manual__old"), ("flights", "started again")],
    }
    connection = SimpleNamespace(cursor=lambda: Cursor(statements, answers))
    modules = {
        "psycopg2": {"connect": lambda *a, **o: connection, "OperationalError": OSError},
        "airflow.utils.db_cleanup": {"run_cleanup": lambda **options: cleanups.append(options)},
    }
    database = script("airflow.old_history", **modules).History("postgresql+psycopg2://x", "a time")
    statements.clear()
    return SimpleNamespace(
        database=database, statements=statements, cleanups=cleanups, answers=answers
    )


def test_history_dry_run_only_selects(history):
    row = history.database.clean(remove=False)
    history.database.archives(remove=False)
    assert {statement.split()[0] for statement in history.statements} == {"SELECT"}
    assert history.cleanups == []
    assert (row.old, row.left) == (len(history.database.tables) * 2**20, None)


def test_history_passes_unreferenced_tables_to_airflows_clean_up(history):
    history.database.clean(remove=True)
    (options,) = history.cleanups
    assert (options["confirm"], options["skip_archive"], options["clean_before_timestamp"]) == (
        False, True, "a time",
    )  # fmt: skip
    assert set(options["table_names"]) == {
        "job", "log", "session", "celery_taskmeta", "celery_tasksetmeta",
    }  # fmt: skip


def test_history_deletes_only_runs_and_dag_versions(history):
    history.database.clean(remove=True)
    deleted = [line.split()[2] for line in history.statements if line.startswith("DELETE")]
    assert deleted == ["dag_run", "dag_version"]


def test_history_keeps_a_run_that_was_restarted_meanwhile(history):
    history.database.clean(remove=True)
    assert history.database.gone == [("flights", "manual__old")]
    truncated = history.statements.index("TRUNCATE old_run")
    deleted = [n for n, line in enumerate(history.statements) if line.startswith("DELETE")]
    assert all(truncated < number for number in deleted)


def test_history_does_not_wait_long_for_a_locked_table(history):
    history.answers["VACUUM (FULL"] = OSError("canceling statement due to lock timeout")
    history.database.clean(remove=True)
    limits = [line for line in history.statements if line.startswith(("SET", "VACUUM"))]
    per_table = ["SET lock_timeout = '2s'", "VACUUM (FULL", "SET lock_timeout = 0", "VACUUM (AN"]
    assert [line[: len(words)] for line, words in zip(limits, per_table * 99, strict=False)] == (
        per_table * len(history.database.tables)
    )


def test_history_does_not_rewrite_a_small_table(history):
    history.answers["pg_total"] = [(2**20,)]
    history.database.clean(remove=True)
    assert not [line for line in history.statements if "FULL" in line]


def test_history_fails_if_airflow_leaves_old_rows(history):
    history.answers["count(*) FROM"] = [(3,)]
    with pytest.raises(RuntimeError, match="left old rows in the table job"):
        history.database.clean(remove=True)


def test_history_without_old_rows_does_nothing(history):
    history.answers["FILTER"] = [(0, 2)]
    assert history.database.clean(remove=True).left is None
    assert history.cleanups == []


@pytest.mark.parametrize("remove", [True, False])
def test_archives_drops_only_old_tables_of_airflow(history, remove):
    history.database.before = datetime(2026, 5, 1)
    old, young = "_airflow_deleted__log__20260430235959", "_airflow_deleted__log__20260501000000"
    mine = "_airflow_deleted__mine"
    history.answers["pg_tables"] = [(old,), (young,), (mine,), ("dag_run",)]
    row = history.database.archives(remove=remove)
    dropped = [line for line in history.statements if line.startswith("DROP")]
    assert dropped == ([f'DROP TABLE "{old}"'] if remove else [])
    assert (row.summary, row.left is None) == ("1 table", not remove)


class Answers:
    """A fake of MLflow's store: the rows by the statement of the script."""

    def __init__(self, script, runs=(), models=(), experiments=()):
        self.rows = {
            script.OLD_RUNS: runs,
            script.OLD_MODELS: models,
            script.OLD_EXPERIMENTS: experiments,
        }

    def __call__(self, statement):
        return self.rows.get(statement, [(1000,)])


@pytest.fixture
def mlflow(script, tmp_path, monkeypatch):
    """The script with a fake MLflow: `clean` gets the old data, `calls` records MLflow's code."""
    calls = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5077")
    cli = SimpleNamespace(
        _gc_tracking_resources=lambda **options: calls.append(options),
        _get_store=lambda uri, destination: (uri, destination),
    )
    addresses = []
    modules = {
        "sqlalchemy": {"create_engine": lambda uri: None},
        "mlflow": {"cli": cli, "set_tracking_uri": addresses.append},
    }
    loaded = script("mlflow.cleanup", **modules)

    def clean(destination=str(tmp_path), remove=True, **old):
        store = loaded.Store("postgresql+psycopg2://x", destination, BEFORE)
        store.ask = Answers(loaded, **old)
        return store.clean(remove=remove)

    return SimpleNamespace(clean=clean, calls=calls, addresses=addresses, folder=tmp_path)


RUN = ("r1", "mlflow-artifacts:/1/r1/artifacts")


def test_mlflow_cleanup_passes_ids_and_never_means_all_deleted_runs(mlflow):
    row = mlflow.clean(runs=[RUN])
    (call,) = mlflow.calls
    assert (call["run_ids"], call["logged_model_ids"], call["experiment_ids"]) == (["r1"], [], [])
    # Without ids, MLflow would remove every deleted experiment.
    assert call["skip_experiments"] is True
    assert call["backend_store"] == ("postgresql+psycopg2://x", str(mlflow.folder))
    assert mlflow.addresses == ["http://127.0.0.1:5077"]
    assert row.summary == "1 run, 0 models"


def test_mlflow_cleanup_passes_ids_of_old_experiments(mlflow):
    mlflow.clean(experiments=[(5,), (6,)], models=[("m-1", "mlflow-artifacts:/5/models/m-1")])
    (call,) = mlflow.calls
    assert (call["experiment_ids"], call["skip_experiments"]) == (["5", "6"], False)
    assert (call["run_ids"], call["logged_model_ids"]) == ([], ["m-1"])


@pytest.mark.parametrize("old", [{"remove": False, "runs": [RUN]}, {"remove": True}])
def test_mlflow_cleanup_dry_run_or_without_old_data_calls_nothing(mlflow, old):
    assert mlflow.clean(**old).left is None
    assert mlflow.calls == []


def test_mlflow_cleanup_measures_artifacts_in_a_folder(mlflow):
    write(mlflow.folder / "1/r1/artifacts/model", 40, size=100_000)
    write(mlflow.folder / "1/r2/artifacts/model", 40, size=100_000)
    row = mlflow.clean(runs=[RUN], remove=False)
    assert 100_000 <= row.old < 200_000
    assert row.holds >= 200_000


def test_mlflow_cleanup_does_not_measure_a_bucket(mlflow):
    row = mlflow.clean("s3://bucket/prefix", runs=[RUN], remove=False)
    assert (row.holds, row.old) == (1000, 0)


def test_mlflow_cleanup_removes_empty_run_folders(mlflow):
    (mlflow.folder / "1/r1").mkdir(parents=True)
    write(mlflow.folder / "1/r2/artifacts/model", 40)
    mlflow.clean(runs=[RUN, ("r2", "mlflow-artifacts:/1/r2/artifacts")])
    assert [path.name for path in (mlflow.folder / "1").iterdir()] == ["r2"]
