"""Labels of the page, and the commands that it suggests."""

MARKS = {"up": "✓", "degraded": "!", "down": "✕", "unknown": "?", "running": "…", "none": "–"}
ROLES = {
    "airflow-apiserver": "web interface and API",
    "airflow-scheduler": "schedules the tasks",
    "airflow-dag-processor": "parses the DAG files",
    "airflow-triggerer": "waits for deferred tasks",
    "airflow-worker": "runs the tasks",
    "redis": "task queue",
    "postgres": "databases of Airflow and MLflow",
    "mlflow": "experiment tracking, model registry",
}
TITLES = {
    "canary": "Canary",
    "training": "Training",
    "monitoring": "Monitoring",
    "dag-files": "DAG files",
    "silent-tasks": "Running tasks",
    "waiting-tasks": "Waiting tasks",
    "queues": "Queues",
    "triggers": "Triggers",
    "patches": "Patches",
    "champion": "Champion",
    "challenger": "Challenger",
    "drift": "Drift",
    "backup": "Backup",
    "disk": "Disk",
}
# The command to run if a result is not good. For services it is `inv logs`.
COMMANDS = {
    "canary": "inv health --deep",
    "dag-files": "nox -s dag_lint",
    **dict.fromkeys(
        ("silent-tasks", "waiting-tasks", "queues", "triggers", "patches"), "inv doctor"
    ),
}
# The pipeline to start if a result of a problem is not good.
PIPELINE_OF = {"training": "training", "monitoring": "monitoring", "champion": "training"}
PIPELINE_OF |= {"drift": "training"}


def title(name: str) -> str:
    """Return the title of a result, with its problem if the name has one."""
    role, _, problem = name.partition(" ")
    return f"{TITLES[role]} {problem}".rstrip()
