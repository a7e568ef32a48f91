"""A look inside the running containers, as the CIS benchmark has it: one table, all else refused.

What a service may have stands in allowed.py; a new one fails until it has its line there.
"""

import re

import pytest

from orchestration.engines.docker import daemon
from tests.e2e.allowed import ALLOWED
from tests.e2e.clone import SERVICES
from tests.e2e.inside import Inside

MIB = 2**20
NOBODYS, KEPT = "0" * 16, "unless-stopped"


# Where the worker, whose own files can be written, may do so in its image: never where code is.
WORKERS = re.compile(r"/(tmp|var/tmp|run/lock|var/lock|home/airflow|opt/airflow|etc/passwd)\b")
# But for uv's lock.
CODE = re.compile(r"/home/airflow/\.local/(?!\.lock$)")
# Debian's own. They give nobody anything: no process can gain rights (NoNewPrivs).
SET_UID = {"chage", "chfn", "chsh", "expiry", "gpasswd", "mount", "newgrp", "passwd", "su"}
SET_UID |= {"umount", "unix_chkpwd"}
PAGES = {"airflow-apiserver": 8080, "mlflow": 5000, "status": 8081}
DATABASES = {"postgres": 5432, "redis": 6379}
# Where builds get their packages.
OUTSIDE = "pypi.org"
# Asks all at once, as each that does not answer takes its time; prints the names of those that do.
REACHES = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def ask(line):
    name, host, port = line.split()
    try:
        socket.create_connection((host, int(port)), 4).close()
        return name
    except OSError:
        return ""

print(*ThreadPoolExecutor(8).map(ask, sys.argv[1:]))
"""

each = pytest.mark.parametrize("service", sorted(ALLOWED))
# The files of an image are the same in all of its containers, and many.
ONE_OF_EACH = ("airflow-worker", "mlflow", "status", "postgres", "redis")
of_each_image = pytest.mark.parametrize("service", ONE_OF_EACH)


@pytest.fixture(scope="module")
def sdk():
    return daemon.client()


@pytest.fixture(scope="module")
def containers(stack, sdk):
    """Each service's container, looked at once."""
    return {service: Inside(stack, service, sdk) for service in ALLOWED}


@pytest.fixture
def inside(containers, service):
    return containers[service]


@pytest.fixture
def allowed(service):
    return ALLOWED[service]


def test_every_service_has_its_line_here():
    assert ALLOWED.keys() == SERVICES["docker"]


@each
def test_every_process_is_the_services_own_user(stack, inside, allowed):
    uid = str(allowed.uid or stack.setting("AIRFLOW_UID"))
    assert inside.processes
    # Real, effective, saved, for files.
    assert {tuple(told["Uid"]) for told in inside.processes} == {(uid,) * 4}
    assert uid != "0"


@each
def test_no_process_has_a_right_of_root_or_can_gain_one(inside):
    for told in inside.processes:
        capabilities = {name: value for name, value in told.items() if name.startswith("Cap")}
        assert len(capabilities) == 5
        assert set(map(tuple, capabilities.values())) == {(NOBODYS,)}, told["Name"]
        assert (told["NoNewPrivs"], told["Seccomp"]) == (["1"], ["2"]), told["Name"]


@each
def test_nothing_of_this_machine_is_shared(inside):
    config = inside.host_config
    assert not inside.shares_with_this_machine()
    assert not config["Privileged"]
    assert not [key for key in ("CapAdd", "Devices", "UsernsMode", "PidMode") if config[key]]
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert not inside.find("/run", "/var/run", "-name", "*docker*")


@each
def test_what_is_mounted_is_listed_and_read_only_where_nothing_is_kept(inside, allowed):
    options = {"/": "ro" if allowed.own_files_read_only else "rw"}
    options |= dict.fromkeys(allowed.writes | allowed.tmpfs, "rw")
    options |= dict.fromkeys(allowed.reads, "ro")
    assert {w: "ro" if "ro" in o else "rw" for w, o in inside.mounts.items()} == options
    for where in allowed.tmpfs:
        assert inside.mounts[where] >= {"nosuid", "nodev", "noexec"}
    sources = [mount.get("Source", "") for mount in inside.container.attrs["Mounts"]]
    assert not [source for source in sources if source.endswith(".sock")]


@each
def test_nobody_can_change_the_code_that_is_mounted(inside, allowed):
    assert not inside.find(*allowed.reads, "!", "-type", "l", "-perm", "-0002")


@of_each_image
def test_what_can_be_written_of_an_image_is_nothing_or_for_the_worker_no_code(inside, allowed):
    # Where something is mounted its own folder shows, which is judged above.
    mounted = allowed.writes | allowed.tmpfs
    found = {path.replace("/var/run/", "/run/") for path in inside.walked["writable"]} - mounted
    assert bool(found) != allowed.own_files_read_only
    assert not {path for path in found if not WORKERS.match(path) or CODE.match(path)}


@of_each_image
def test_files_that_would_give_rights_are_debians_alone(inside, allowed):
    found = inside.walked["gives rights"]
    assert {path.rpartition("/")[2] for path in found} <= SET_UID
    if kept := allowed.writes | allowed.tmpfs:
        assert not inside.find(*kept, "-type", "f", "-perm", "/6000")


@each
def test_memory_has_its_limit_without_swap_and_so_have_processes(stack, inside, allowed):
    amount = stack.settings().get(allowed.memory, allowed.memory)
    limits, memory = inside.limits(), int(amount.removesuffix("m")) * MIB
    assert limits["memory"] == memory
    assert limits["processes"] == allowed.processes
    # Without a word of the kernel's on swap nothing limits it.
    assert limits.get("with swap") == memory or limits.get("swap alone") == 0
    assert inside.host_config["RestartPolicy"]["Name"] == KEPT


@each
def test_it_is_in_its_networks_alone(stack, inside, allowed):
    project = stack.setting("COMPOSE_PROJECT_NAME")
    joined = inside.container.attrs["NetworkSettings"]["Networks"]
    assert set(joined) == {f"{project}_{name}" for name in allowed.networks}


@each
def test_what_leaves_takes_the_way_out_where_there_is_one(stack, inside, allowed):
    """Docker chooses by the alphabet: what a container of several networks asks could get lost."""
    if "egress" not in allowed.networks:
        pytest.skip("has none")
    routes = [line.split() for line in inside.said("cat", "/proc/net/route")]
    [gateway] = [route[2] for route in routes if route[1] == "00000000"]
    address = ".".join(str(byte) for byte in reversed(bytes.fromhex(gateway)))
    network = f"{stack.setting('COMPOSE_PROJECT_NAME')}_egress"
    joined = inside.container.attrs["NetworkSettings"]["Networks"]
    assert address == joined[network]["Gateway"]


@pytest.fixture(scope="module")
def reached(stack, sdk, containers):
    """What takes connections from a container that is in one network alone, by network."""
    project = stack.setting("COMPOSE_PROJECT_NAME")
    asked = [f"{name} {name} {port}" for name, port in PAGES.items()]
    asked.append(f"outside {OUTSIDE} 443")
    for service, port in DATABASES.items():
        # By number: what its name is worth elsewhere is another question, and a slow one.
        networks = containers[service].container.attrs["NetworkSettings"]["Networks"]
        asked += [f"{service} {joined['IPAddress']} {port}" for joined in networks.values()]

    def reached(network):
        argv = ["python", "-c", REACHES, *asked]
        options = {"network": f"{project}_{network}", "remove": True}
        return set(sdk.containers.run(f"{project}-status", argv, **options).decode().split())

    return {network: reached(network) for network in ("back", "front", "egress")}


def test_databases_are_reached_from_the_back_alone(reached):
    assert {name for name in reached if reached[name] & DATABASES.keys()} == {"back"}
    assert reached["back"] >= DATABASES.keys()


def test_pages_are_reached_from_the_front(reached):
    assert reached["front"] == PAGES.keys()


def test_only_the_way_out_leads_out(reached):
    if "outside" not in reached["egress"]:
        pytest.skip("from here nothing leads outside, but by a proxy")
    assert {name for name in reached if "outside" in reached[name]} == {"egress"}
