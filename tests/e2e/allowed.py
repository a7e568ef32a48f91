"""The networks, limits, user and mounts that each service's container must have."""

from dataclasses import dataclass, field

# All containers share this volume, which heal.sh uses.
HEAL = "/run/heal"


@dataclass(frozen=True)
class Allowed:
    """The expected properties of a service's container.

    `memory` is the name of a setting or a size. `processes` is the limit of processes. `uid` is
    None for AIRFLOW_UID. `writes` and `reads` are writable and read-only mounts.
    """

    networks: set[str]
    memory: str
    processes: int
    uid: int | None = None
    writes: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    tmpfs: set[str] = field(default_factory=lambda: {"/tmp", HEAL})
    own_files_read_only: bool = True


def airflow(networks: set[str], memory: str, processes: int = 512, **more) -> Allowed:
    """Return the properties of an Airflow service. All have the same mounts and user."""
    home = "/opt/airflow"
    reads = {f"{home}/{name}" for name in ("dags", "datasets", "include", "plugins", "airflow.cfg")}
    reads |= {"/opt/stack"}
    reads |= {"/etc/ssl/certs/ca-certificates.crt"}
    writes = {f"{home}/logs", f"{home}/data"}
    return Allowed(networks, memory, processes, writes=writes, reads=reads, **more)


EACH = "SERVICE_MEMORY"
ALLOWED = {
    "postgres": Allowed(
        {"back"}, EACH, 256, 999,
        writes={"/var/lib/postgresql/data"},
        reads={"/docker-entrypoint-initdb.d/roles.sh", "/etc/heal.sh"},
        tmpfs={"/tmp", "/run/postgresql", HEAL},
    ),
    "redis": Allowed(
        {"back"}, "128m", 64, 999,
        writes={"/data"},
        reads={"/etc/redis/redis.conf", "/etc/redis/start.sh", "/etc/heal.sh"},
    ),
    "airflow-apiserver": airflow({"back", "front"}, EACH),
    "airflow-scheduler": airflow({"back"}, EACH),
    "airflow-dag-processor": airflow({"back", "egress"}, EACH),
    "airflow-triggerer": airflow({"back", "egress"}, EACH),
    # Tasks may write anywhere in the container.
    "airflow-worker": airflow(
        {"back", "egress"}, "WORKER_MEMORY", 4096, tmpfs={HEAL}, own_files_read_only=False
    ),
    "mlflow": Allowed(
        {"back", "front", "egress"}, EACH, 512, 50001,
        writes={"/mlflow_data", "/tmp"}, tmpfs={HEAL},
        reads={"/opt/stack", "/opt/aws", "/opt/authorities.pem"},
    ),
    "status": Allowed({"back", "front"}, "96m", 64, 50002, reads={"/opt/stack", "/backups"}),
}  # fmt: skip
