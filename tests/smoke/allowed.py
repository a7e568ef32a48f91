"""What each service's container may have, and nothing beside it: a table to judge by."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Allowed:
    """A service's networks, limits, user, mounts; read-only but for what it `writes`."""

    networks: set[str]
    mebibytes: int
    processes: int
    uid: int | None = None
    writes: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    tmpfs: set[str] = field(default_factory=lambda: {"/tmp"})
    own_files_read_only: bool = True


def airflow(networks: set[str], mebibytes: int, processes: int = 512, **more) -> Allowed:
    """One of Airflow's: all have the same folders, and run as AIRFLOW_UID."""
    home = "/opt/airflow"
    reads = {f"{home}/dags", f"{home}/plugins", f"{home}/airflow.cfg", "/opt/stack"}
    writes = {f"{home}/logs", f"{home}/data"}
    return Allowed(networks, mebibytes, processes, writes=writes, reads=reads, **more)


ALLOWED = {
    "postgres": Allowed(
        {"back"}, 768, 256, 999,
        writes={"/var/lib/postgresql/data"},
        reads={"/docker-entrypoint-initdb.d/roles.sh", "/etc/heal.sh"},
        tmpfs={"/tmp", "/run/postgresql"},
    ),
    "redis": Allowed(
        {"back"}, 256, 64, 999,
        writes={"/data"},
        reads={"/etc/redis/redis.conf", "/etc/redis/redis.sh", "/etc/heal.sh"},
    ),
    "airflow-apiserver": airflow({"back", "front"}, 1536),
    "airflow-scheduler": airflow({"back"}, 768),
    "airflow-dag-processor": airflow({"back", "egress"}, 768),
    "airflow-triggerer": airflow({"back", "egress"}, 768),
    # Tasks write where they like.
    "airflow-worker": airflow(
        {"back", "egress"}, 3072, 4096, tmpfs=set(), own_files_read_only=False
    ),
    "mlflow": Allowed(
        {"back", "front", "egress"}, 1024, 512, 50001,
        writes={"/mlflow_data", "/tmp"}, reads={"/opt/stack"}, tmpfs=set(),
    ),
    "status": Allowed({"back", "front"}, 192, 64, 50002, reads={"/opt/stack", "/backups"}),
}  # fmt: skip
