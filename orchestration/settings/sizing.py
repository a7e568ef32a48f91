"""What a machine of some size gives the stack: what `auto` stands for in .env."""

# MiB. Of the first 4 GiB the stack has all. Of what is above them the system keeps a quarter,
# for what else runs there and to keep files in memory.
ALL_OURS, OUR_SHARE = 4096, 3 / 4
# What the system of 4 GiB, Redis, the status page and the proxy get together.
OTHERS = 512
# How many services have SERVICE_MEMORY as their limit: PostgreSQL, MLflow, Airflow's four.
SERVICES = 6
# The least is what they run in on 4 GiB. The more there is, the more a long log or a large artifact
# may take in passing, up to where only a leak would take more.
LEAST_SERVICE, MOST_SERVICE, SERVICE_SHARE = 352, 1536, 1 / 16
LEAST_WORKER = 1152
# A worker itself, and a task at the most that one of the pipelines' takes: a training on the year.
WORKER, PLACE = 256, 768
# Airflow's own default: each waits with 80 MiB, and its libraries start threads for each processor.
MOST_PLACES = 16


def fitting(memory_gib: float, cpus: int) -> dict[str, str]:
    """The settings that follow from a machine's memory and processors, by their names in .env.

    All limits together leave something of 4 GiB, and a quarter and more of each further one. Two
    tasks at once for each processor, as far as the worker's memory goes.
    """
    mebibytes = memory_gib * 1024
    ours = min(mebibytes, ALL_OURS + (mebibytes - ALL_OURS) * OUR_SHARE)
    service = int(min(max(ours * SERVICE_SHARE, LEAST_SERVICE), MOST_SERVICE))
    worker = int(max(ours - SERVICES * service - OTHERS, LEAST_WORKER))
    places = min(2 * cpus, (worker - WORKER) // PLACE, MOST_PLACES)
    return {
        "SERVICE_MEMORY": f"{service}m",
        "WORKER_MEMORY": f"{worker}m",
        "WORKER_CONCURRENCY": str(places),
    }
