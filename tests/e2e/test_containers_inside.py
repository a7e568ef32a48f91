"""Compare the running containers with allowed.py, with checks from the CIS Docker benchmark.

A new service fails until allowed.py contains it.
"""

import re

import pytest

from orchestration.engines.docker import daemon
from tests.e2e.allowed import ALLOWED
from tests.e2e.clone import SERVICES
from tests.e2e.inside import Inside

MIB = 2**20
NO_CAPABILITIES, RESTART_POLICY = "0" * 16, "unless-stopped"


# Paths that the worker, whose root file system is writable, may write to. They contain no code.
WORKER_PATHS = re.compile(r"/(tmp|var/tmp|run/lock|var/lock|home/airflow|opt/airflow|etc/passwd)\b")
# Code, except uv's lock file.
CODE = re.compile(r"/home/airflow/\.local/(?!\.lock$)")
# setuid programs of Debian. They are harmless, because NoNewPrivs disables the bit.
SET_UID = {"chage", "chfn", "chsh", "expiry", "gpasswd", "mount", "newgrp", "passwd", "su"}
SET_UID |= {"umount", "unix_chkpwd"}
PAGES = {"airflow-apiserver": 8080, "mlflow": 5000, "status": 8081}
DATABASES = {"postgres": 5432, "redis": 6379}
# Builds download their packages from here.
OUTSIDE = "pypi.org"
# Connects to all targets in parallel, because timeouts are slow. Prints the reachable names.
CONNECT = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def connect(line):
    name, host, port = line.split()
    try:
        socket.create_connection((host, int(port)), 4).close()
        return name
    except OSError:
        return ""

print(*ThreadPoolExecutor(8).map(connect, sys.argv[1:]))
"""

each = pytest.mark.parametrize("service", sorted(ALLOWED))
# All containers of an image have the same files, and a search takes long.
ONE_PER_IMAGE = ("airflow-worker", "mlflow", "status", "postgres", "redis")
each_image = pytest.mark.parametrize("service", ONE_PER_IMAGE)


@pytest.fixture(scope="module")
def sdk():
    return daemon.client()


@pytest.fixture(scope="module")
def containers(stack, sdk):
    """Return the container of each service, so that results are cached."""
    return {service: Inside(stack, service, sdk) for service in ALLOWED}


@pytest.fixture
def inside(containers, service):
    return containers[service]


@pytest.fixture
def allowed(service):
    return ALLOWED[service]


def test_allowed_lists_every_service():
    assert ALLOWED.keys() == SERVICES["docker"]


@each
def test_processes_run_as_the_service_user(stack, inside, allowed):
    uid = str(allowed.uid or stack.setting("AIRFLOW_UID"))
    assert inside.processes
    # The real, effective, saved and file system user.
    assert {tuple(status["Uid"]) for status in inside.processes} == {(uid,) * 4}
    assert uid != "0"


@each
def test_processes_have_no_capabilities_and_cannot_gain_any(inside):
    for status in inside.processes:
        capabilities = {name: value for name, value in status.items() if name.startswith("Cap")}
        assert len(capabilities) == 5
        assert set(map(tuple, capabilities.values())) == {(NO_CAPABILITIES,)}, status["Name"]
        assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"]), status["Name"]


@each
def test_container_shares_nothing_with_the_host(inside):
    config = inside.host_config
    assert not inside.host_namespaces()
    assert not config["Privileged"]
    assert not [key for key in ("CapAdd", "Devices", "UsernsMode", "PidMode") if config[key]]
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert not inside.find("/run", "/var/run", "-name", "*docker*")


@each
def test_mounts_are_as_allowed_and_read_only_without_data(inside, allowed):
    options = {"/": "ro" if allowed.own_files_read_only else "rw"}
    options |= dict.fromkeys(allowed.writes | allowed.tmpfs, "rw")
    options |= dict.fromkeys(allowed.reads, "ro")
    mounts = {path: "ro" if "ro" in words else "rw" for path, words in inside.mounts.items()}
    assert mounts == options
    for path in allowed.tmpfs:
        assert inside.mounts[path] >= {"nosuid", "nodev", "noexec"}
    sources = [mount.get("Source", "") for mount in inside.container.attrs["Mounts"]]
    assert not [source for source in sources if source.endswith(".sock")]


@each
def test_mounted_code_is_not_world_writable(inside, allowed):
    assert not inside.find(*allowed.reads, "!", "-type", "l", "-perm", "-0002")


@each_image
def test_image_files_are_read_only_except_worker_paths(inside, allowed):
    # The folder of a mount is listed too. Another test checks mounts.
    mounted = allowed.writes | allowed.tmpfs
    paths = {path.replace("/var/run/", "/run/") for path in inside.image_files["writable"]}
    paths -= mounted
    assert bool(paths) != allowed.own_files_read_only
    assert not {path for path in paths if not WORKER_PATHS.match(path) or CODE.match(path)}


@each_image
def test_setuid_files_are_only_those_of_debian(inside, allowed):
    assert {path.rpartition("/")[2] for path in inside.image_files["setuid"]} <= SET_UID
    if writable := allowed.writes | allowed.tmpfs:
        assert not inside.find(*writable, "-type", "f", "-perm", "/6000")


@each
def test_memory_and_processes_are_limited_without_swap(stack, inside, allowed):
    amount = stack.settings().get(allowed.memory, allowed.memory)
    limits, memory = inside.limits(), int(amount.removesuffix("m")) * MIB
    assert limits["memory"] == memory
    assert limits["processes"] == allowed.processes
    # A missing value would mean that nothing limits swap.
    assert limits.get("with swap") == memory or limits.get("swap alone") == 0
    assert inside.host_config["RestartPolicy"]["Name"] == RESTART_POLICY


@each
def test_container_is_only_in_allowed_networks(stack, inside, allowed):
    project = stack.setting("COMPOSE_PROJECT_NAME")
    joined = inside.container.attrs["NetworkSettings"]["Networks"]
    assert set(joined) == {f"{project}_{name}" for name in allowed.networks}


@each
def test_default_route_is_the_egress_network(stack, inside, allowed):
    """Docker takes the default route from one of a container's networks, in alphabetical order."""
    if "egress" not in allowed.networks:
        pytest.skip("The service is not in the egress network.")
    routes = [line.split() for line in inside.lines_of("cat", "/proc/net/route")]
    [gateway] = [route[2] for route in routes if route[1] == "00000000"]
    address = ".".join(str(byte) for byte in reversed(bytes.fromhex(gateway)))
    network = f"{stack.setting('COMPOSE_PROJECT_NAME')}_egress"
    joined = inside.container.attrs["NetworkSettings"]["Networks"]
    assert address == joined[network]["Gateway"]


@pytest.fixture(scope="module")
def reachable(stack, sdk, containers):
    """Return the names that accept connections from a container in one network, by network."""
    project = stack.setting("COMPOSE_PROJECT_NAME")
    targets = [f"{name} {name} {port}" for name, port in PAGES.items()]
    targets.append(f"outside {OUTSIDE} 443")
    for service, port in DATABASES.items():
        # Use addresses, because names resolve slowly in other networks, or not at all.
        networks = containers[service].container.attrs["NetworkSettings"]["Networks"]
        targets += [f"{service} {joined['IPAddress']} {port}" for joined in networks.values()]

    def connect_from(network):
        argv = ["python", "-c", CONNECT, *targets]
        options = {"network": f"{project}_{network}", "remove": True}
        return set(sdk.containers.run(f"{project}-status", argv, **options).decode().split())

    return {network: connect_from(network) for network in ("back", "front", "egress")}


def test_databases_are_reachable_only_from_back_network(reachable):
    assert {name for name in reachable if reachable[name] & DATABASES.keys()} == {"back"}
    assert reachable["back"] >= DATABASES.keys()


def test_pages_are_reachable_from_front_network(reachable):
    assert reachable["front"] == PAGES.keys()


def test_internet_is_reachable_only_from_egress_network(reachable):
    if "outside" not in reachable["egress"]:
        pytest.skip("This machine reaches the internet only through a proxy.")
    assert {name for name in reachable if "outside" in reachable[name]} == {"egress"}
