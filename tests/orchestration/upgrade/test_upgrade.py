"""`inv upgrade` with a fake engine: copies, return, interruptions, refusals."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration import pending
from orchestration.backup import archive
from orchestration.clients import accounts, postgres
from orchestration.commands import backup as backup_command
from orchestration.commands import up
from orchestration.commands import upgrade as upgrade_command
from orchestration.dependencies import applied, versions
from orchestration.engines.base import Service
from orchestration.errors import StackError, UsageError
from orchestration.health import canary, readiness
from orchestration.process import background
from orchestration.upgrade import rehearsal, switch

CURRENT = {"airflow": "3.0.1", "mlflow": "3.17.2"}
TARGET = {"airflow": "3.3.2", "mlflow": "3.17.2"}


@pytest.fixture(autouse=True)
def healthy(web, monkeypatch):
    """All services are healthy and the canary passes."""
    for name, port in web.serve_stack().items():
        monkeypatch.setenv(name, str(port))
    monkeypatch.setattr(background, "POLL_SECONDS", 0)
    monkeypatch.setattr(readiness, "READY_SECONDS", 5)
    monkeypatch.setattr(canary, "run", lambda *arguments: {"queued": 1.5})
    monkeypatch.setattr(accounts, "sync_airflow_password", lambda *arguments: False)


@pytest.fixture
def stack(project, lived_in, engine, recorded_uv):
    """A running stack with data of 3.0.1, and locks of the other versions."""
    for version in ("3.0.6", "3.3.2"):
        folder = lived_in / "install/airflow" / version
        folder.mkdir(parents=True)
        (folder / "airflow.lock").write_text(f"apache-airflow=={version} \\\n")
        (folder / "requirements.lock").write_text("pandas\n")
    (lived_in / "dags/canary.py").write_text("# the canary\n")
    engine.volumes = ["postgres"]
    engine.ps_result += [Service(n, "exited") for n in ("airflow-init", "mlflow-migrate")]
    applied.record(project.settings())
    return engine


@pytest.fixture
def recorded_uv(monkeypatch):
    """Compile no locks."""
    monkeypatch.setattr("orchestration.dependencies.locks.compile_lock", lambda *arguments: None)


@pytest.fixture
def sandbox(stack, tmp_path):
    """The engine of the temporary stack of a rehearsal."""
    other = type(stack)()
    other.databases = str(tmp_path / "sandbox")
    Path(other.databases).mkdir()
    for name in postgres.NAMES:
        Path(other.databases, name).write_text("")
    stack.sandbox = other
    return other


@pytest.fixture
def rehearsed(project, stack, sandbox, capsys):
    assert upgrade_command.rehearse(project, "3.3.2", as_json=False)
    capsys.readouterr()
    stack.calls.clear()


def databases(engine):
    return {path.name: path.read_text() for path in Path(engine.databases).iterdir()}


def version_in_env(project):
    return project.settings()["AIRFLOW_VERSION"]


def test_upgrade_shows_versions(project, stack, capsys):
    upgrade_command.show(project, as_json=False)
    shown = capsys.readouterr().out
    assert "This stack has Airflow 3.0.1 and MLflow 3.17.2." in shown
    assert "inv upgrade --rehearse --to 3.0.6" in shown
    upgrade_command.show(project, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document == {"current": CURRENT, "available": ["3.0.6", "3.3.2"], "kept": None}


def test_rehearsal_changes_nothing_and_allows_the_upgrade(project, stack, sandbox, capsys):
    backup_command.run(project)
    before, env = databases(stack), project.env_file.read_text()
    stack.calls.clear()
    assert upgrade_command.rehearse(project, "3.3.2", as_json=False)
    shown = capsys.readouterr().out
    assert "From Airflow 3.0.1 and MLflow 3.17.2 to Airflow 3.3.2 and MLflow 3.17.2" in shown
    assert "The upgrade would succeed.\nRun: inv upgrade --to 3.3.2" in shown
    assert databases(stack) == before
    assert project.env_file.read_text() == env
    assert not {"activate", "retain", "finish_tasks"} & set(stack.calls)
    jobs = [call for call in sandbox.calls if call.startswith("replace")]
    assert jobs == ["replace airflow-init", "replace mlflow-migrate"]
    rehearsal.refuse_unrehearsed(project.settings().with_airflow("3.3.2"))


def test_rehearsal_makes_a_backup_if_the_newest_is_of_another_version(
    project, stack, sandbox, lived_in
):
    backup_command.run(project)
    [first] = archive.list_backups(lived_in / "backups")
    assert upgrade_command.rehearse(project, "3.0.6", as_json=True)
    assert archive.list_backups(lived_in / "backups") == [first]
    applied.record(project.settings(), {**CURRENT, "airflow": "3.0.6"})
    first.rename(first.with_name("20200101T000000Z"))
    for path in Path(sandbox.databases).iterdir():
        path.rename(path.with_name(path.name.removesuffix("_before")))
    assert upgrade_command.rehearse(project, "3.3.2", as_json=True)
    assert len(archive.list_backups(lived_in / "backups")) == 2


def fail_canary(*arguments):
    raise StackError("The canary failed.")


@pytest.mark.parametrize("fault", ["dags", "migration", "canary"])
def test_rehearsal_reports_what_would_fail(project, stack, sandbox, monkeypatch, capsys, fault):
    if fault == "dags":
        expected = "dags/mine.py line 3: No module named 'airflow.gone'"
        stack.errors = expected
    elif fault == "migration":
        expected = "airflow-init failed:\ncolumn x"
        sandbox.replace_fails["airflow-init"] = StackError(expected)
    else:
        expected = "The canary failed."
        monkeypatch.setattr(canary, "run", fail_canary)
    assert not upgrade_command.rehearse(project, "3.3.2", as_json=False)
    shown = capsys.readouterr().out
    assert "The upgrade would fail:\n" in shown
    assert expected in shown
    with pytest.raises(StackError, match="The rehearsal failed") as raised:
        upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    assert expected in str(raised.value)
    assert "finish_tasks" not in stack.calls


def test_rehearsal_fails_if_a_migration_loses_rows():
    result = rehearsal.Rehearsal(CURRENT, TARGET, "", "")
    before = {name: {"rows": 2} for name in ("dag_run", "session", "log")}
    after = {"dag_run": {"rows": 1}, "log": {"rows": 3}, "(sequences)": {"rows": 9}}
    rehearsal.compare(result, "airflow", before, after)
    assert result.problems == ["airflow.dag_run loses 1 rows."]
    assert result.rows == {
        "airflow.dag_run": (2, 1), "airflow.session": (2, 0), "airflow.log": (2, 3),
    }  # fmt: skip


def test_rehearsal_prints_only_json_to_stdout(project, stack, sandbox, capsys):
    assert upgrade_command.rehearse(project, "3.3.2", as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["target"] == TARGET
    assert "canary" in captured.err


def test_upgrade_copies_migrates_and_keeps_a_way_back(project, stack, rehearsed, capsys):
    before = databases(stack)
    upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    assert version_in_env(project) == "3.3.2"
    after = databases(stack)
    assert {f"{name}_previous": after[name] for name in before}.items() <= after.items()
    order = ["build", "import_errors", "finish_tasks", "retain", "activate"]
    order += ["replace airflow-init", "replace mlflow-migrate", "up"]
    assert [call for call in stack.calls if call in order] == order
    assert applied.recorded_versions(project.settings()) == TARGET
    assert switch.kept(project.root).current == CURRENT
    assert switch.unfinished(project.root) is None
    assert "Upgraded to Airflow 3.3.2" in capsys.readouterr().out


def test_back_names_the_losses_and_returns_to_the_previous_data(project, stack, rehearsed, capsys):
    before = databases(stack)
    upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    path = Path(stack.databases, "airflow")
    path.write_text(path.read_text() + "3\n4\n")
    with pytest.raises(StackError, match=r"DAG runs 2\. Artifacts") as raised:
        upgrade_command.back(project, yes=False)
    assert "Run: inv upgrade --back --yes" in str(raised.value)
    upgrade_command.back(project, yes=True)
    assert databases(stack) == before
    assert version_in_env(project) == "3.0.1"
    assert applied.recorded_versions(project.settings()) == CURRENT
    assert stack.calls.index("reactivate") < stack.calls.index("release")
    assert switch.kept(project.root) is None
    with pytest.raises(StackError, match="no copies are kept"):
        upgrade_command.back(project, yes=True)


def test_done_deletes_copies_and_previous_builds(project, stack, rehearsed):
    upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    applied.record(project.settings(), {**TARGET, "mlflow": "3.17.1"})
    with pytest.raises(StackError, match=r"Airflow 3\.0\.1 and MLflow 3\.17\.2 is still kept"):
        upgrade_command.perform(project, "3.3.2", unrehearsed=True)
    upgrade_command.done(project)
    assert sorted(databases(stack)) == sorted(postgres.NAMES)
    assert "release" in stack.calls
    assert switch.kept(project.root) is None


@pytest.mark.parametrize("fault", ["airflow-init", "mlflow-migrate", "start", "canary"])
def test_failed_upgrade_returns_by_itself(project, stack, rehearsed, monkeypatch, fault):
    before, failures = databases(stack), iter([StackError("it failed")])

    def fail_once(*arguments):
        if error := next(failures, None):
            raise error
        return {}

    if fault == "canary":
        monkeypatch.setattr(canary, "run", fail_once)
    elif fault == "start":
        start = stack.up

        def fail_first(services=()):
            start(services)
            if not services:
                fail_once()

        monkeypatch.setattr(stack, "up", fail_first)
    else:
        stack.replace_fails[fault] = StackError("it failed")
    with pytest.raises(StackError, match="it failed") as raised:
        upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    assert "The previous versions run again, with their data. Nothing was lost." in str(
        raised.value
    )
    assert databases(stack) == before
    assert version_in_env(project) == "3.0.1"
    assert not list(project.root.glob(".up*"))


class Killed(BaseException):
    """The process ends without any clean-up."""


@pytest.mark.parametrize("point", ["copy", "activate", "airflow-init", "up", "keep"])
def test_killed_upgrade_is_finished_or_undone_by_the_next_start(
    project, stack, rehearsed, monkeypatch, point, capsys
):
    before = databases(stack)

    def kill(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patch:
        # Nothing runs in a killed process, so neither does the return.
        patch.setattr(switch, "_return_after", lambda error, project: None)
        if point == "copy":
            patch.setattr(postgres, "copy", kill)
        elif point == "activate":
            patch.setattr(stack, "activate", kill)
        elif point == "airflow-init":
            patch.setattr(stack, "replace", kill)
        elif point == "up":
            patch.setattr(stack, "up", kill)
        else:
            patch.setattr(switch, "_keep", kill)
        # Services are started in a thread, whose exception ends as a StackError.
        with pytest.raises((Killed, StackError)):
            upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    [problem] = pending.problems(project.settings())
    assert problem.code == "upgrade-unfinished"
    with pytest.raises(StackError, match="An upgrade was interrupted"):
        backup_command.run(project)
    up.run(project)
    is_finished = point == "keep"
    assert version_in_env(project) == ("3.3.2" if is_finished else "3.0.1")
    assert bool(switch.kept(project.root)) == is_finished
    now = {n: text for n, text in databases(stack).items() if not n.endswith("_previous")}
    assert now == before
    assert pending.problems(project.settings()) == []


def test_killed_return_continues_at_the_next_start(project, stack, rehearsed, monkeypatch):
    before = databases(stack)
    upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    with monkeypatch.context() as patch:

        def kill(*arguments, **options):
            raise Killed

        patch.setattr(stack, "reactivate", kill)
        with pytest.raises(Killed):
            upgrade_command.back(project, yes=True)
    up.run(project)
    assert databases(stack) == before
    assert version_in_env(project) == "3.0.1"


def test_version_edited_by_hand_is_refused_while_there_is_data(project, stack):
    switch._set_version(project, project.settings().with_airflow("3.3.2"))
    stack.calls.clear()
    with pytest.raises(StackError, match=r"The data is of Airflow 3\.0\.1") as raised:
        up.run(project)
    assert "Run: inv upgrade --rehearse --to 3.3.2" in str(raised.value)
    assert stack.calls == []
    # Without data, the version is free.
    stack.volumes = []
    up.run(project)


@pytest.mark.parametrize(
    ("to", "error", "message"),
    [
        ("9.9", UsageError, "Use one of: 3.0.1, 3.0.6, 3.3.2"),
        ("3.0.1", StackError, "already has Airflow 3.0.1"),
    ],
)
def test_versions_that_are_no_upgrade_are_refused(project, stack, to, error, message):
    with pytest.raises(error, match=message):
        upgrade_command.perform(project, to, unrehearsed=True)


def test_schema_never_goes_back(project, stack):
    applied.record(project.settings(), {**CURRENT, "airflow": "3.3.2"})
    with pytest.raises(StackError, match=r"Airflow 3\.3\.2 cannot become 3\.0\.6"):
        upgrade_command.perform(project, "3.0.6", unrehearsed=True)


def test_upgrade_needs_a_recent_rehearsal_of_the_same_locks(project, stack, rehearsed, lived_in):
    record = json.loads((lived_in / ".rehearsed").read_text())
    old = datetime.now(UTC) - timedelta(days=8)
    for change, message in (
        ({"finished_at": old.isoformat()}, "8 days old"),
        ({"digest": "other"}, "Another upgrade was rehearsed"),
        ({"unknown": 1}, "cannot be read"),
    ):
        (lived_in / ".rehearsed").write_text(json.dumps({**record, **change}))
        with pytest.raises(StackError, match=message) as raised:
            upgrade_command.perform(project, "3.3.2", unrehearsed=False)
        assert "Run: inv upgrade --rehearse --to 3.3.2" in str(raised.value)
    (lived_in / ".rehearsed").unlink()
    with pytest.raises(StackError, match="was not rehearsed"):
        upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    assert stack.calls == []
    upgrade_command.perform(project, "3.3.2", unrehearsed=True)


def test_full_disk_is_refused(project, stack, rehearsed, tmp_path):
    (tmp_path / "free_kib").write_text("2000")
    with pytest.raises(StackError, match=r"need 0\.0 GiB, and 0\.0 GiB are free"):
        upgrade_command.perform(project, "3.3.2", unrehearsed=False)
    assert "retain" not in stack.calls


def test_version_of_the_shell_is_refused(project, stack, rehearsed, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VERSION", "3.0.1")
    with pytest.raises(StackError, match=r"overrides \.env\.\nRun: unset AIRFLOW_VERSION"):
        upgrade_command.perform(project, "3.3.2", unrehearsed=False)


def test_env_of_an_older_stack_gets_the_version(project, stack):
    text = project.env_file.read_text()
    project.env_file.write_text(text.replace("AIRFLOW_VERSION=3.0.1\n", ""))
    switch._set_version(project, project.settings().with_airflow("3.0.6"))
    assert version_in_env(project) == "3.0.6"


def test_digest_depends_on_the_locks_of_the_version(project, stack, lived_in):
    target = project.settings().with_airflow("3.3.2")
    first = versions.digest(target)
    (lived_in / "install/airflow/3.0.6/airflow.lock").write_text("changed")
    assert versions.digest(target) == first
    (lived_in / "install/mlflow.lock").write_text("mlflow==3.18.0 \\\n")
    assert versions.digest(target) != first
    assert versions.locked(target) == {"airflow": "3.3.2", "mlflow": "3.18.0"}
