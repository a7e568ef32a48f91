"""What is looked at before anything is changed: real sockets and folders, a machine of paper."""

import os
import socket
import threading
from contextlib import ExitStack
from datetime import timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from orchestration import preflight
from orchestration.engine import Host, Service
from orchestration.preflight import EARLIEST, GIB

UNLIMITED = "9223372036854771712"


@pytest.fixture
def machine(monkeypatch):
    """A machine with plenty of everything; its figures can be set."""
    machine = SimpleNamespace(
        memory=16.0, limit=float("inf"), cpus=4, free=100.0, now=EARLIEST + timedelta(days=1)
    )
    monkeypatch.setattr(preflight, "machine_gib", lambda: machine.memory)
    monkeypatch.setattr(preflight, "memory_limit_gib", lambda: machine.limit)
    monkeypatch.setattr(preflight, "cpus", lambda: machine.cpus)
    monkeypatch.setattr(preflight, "now", lambda: machine.now)
    usage = SimpleNamespace(disk_usage=lambda place: SimpleNamespace(free=machine.free * GIB))
    monkeypatch.setattr(preflight, "shutil", usage)
    return machine


@pytest.fixture
def listener():
    """A stranger's port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_ports():
    """Settings of ports that nobody listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return dict(zip(preflight.PORTS, (p.getsockname()[1] for p in probes), strict=True))


@pytest.fixture
def stopped(engine):
    """An engine without a running service."""
    engine.listed = [Service("postgres", "exited"), Service("mlflow", "absent")]
    return engine


def resources(host=None):
    return preflight.resource_problems(host or Host())


# All of it


def test_a_good_machine_has_no_problem(machine, make_settings, stopped, free_ports):
    assert preflight.problems(make_settings(**free_ports), stopped, fresh_env=True) == []
    assert list(preflight.advice(stopped)) == []


def test_all_problems_are_told_at_once(
    machine, make_settings, stopped, free_ports, listener, monkeypatch, clone
):
    machine.memory, machine.free, machine.cpus, stopped.volumes = 1.0, 0.5, 0, ["x_postgres"]
    machine.now = EARLIEST - timedelta(days=1)
    stopped.stands_on = Host(problems=("AIRFLOW_UID=0",), places=(clone,), ahead=60.0)
    monkeypatch.setattr(preflight, "unwritable", lambda folder: f"{folder} is not writable")
    chosen = make_settings(**free_ports | {"AIRFLOW_PORT": listener})
    told = preflight.problems(chosen, stopped, fresh_env=True)
    expected = [
        "of memory", "CPUs", "of disk", "AIRFLOW_UID=0", "not writable", "clock says",
        "engine's clock", f"port {listener}", "x_postgres",
    ]  # fmt: skip
    assert len(told) == len(expected)
    assert [words for words, line in zip(expected, told, strict=True) if words not in line] == []
    assert all("\n" not in line for line in told)


def test_an_engine_that_cannot_work_is_not_asked_further(machine, make_settings, monkeypatch):
    machine.free, machine.now = 1.0, EARLIEST - timedelta(days=1)
    monkeypatch.setattr(preflight, "unwritable", lambda folder: "not writable")

    class Silent:
        def problems(self):
            return ["no engine answers: start it"]

    engine, disk, folder, clock = preflight.problems(make_settings(), Silent(), fresh_env=True)
    assert engine == "no engine answers: start it"
    assert "of disk" in disk
    assert folder == "not writable"
    assert "clock says" in clock


def test_problems_and_advice_ask_the_engine_once(machine, make_settings, stopped, free_ports):
    asked = []
    stopped.host = lambda: asked.append("host") or Host()
    preflight.problems(make_settings(**free_ports), stopped, fresh_env=False)
    assert list(preflight.advice(stopped)) == []
    assert asked == ["host"]


def test_looking_changes_nothing(machine, make_settings, stopped, free_ports, clone):
    before = {path: path.stat().st_mtime_ns for path in clone.rglob("*")}
    preflight.problems(make_settings(**free_ports), stopped, fresh_env=True)
    assert {path: path.stat().st_mtime_ns for path in clone.rglob("*")} == before
    assert stopped.asked == []


# Memory, processors, disk


@pytest.mark.parametrize(("memory", "enough"), [(3.7, False), (3.85, True), (4.0, True)])
def test_memory_below_what_is_needed_is_a_problem(machine, memory, enough):
    machine.memory = memory
    assert resources() == (
        [] if enough else ["3.7 GiB of memory: the stack needs 4 GiB: add memory"]
    )


def test_a_limit_below_the_machines_memory_counts(machine):
    machine.limit = 2.0
    [problem] = resources()
    assert problem.startswith("2.0 GiB of memory: ")
    assert problem.endswith("raise the memory limit of this container or session")


def test_the_engines_own_machine_may_be_the_smaller_one(machine):
    [problem] = resources(Host(memory_gib=1.9))
    assert problem.startswith("1.9 GiB of memory in the engine's machine: ")
    assert "Docker Desktop" in problem
    machine.memory = 1.0
    [problem] = resources(Host(memory_gib=1.9))
    assert problem.startswith("1.0 GiB of memory: ")


def test_memory_below_what_is_advised_is_worth_a_line(machine, engine):
    machine.memory = 5.0
    assert list(preflight.advice(engine)) == ["5.0 GiB of memory: 8 GiB are advised"]


def test_this_machines_figures_are_sane():
    assert 0.1 < preflight.memory_gib() <= preflight.machine_gib() < 100_000
    assert 1 <= preflight.cpus() < 10_000


@pytest.fixture
def cgroups(tmp_path):
    """Writes limits below a folder that stands for /sys/fs/cgroup, then reads them."""

    def limit(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "top" / name).write_text(f"{text}\n")
        return preflight.memory_limit_gib(tmp_path / "top", tmp_path / "membership")

    return limit


@pytest.mark.parametrize(
    ("files", "least"),
    [
        ({"user/session/memory.max": 2 * GIB, "user/memory.max": "max"}, 2.0),
        ({"user/session/memory.max": 3 * GIB, "user/memory.max": 2 * GIB}, 2.0),
        ({"user/session/memory.max": 2 * GIB, "user/memory.max": 3 * GIB}, 2.0),
        ({"user/session/memory.max": "max"}, float("inf")),
        # A container with a namespace of its own sees its limit at the top.
        ({"memory.max": GIB}, 1.0),
        ({"user/elsewhere/memory.max": GIB}, float("inf")),
    ],
)
def test_a_limit_of_version_2_holds_for_all_below_it(cgroups, files, least):
    assert cgroups("0::/user/session\n", files) == least


@pytest.mark.parametrize(
    ("files", "least"),
    [
        ({"memory/docker/ab/memory.limit_in_bytes": 2 * GIB}, 2.0),
        ({"memory/memory.limit_in_bytes": 3 * GIB}, 3.0),
        ({"cpu/docker/ab/memory.limit_in_bytes": GIB}, float("inf")),
    ],
)
def test_a_limit_of_version_1_is_that_of_the_memory_controller(cgroups, files, least):
    assert cgroups("5:cpu:/docker/ab\n4:memory:/docker/ab\n0::/\n", files) == least


def test_an_unlimited_cgroup_of_version_1_is_no_limit(cgroups):
    assert cgroups("4:memory:/\n", {"memory/memory.limit_in_bytes": UNLIMITED}) > 1e9


def test_a_system_without_cgroups_has_no_limit(tmp_path):
    assert preflight.memory_limit_gib(tmp_path, tmp_path / "absent") == float("inf")


@pytest.mark.parametrize(("here", "there", "told"), [(1, None, True), (4, 1, True), (2, 2, False)])
def test_a_single_processor_here_or_there_is_worth_a_line(machine, engine, here, there, told):
    machine.cpus, engine.stands_on = here, Host(cpus=there)
    lines = list(preflight.advice(engine))
    assert [line[:5] for line in lines] == (["1 CPU"] if told else [])
    assert resources(engine.stands_on) == []


def test_a_full_disk_is_a_problem_with_its_folder(machine, tmp_path):
    machine.free = 1.25
    [problem] = resources(Host(places=(tmp_path,)))
    assert problem.startswith(f"1.2 GiB of disk free in {tmp_path}: the stack needs 6 GiB: ")
    assert f"sudo du -xhd1 {tmp_path}" in problem


def test_a_file_system_is_named_once_by_where_the_data_goes(machine, tmp_path):
    machine.free, data = 0.5, tmp_path / "data"
    data.mkdir()
    [problem] = resources(Host(places=(tmp_path, data)))
    assert problem.startswith(f"0.5 GiB of disk free in {data}: the stack needs 6 GiB")


class Place(type(preflight.Path())):
    """A folder on a file system of its own."""

    def stat(self, **options):
        return SimpleNamespace(st_dev=self.name)


def test_the_clone_needs_less_where_the_data_goes_elsewhere(machine):
    clone, data = Place("/home"), Place("/var")
    machine.free = 3.0
    [problem] = resources(Host(places=(clone, data)))
    assert "free in /var: the stack needs 6 GiB" in problem
    machine.free = 0.5
    assert len(resources(Host(places=(clone, data)))) == 2


# Folders


@pytest.fixture
def shut(monkeypatch):
    """Folders that this user may not write to, root too; the others are asked of the system."""
    shut, real = set(), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path not in shut and real(path, mode))
    return shut


def test_a_clone_that_can_be_written_to_is_no_problem(make_settings, clone):
    (clone / "install").mkdir()
    assert preflight.folder_problems(make_settings()) == []


@pytest.mark.parametrize("name", [".", "install"])
def test_clone_and_locks_must_be_writable(make_settings, clone, shut, name):
    (clone / "install").mkdir()
    shut.add(clone / name)
    told = f"{clone / name} is not writable for you: sudo chown -R $USER {clone / name}"
    assert preflight.folder_problems(make_settings()) == [told]


def test_a_folder_that_is_mended_with_the_one_around_it_is_not_told(make_settings, clone, shut):
    (clone / "install").mkdir()
    shut |= {clone, clone / "install"}
    [problem] = preflight.folder_problems(make_settings())
    assert problem.startswith(f"{clone} is not writable")


def test_folders_that_must_be_made_need_a_writable_place(make_settings, tmp_path, shut):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    shut.add(elsewhere)
    chosen = make_settings(AIRFLOW_PROJ_DIR=elsewhere / "not" / "made")
    [problem] = preflight.folder_problems(chosen)
    assert problem == f"{elsewhere} is not writable for you: sudo chown -R $USER '{elsewhere}'"


def test_folders_that_are_there_need_none(make_settings, tmp_path, shut):
    for name in ("dags", "logs", "plugins"):
        (tmp_path / "project" / name).mkdir(parents=True)
    shut.add(tmp_path / "project")
    assert preflight.folder_problems(make_settings(AIRFLOW_PROJ_DIR=tmp_path / "project")) == []


def test_a_read_only_mount_is_told_as_such(make_settings, clone, shut, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    shut.add(clone)
    [problem] = preflight.folder_problems(make_settings())
    assert problem.startswith(f"{clone} is on a read-only file system: ")


def test_the_nearest_folder_that_exists_is_found(tmp_path):
    assert preflight.nearest(tmp_path) == tmp_path
    assert preflight.nearest(tmp_path / "a" / "b") == tmp_path


# Airflow's user in mounted folders


@pytest.mark.parametrize(
    ("uid", "why"),
    [
        ("0", "would run Airflow as root"),
        ("00", "would run Airflow as root"),
        ("me", "is not a user's number"),
        ("-1", "is not a user's number"),
        ("1000:0", "is not a user's number"),
    ],
)
def test_airflow_needs_a_user_that_is_not_root(make_settings, uid, why):
    told = preflight.uid_problem(make_settings(AIRFLOW_UID=uid))
    assert told == f"AIRFLOW_UID={uid} {why}: leave it blank in .env, then inv install"


def test_any_other_user_is_fine(make_settings):
    assert preflight.uid_problem(make_settings(AIRFLOW_UID="50000")) == ""


@pytest.mark.parametrize(
    ("owner", "group", "mode", "allowed"),
    [
        (7, 5, 0o700, True),
        (7, 0, 0o077, False),
        (8, 0, 0o770, True),
        (8, 0, 0o755, False),
        (8, 5, 0o775, False),
        (8, 5, 0o777, True),
        # The class that fits first decides, also against a later one.
        (8, 0, 0o707, False),
    ],
)
def test_rights_are_those_of_the_user_in_group_0(owner, group, mode, allowed, monkeypatch):
    monkeypatch.setattr(os, "listxattr", lambda path: [], raising=False)
    held = SimpleNamespace(st_uid=owner, st_gid=group, st_mode=0o040000 | mode)
    assert preflight.permits(SimpleNamespace(stat=lambda: held), 7, 0o7) is allowed


def test_an_access_list_is_taken_for_the_persons_intent(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    assert not preflight.permits(tmp_path, os.getuid() + 1, 0o7)
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    assert preflight.permits(tmp_path, os.getuid() + 1, 0o7)


def project(clone, **modes):
    for name, mode in modes.items():
        (clone / name).mkdir()
        (clone / name).chmod(mode)


def mount_problems(make_settings, uid):
    return list(preflight.mount_problems(make_settings(AIRFLOW_UID=uid)))


def test_folders_that_airflow_may_use_or_that_are_not_made_are_no_problem(make_settings, clone):
    assert mount_problems(make_settings, 50000) == []
    project(clone, dags=0o755, logs=0o777, plugins=0o755)
    assert mount_problems(make_settings, 50000) == []


def test_folders_that_airflow_may_not_use_are_told_with_one_command_each(make_settings, clone):
    project(clone, dags=0o700, logs=0o755, plugins=0o755)
    sudo = "sudo " if os.getuid() else ""
    assert mount_problems(make_settings, 50000) == [
        f"AIRFLOW_UID=50000 may not read {clone}/dags: chmod -R a+rX {clone}/dags",
        f"AIRFLOW_UID=50000 may not write to {clone}/logs: {sudo}chown -R 50000:0 {clone}/logs",
    ]


def test_logs_of_airflows_own_user_are_mended_by_their_mode(make_settings, clone):
    project(clone, logs=0o577)
    # Root is refused by uid_problem before; here it stands for any owner.
    [problem] = mount_problems(make_settings, os.getuid())
    assert problem.endswith(f"/logs: chmod -R u+rwX {clone}/logs")


# Clocks


def test_a_clock_before_this_was_written_is_wrong(machine):
    assert list(preflight.clock_problems(Host())) == []
    machine.now = EARLIEST - timedelta(seconds=1)
    [problem] = preflight.clock_problems(Host())
    assert problem == (
        "this machine's clock says 2026-10-31, which is past: sudo timedatectl set-ntp true"
    )


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(None, ""), (29.0, ""), (-29.0, ""), (45.4, "45 s ahead of"), (-3600.0, "3600 s behind")],
)
def test_an_engine_whose_clock_is_apart_is_a_problem(machine, ahead, told):
    problems = list(preflight.clock_problems(Host(ahead=ahead)))
    assert len(problems) == bool(told)
    assert all(f"the engine's clock is {told} this machine's" in problem for problem in problems)


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(None, ""), (299.0, ""), (-299.0, ""), (400.0, "400 s behind"), (-400.0, "400 s ahead of")],
)
def test_a_clock_that_the_world_disagrees_with_is_a_problem(machine, ahead, told):
    host = Host(index="pypi.org", index_ahead=ahead)
    problems = list(preflight.clock_problems(host))
    assert len(problems) == bool(told)
    assert all(f"this machine's clock is {told} that of pypi.org" in one for one in problems)


# The package index


@pytest.fixture
def index(monkeypatch):
    """An index of paper: its headers, or what is raised in their place; keeps what was asked."""
    import requests

    index = SimpleNamespace(headers={}, silence=None, asked=[], waits=None)

    def head(address, **options):
        index.asked.append((address, options))
        if index.waits:
            index.waits.wait(10)
        if index.silence:
            raise index.silence
        return SimpleNamespace(headers=index.headers)

    monkeypatch.setattr(requests, "head", head)
    return index


def test_the_index_tells_the_time(machine, index, make_settings):
    later = machine.now.replace(microsecond=0) + timedelta(seconds=90)
    index.headers = {"Date": format_datetime(later, usegmt=True), "Age": "30"}
    assert preflight.ask_index(make_settings()) == ("pypi.org", 120.0)
    [(address, options)] = index.asked
    assert address == "https://pypi.org/simple/"
    assert options["timeout"] == preflight.PATIENCE_SECONDS


def test_an_index_of_ones_own_is_asked_and_its_password_not_told(index, make_settings):
    address = "https://me:s3cret@mirror.example/simple"
    name, _ = preflight.ask_index(make_settings(PYPI_INDEX_URL=address))
    assert name == "mirror.example"
    assert index.asked[0][0] == address


def test_the_certificates_of_the_settings_are_trusted(index, make_settings, tmp_path):
    bundle = tmp_path / "bundle.crt"
    preflight.ask_index(make_settings(CA_BUNDLE=bundle))
    bundle.touch()
    preflight.ask_index(make_settings(CA_BUNDLE=bundle))
    assert [options["verify"] for _, options in index.asked] == [True, str(bundle)]


def test_a_folder_of_wheels_is_no_index_to_ask(index, make_settings):
    assert preflight.ask_index(make_settings(PYPI_INDEX_URL="file:///srv/simple")) == ("", None)
    assert index.asked == []


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}])
def test_an_index_without_a_date_has_answered(index, make_settings, headers):
    index.headers = headers
    assert preflight.ask_index(make_settings()) == ("pypi.org", 0.0)


def test_an_index_that_refuses_has_not_answered(index, make_settings):
    import requests

    index.silence = requests.ConnectionError("no route")
    assert preflight.ask_index(make_settings()) == ("pypi.org", None)


def test_nobody_waits_longer_for_an_index_than_the_patience(index, make_settings, monkeypatch):
    monkeypatch.setattr(preflight, "PATIENCE_SECONDS", 0.02)
    index.waits = threading.Event()
    assert preflight.ask_index(make_settings()) == ("pypi.org", None)
    index.waits.set()


def test_an_index_that_does_not_answer_is_worth_a_line(machine, engine):
    engine.stands_on = Host(index="mirror.example")
    [line] = preflight.advice(engine)
    assert "mirror.example does not answer" in line
    assert "PYPI_INDEX_URL" in line


# Ports


def test_ports_that_are_the_same_are_told(make_settings, stopped, free_ports):
    same = dict.fromkeys(free_ports, free_ports["MLFLOW_PORT"])
    [problem] = preflight.foreign_ports(make_settings(**same), stopped)
    assert "must differ" in problem


def test_a_taken_port_is_told_with_its_holder_and_its_setting(
    make_settings, stopped, free_ports, listener
):
    chosen = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    [problem] = preflight.foreign_ports(chosen, stopped)
    assert problem.startswith(f"port {listener} on 127.0.0.1 is taken by ")
    assert f"(process {os.getpid()})" in problem
    assert problem.endswith(": stop what listens there, or set MLFLOW_PORT in .env")


def test_an_address_of_another_machine_is_told_with_its_setting(make_settings, stopped):
    told = preflight.foreign_ports(make_settings(BIND_ADDRESS="192.0.2.1"), stopped)
    assert len(told) == 3
    assert all("on 192.0.2.1 cannot be used" in problem for problem in told)
    assert told[0].endswith(": set BIND_ADDRESS or AIRFLOW_PORT in .env")


def test_ports_of_a_running_stack_are_its_own(make_settings, engine, free_ports, listener):
    chosen = make_settings(**free_ports | {"MLFLOW_PORT": listener})
    assert preflight.foreign_ports(chosen, engine) == []


# A lost .env


def test_data_without_its_keys_is_refused_with_both_ways_out(
    machine, make_settings, stopped, free_ports
):
    stopped.volumes = ["x_postgres", "x_redis"]
    [lost] = preflight.problems(make_settings(**free_ports), stopped, fresh_env=True)
    assert "x_postgres, x_redis" in lost
    assert "backup" in lost
    assert lost.endswith("inv down --volumes --yes")


def test_data_with_its_keys_is_no_problem(machine, make_settings, stopped, free_ports):
    stopped.volumes = ["x_postgres"]
    assert preflight.problems(make_settings(**free_ports), stopped, fresh_env=False) == []
