"""What `inv clean` removes and what it must not; the SQL is tried in tests/e2e/test_clean.py."""

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration import lifecycle
from orchestration.commands import clean
from orchestration.commands.clean import Row, given_back, shown, size, span
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
HISTORY = {"what": "Airflow's history", "holds": 4096, "old": 1024, "told": "2 runs, 9 rows"}
DELETED = {"what": "MLflow's deleted runs", "holds": 2**21, "old": 2**20, "told": "1 run, 0 models"}


def said(row, left=None):
    return f"Airflow says something first\n{json.dumps([{**row, 'left': left}])}\n"


@pytest.fixture
def cleaned(project, engine, make_settings, recorded, monkeypatch, capsys):
    """Run `inv clean` against the paper engine; what it printed, blanks made one."""
    monkeypatch.setattr(background, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(clean, "working_engine", lambda project: (make_settings(), engine))
    recorded.outputs = {"airflow.cleanup": said(HISTORY), "mlflow.cleanup": said(DELETED)}
    engine.made = [Build("mine-airflow", 1000, True), Build("sha256:old", 500, False)]

    def run(**options):
        clean.run(project, **{"older_than": "30d", "dry_run": False, **options})
        return " ".join(capsys.readouterr().out.split())

    return run


# The verb


def test_a_dry_run_tells_and_asks_for_nothing_more(cleaned, engine, recorded):
    told = cleaned(dry_run=True)
    assert recorded.lines == [
        " ".join([*runtime_module(name), str(30 * DAY)])
        for name in ("airflow.cleanup", "mlflow.cleanup")
    ]
    assert engine.asked == []
    assert "would give back" in told
    assert "Airflow's history 4.0 KiB 1.0 KiB 2 runs, 9 rows" in told
    assert "former builds 1.5 KiB 500 B sha256:old" in told
    assert f"in all {size(1024 + 2**20 + 500)}" in told


def test_it_removes_and_tells_what_that_gave_back(cleaned, engine, recorded, monkeypatch):
    recorded.outputs["airflow.cleanup"] = said(HISTORY, left=3072)
    monkeypatch.setattr(engine, "prune", lambda: engine.made.pop())
    told = cleaned(older_than="12h")
    assert [line.split()[4:] for line in recorded.lines] == [[str(12 * 3600), "apply"]] * 2
    assert "Airflow's history 4.0 KiB 1.0 KiB 3.0 KiB 2 runs, 9 rows" in told
    assert "MLflow's deleted runs 2.0 MiB 0 B 2.0 MiB" in told
    assert "former builds 1.5 KiB 500 B 1000 B sha256:old" in told
    assert f"in all {size(1024 + 500)}" in told


def test_builds_that_are_all_needed_are_left_alone(cleaned, engine):
    engine.made = [Build("mine-airflow", 1000, True)]
    assert "former builds 1000 B 0 B 1000 B none" in cleaned()
    assert engine.asked == []


def test_what_fails_hides_no_other_and_is_the_reason_at_the_end(cleaned, engine, recorded, capsys):
    recorded.failures = {"mlflow.cleanup": "no answer within 1800 s"}
    engine.prune_fails = StackError("no Docker engine answers")
    with pytest.raises(StackError) as refused:
        cleaned()
    assert str(refused.value).splitlines() == [
        "MLflow: no answer within 1800 s",
        "former builds: no Docker engine answers",
        "Fix this, then run: inv clean",
    ]
    told = capsys.readouterr().out
    assert "2 runs, 9 rows" in told
    assert "no Docker engine answers" in told


def test_a_step_that_failed_where_it_ran_is_the_reason_too(cleaned, recorded):
    rows = [HISTORY, {"what": "task logs", "error": "3 of 9 files could not be removed"}]
    recorded.outputs["airflow.cleanup"] = json.dumps(rows)
    with pytest.raises(StackError, match="task logs: 3 of 9 files could not be removed"):
        cleaned()


def test_without_a_database_it_says_what_to_type_and_tidies_all_the_same(cleaned, engine, recorded):
    engine.listed = []
    with pytest.raises(StackError) as refused:
        cleaned()
    assert "Airflow: postgres is not running.\nRun: inv up" in str(refused.value)
    assert "MLflow: mlflow is not running.\nRun: inv up" in str(refused.value)
    assert (recorded.lines, engine.asked) == ([], ["prune"])


def test_a_script_that_tells_nothing_is_no_success(cleaned, recorded):
    recorded.outputs["airflow.cleanup"] = "Killed"
    with pytest.raises(StackError, match=r"Airflow: Expected JSON, .*\nKilled"):
        cleaned()


@pytest.mark.parametrize(
    ("text", "found"),
    [("30d", timedelta(days=30)), ("60m", timedelta(hours=1)), ("12h", timedelta(hours=12))],
)
def test_a_span_is_read(text, found):
    assert span(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("month", "not a duration"),
        ("", "not a duration"),
        ("-3d", "not a duration"),
        ("59m", "1h"),
        ("0d", "1h"),
    ],
)
def test_a_span_that_is_none_or_too_short_is_refused_before_anything_is_asked(
    cleaned, engine, recorded, text, why
):
    with pytest.raises(StackError, match=f"^--older-than {text} .*{why}"):
        cleaned(older_than=text)
    assert (recorded.lines, engine.asked) == ([], [])


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * 2**20, "20 MiB"), (2**50, "1024 TiB")],
)
def test_sizes_are_told_in_words(count, words):
    assert size(count) == words


def test_what_others_write_meanwhile_gives_nothing_back():
    assert given_back(Row("x", holds=10, old=5, left=12)) == 0
    assert given_back(Row("x", holds=10, old=5)) == 0


def test_what_stands_in_brackets_is_told_as_it_is():
    table = shown([Row("a", told="[red]"), Row("b", error="[bold]")], removed=False)
    assert list(table.columns[-1].cells) == [r"\[red]", r"\[bold]", ""]


def test_the_services_that_are_asked_exist_on_both_engines():
    from orchestration.engines.standalone.engine import SERVICES

    runtime = ROOT / "orchestration/config/stack_runtime"
    for module, service, needed in clean.MODULES.values():
        assert (runtime / f"{module.replace('.', '/')}.py").exists()
        assert {service, needed} <= set(SERVICES)
    assert clean.working_engine is lifecycle.working_engine


# What was built


def test_images_of_this_clone_that_nothing_needs_are_told(make_settings, recorded):
    docker = DockerEngine(make_settings())
    ours = docker.candidates.name
    image = {"Size": 900, "SharedSize": 600, "Labels": {"com.docker.compose.project": ours}}
    strange = {**image, "Labels": {"com.docker.compose.project": "another-candidate"}}
    images = [
        {**image, "Id": "used", "RepoTags": [f"{docker.settings.project}-mlflow:latest"]},
        {**image, "Id": "running", "RepoTags": None, "Containers": 1},
        {**image, "Id": "unknown", "RepoTags": None, "Containers": -1},
        {**image, "Id": "old", "RepoTags": ["<none>:<none>"]},
        {**image, "Id": "left", "RepoTags": [f"{ours}-mlflow:latest"], "SharedSize": -1},
        {**strange, "Id": "theirs", "RepoTags": None},
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


def test_a_machine_without_images_has_no_builds(make_settings):
    docker = DockerEngine(make_settings())
    docker.project.__dict__["sdk"] = SimpleNamespace(df=lambda: {"Images": None})
    assert docker.builds() == []


def test_environments_that_tidy_would_delete_are_told_as_not_needed(
    clone, make_settings, monkeypatch
):
    state = State(clone / ".state")
    monkeypatch.setattr(State, "of", classmethod(lambda cls, settings: state))
    made = Environments(make_settings())
    for name in ("status-new", "status-old", "status-runs"):
        (state.folder / "envs" / name).mkdir(parents=True)
    (state.folder / "envs" / "status").symlink_to("status-new")
    (state.folder / "envs/status-old/module.py").write_bytes(b"x" * 9000)
    told = {build.name: build.needed for build in made.builds(["status-runs"])}
    assert told == {"status-new": True, "status-old": False, "status-runs": True}
    made.prune(["status-runs"])
    assert {build.name for build in made.builds(["status-runs"])} == {"status-new", "status-runs"}


def test_files_that_the_cache_has_too_give_nothing_back(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "cache").write_bytes(b"x" * 9000)
    os.link(tmp_path / "cache", tmp_path / "env" / "linked")
    assert virtualenvs.held_alone(tmp_path / "env") == 0
    (tmp_path / "env" / "own").write_bytes(b"x" * 9000)
    assert virtualenvs.held_alone(tmp_path / "env") >= 9000


# The scripts in the services


def write(path, days, size=5000):
    """A file last written so many days ago, in folders as old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    age(path, days)
    return path


def age(path, days):
    for place in [path, *path.parents][:5]:
        os.utime(place, (NOW - days * DAY,) * 2, follow_symlinks=False)


@pytest.fixture
def logs(tmp_path, script):
    """A logs folder with runs of every kind; `clean` cleans it, `left` names what is there."""
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

    def left():
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return {name for name in found if "latest" not in name}

    return SimpleNamespace(folder=folder, clean=clean, left=left, old=old)


def test_old_logs_go_and_those_of_a_run_that_goes_on_stay(logs):
    row = logs.clean()
    assert logs.left() == {
        "dag_id=flights/run_id=manual__runs/task_id=train/attempt=1.log",
        "dag_id=flights/run_id=manual__young/task_id=train/attempt=1.log",
        "dag_processor/2013-05-01/dags-folder/flights.py.log",
        "notes/2013-01-01/mine.txt",
        "dag_id=mine/notes/mine.txt",
    }
    assert (row.told, row.left) == ("3 files", row.holds - row.old)
    assert row.old >= 3 * 5000


def test_folders_that_are_empty_then_go_too(logs):
    logs.clean()
    assert not (logs.folder / "dag_id=flights/run_id=manual__old").exists()
    assert not (logs.folder / "dag_processor/2013-01-01").exists()
    assert not (logs.folder / "dag_id=gone").exists()


def test_a_folder_in_which_something_was_made_just_now_stays(logs):
    begun = logs.folder / "dag_id=flights/run_id=manual__begins/task_id=train"
    begun.mkdir(parents=True)
    logs.clean()
    assert begun.exists()


def test_a_dry_run_touches_no_log(logs):
    before = logs.left()
    row = logs.clean(remove=False)
    assert logs.left() == before
    assert (row.told, row.left) == ("3 files", None)
    assert row.old >= 3 * 5000


def test_a_link_is_neither_followed_nor_counted(logs, tmp_path):
    outside = write(tmp_path / "outside" / "task_id=t" / "attempt=1.log", 90)
    (logs.folder / "dag_id=flights" / "run_id=linked").symlink_to(outside.parent.parent)
    logs.clean()
    assert outside.exists()


def test_logs_of_the_processor_elsewhere_are_counted_once(logs, script, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "2013-01-01" / "flights.py.log", 40)
    files = script("airflow.old_files")
    row = files.logs(logs.folder, elsewhere, set(), BEFORE, remove=False)
    within = files.logs(logs.folder, logs.folder / "dag_processor", set(), BEFORE, remove=False)
    assert row.holds == within.holds + files.allocated([elsewhere])


def test_what_cannot_be_removed_is_told_and_keeps_no_other(logs, script, monkeypatch):
    files, unlink = script("airflow.old_files"), Path.unlink

    def guarded(path, *arguments, **options):
        if "dag_id=gone" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", guarded)
    with pytest.raises(OSError, match=r"1 of 4 files could not be removed: .*Permission denied"):
        files.logs(logs.folder, logs.folder / "dag_processor", set(), BEFORE, remove=True)
    assert logs.old not in logs.left()


@pytest.fixture
def shared(tmp_path, script):
    """A data folder; `clean` cleans it and returns the folders that went."""
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


def test_data_of_runs_that_went_goes_and_nothing_a_person_put_there(shared):
    row, went = shared()
    assert went == {"manual__old", "named_by_hand", "manual__nobody_knows_it"}
    assert (row.told, row.left) == ("3 folders", row.holds - row.old)


def test_a_dry_run_touches_no_data(shared):
    row, went = shared(remove=False)
    assert (row.told, row.left, went) == ("3 folders", None, set())


def test_folders_of_runs_are_named_as_the_pipelines_name_them(script):
    source = (ROOT / "dags/ml/data.py").read_text()
    assert 're.sub(r"[^A-Za-z0-9_-]", "_", run_id)' in source
    assert script("airflow.old_files").folder_name("manual__2013-01-01T00:00:00+00:00/..") == (
        "manual__2013-01-01T00_00_00_00_00___"
    )


def test_no_data_folder_is_no_failure(script, tmp_path):
    row = script("airflow.old_files").data(tmp_path / "none", {"a"}, set(), [], BEFORE, remove=True)
    assert (row.holds, row.old, row.told) == (0, 0, "0 folders")


def test_a_step_that_fails_keeps_no_other_from_telling(script, capsys):
    cleaning = script("shared.cleanup_report")

    def chatty():
        print("not a row")
        return cleaning.Row("b", 1, 0, "none")

    def failing():
        raise OSError("no space left\nwith more of it")

    cleaning.run({"a": failing, "b": chatty, "c": lambda: 1 / 0})
    told = capsys.readouterr()
    rows = json.loads(told.out)
    assert [row.get("error") for row in rows] == ["no space left", None, "division by zero"]
    assert "not a row" in told.err
    assert told.out.startswith('[{"what": ')


class Cursor:
    """Answers nothing but counts; keeps the statements."""

    description = True

    def __init__(self, asked, answers):
        self.asked, self.answers, self.said = asked, answers, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def execute(self, statement, values):
        self.asked.append(statement)
        self.said = next((rows for words, rows in self.answers.items() if words in statement), [])
        if isinstance(self.said, Exception):
            raise self.said

    def fetchall(self):
        return self.said


@pytest.fixture
def history(script):
    """Airflow's history on a database of paper: 1 of 2 rows is old in a table of 2 MiB."""
    asked, cleaned = [], []
    answers = {
        "to_regclass": [(True,)],
        "FILTER": [(1, 2)],
        "pg_total": [(2**21,)],
        "count(*) FROM": [(0,)],
        "SELECT id FROM old_run": [(7,)],
        "RETURNING": [("flights", "manual__old")],
        "FROM old_run": [("flights", "manual__old"), ("flights", "started anew")],
    }
    connection = SimpleNamespace(cursor=lambda: Cursor(asked, answers))
    modules = {
        "psycopg2": {"connect": lambda *a, **o: connection, "OperationalError": OSError},
        "airflow.utils.db_cleanup": {"run_cleanup": lambda **how: cleaned.append(how)},
    }
    made = script("airflow.old_history", **modules).History("postgresql+psycopg2://x", "a moment")
    asked.clear()
    return SimpleNamespace(made=made, asked=asked, cleaned=cleaned, answers=answers)


def test_a_dry_run_only_selects(history):
    row = history.made.clean(remove=False)
    history.made.archives(remove=False)
    assert {statement.split()[0] for statement in history.asked} == {"SELECT"}
    assert history.cleaned == []
    assert (row.old, row.left) == (len(history.made.tables) * 2**20, None)


def test_airflows_own_code_gets_the_tables_that_stand_alone_and_asks_nothing(history):
    history.made.clean(remove=True)
    (how,) = history.cleaned
    assert (how["confirm"], how["skip_archive"], how["clean_before_timestamp"]) == (
        False, True, "a moment",
    )  # fmt: skip
    assert set(how["table_names"]) == {
        "job", "log", "session", "celery_taskmeta", "celery_tasksetmeta",
    }  # fmt: skip


def test_nothing_is_deleted_but_runs_and_versions(history):
    history.made.clean(remove=True)
    deleted = [line.split()[2] for line in history.asked if line.startswith("DELETE")]
    assert deleted == ["dag_run", "dag_version"]


def test_a_run_that_was_started_anew_meanwhile_is_living(history):
    history.made.clean(remove=True)
    assert history.made.gone == [("flights", "manual__old")]
    truncated = history.asked.index("TRUNCATE old_run")
    deleted = [n for n, line in enumerate(history.asked) if line.startswith("DELETE")]
    assert all(truncated < number for number in deleted)


def test_a_table_that_somebody_holds_is_not_waited_for(history):
    history.answers["VACUUM (FULL"] = OSError("canceling statement due to lock timeout")
    history.made.clean(remove=True)
    limits = [line for line in history.asked if line.startswith(("SET", "VACUUM"))]
    per_table = ["SET lock_timeout = '2s'", "VACUUM (FULL", "SET lock_timeout = 0", "VACUUM (AN"]
    assert [line[: len(words)] for line, words in zip(limits, per_table * 99, strict=False)] == (
        per_table * len(history.made.tables)
    )


def test_a_small_table_is_not_written_anew(history):
    history.answers["pg_total"] = [(2**20,)]
    history.made.clean(remove=True)
    assert not [line for line in history.asked if "FULL" in line]


def test_rows_that_airflow_could_not_delete_are_a_failure(history):
    history.answers["count(*) FROM"] = [(3,)]
    with pytest.raises(RuntimeError, match="left old rows in the table job"):
        history.made.clean(remove=True)


def test_where_nothing_is_old_nothing_is_done(history):
    history.answers["FILTER"] = [(0, 2)]
    assert history.made.clean(remove=True).left is None
    assert history.cleaned == []


@pytest.mark.parametrize("remove", [True, False])
def test_only_archives_older_than_the_span_are_dropped(history, remove):
    history.made.before = datetime(2026, 5, 1)
    old, young = "_airflow_deleted__log__20260430235959", "_airflow_deleted__log__20260501000000"
    mine = "_airflow_deleted__mine"
    history.answers["pg_tables"] = [(old,), (young,), (mine,), ("dag_run",)]
    row = history.made.archives(remove=remove)
    dropped = [line for line in history.asked if line.startswith("DROP")]
    assert dropped == ([f'DROP TABLE "{old}"'] if remove else [])
    assert (row.told, row.left is None) == ("1 table", not remove)


class Answers:
    """MLflow's store on paper: rows by what a statement is called in the script."""

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
    """The script beside an MLflow of paper: `clean` with what is old, `asked` of its code."""
    asked = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5077")
    cli = SimpleNamespace(
        _gc_tracking_resources=lambda **how: asked.append(how),
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

    return SimpleNamespace(clean=clean, asked=asked, addresses=addresses, folder=tmp_path)


RUN = ("r1", "mlflow-artifacts:/1/r1/artifacts")


def test_mlflows_code_gets_names_and_never_all_that_was_deleted(mlflow):
    row = mlflow.clean(runs=[RUN])
    (how,) = mlflow.asked
    assert (how["run_ids"], how["logged_model_ids"], how["experiment_ids"]) == (["r1"], [], [])
    # No experiment named would mean every one that was deleted.
    assert how["skip_experiments"] is True
    assert how["backend_store"] == ("postgresql+psycopg2://x", str(mlflow.folder))
    assert mlflow.addresses == ["http://127.0.0.1:5077"]
    assert row.told == "1 run, 0 models"


def test_experiments_that_may_go_are_named(mlflow):
    mlflow.clean(experiments=[(5,), (6,)], models=[("m-1", "mlflow-artifacts:/5/models/m-1")])
    (how,) = mlflow.asked
    assert (how["experiment_ids"], how["skip_experiments"]) == (["5", "6"], False)
    assert (how["run_ids"], how["logged_model_ids"]) == ([], ["m-1"])


@pytest.mark.parametrize("old", [{"remove": False, "runs": [RUN]}, {"remove": True}])
def test_mlflow_is_not_asked_for_nothing_or_in_a_dry_run(mlflow, old):
    assert mlflow.clean(**old).left is None
    assert mlflow.asked == []


def test_the_artifacts_of_a_run_are_measured_where_the_server_keeps_them(mlflow):
    write(mlflow.folder / "1/r1/artifacts/model", 40, size=100_000)
    write(mlflow.folder / "1/r2/artifacts/model", 40, size=100_000)
    row = mlflow.clean(runs=[RUN], remove=False)
    assert 100_000 <= row.old < 200_000
    assert row.holds >= 200_000


def test_of_a_bucket_nothing_is_measured(mlflow):
    row = mlflow.clean("s3://bucket/prefix", runs=[RUN], remove=False)
    assert (row.holds, row.old) == (1000, 0)


def test_the_folder_of_a_run_without_artifacts_goes_too(mlflow):
    (mlflow.folder / "1/r1").mkdir(parents=True)
    write(mlflow.folder / "1/r2/artifacts/model", 40)
    mlflow.clean(runs=[RUN, ("r2", "mlflow-artifacts:/1/r2/artifacts")])
    assert [path.name for path in (mlflow.folder / "1").iterdir()] == ["r2"]
