"""Compute the settings that are `auto` in .env from the machine's memory and CPUs."""

# All amounts are in MiB. The stack gets all of the first 4 GiB and three quarters of the rest. The
# remaining quarter is for other programs and the file cache.
FIRST_MEMORY, SHARE_OF_REST = 4096, 3 / 4
# For the system (on 4 GiB), Redis, the status page and the proxy together.
OTHERS = 512
# The number of services limited by SERVICE_MEMORY: PostgreSQL, MLflow and Airflow's four.
SERVICES = 6
# The minimum suffices on 4 GiB. With more memory, a long log or a large artifact may use more, up
# to a maximum that only a leak would exceed.
MIN_SERVICE, MAX_SERVICE, SERVICE_SHARE = 352, 1536, 1 / 16
MIN_WORKER = 1152
# The worker itself, and the largest task of the pipelines: a training on the whole year.
WORKER, TASK = 256, 768
# Airflow's own default. Each idle slot uses 80 MiB, and its libraries start threads for each CPU.
MAX_TASKS = 16


def sizes_for(memory_gib: float, cpus: int) -> dict[str, str]:
    """Return the settings for a machine's memory and CPUs, by their names in .env.

    The sum of all limits is below 4 GiB plus three quarters of any memory above that. The worker
    runs two tasks per CPU if its memory suffices.
    """
    mebibytes = memory_gib * 1024
    available = min(mebibytes, FIRST_MEMORY + (mebibytes - FIRST_MEMORY) * SHARE_OF_REST)
    service = int(min(max(available * SERVICE_SHARE, MIN_SERVICE), MAX_SERVICE))
    worker = int(max(available - SERVICES * service - OTHERS, MIN_WORKER))
    tasks = max(1, min(2 * cpus, (worker - WORKER) // TASK, MAX_TASKS))
    return {
        "SERVICE_MEMORY": f"{service}m",
        "WORKER_MEMORY": f"{worker}m",
        "WORKER_CONCURRENCY": str(tasks),
    }
