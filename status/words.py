"""What the page calls things, and what it says to type."""

MARKS = {"up": "✓", "degraded": "!", "down": "✕", "unknown": "?", "running": "…", "none": "–"}
ROLES = {
    "airflow-apiserver": "web interface and API",
    "airflow-scheduler": "decides what runs when",
    "airflow-dag-processor": "reads the DAG files",
    "airflow-triggerer": "waits for deferred tasks",
    "airflow-worker": "runs the tasks",
    "redis": "queue between scheduler and worker",
    "postgres": "databases of Airflow and MLflow",
    "mlflow": "runs and models",
}
TITLES = {
    "canary": "Canary",
    "training": "Training",
    "monitoring": "Monitoring",
    "dag-files": "DAG files",
    "patches": "Patches",
    "champion": "Champion",
    "challenger": "Challenger",
    "drift": "Drift",
    "backup": "Backup",
    "disk": "Disk",
}
# What to type where something is not up; the others are told by `inv logs`.
NEXT = {
    "canary": "inv health --deep",
    "training": "inv trigger training_pipeline --wait",
    "monitoring": "inv trigger monitoring_pipeline --wait",
    "dag-files": "nox -s dag_lint",
    "patches": "inv doctor",
    "champion": "inv trigger training_pipeline --wait",
    "drift": "inv trigger training_pipeline --wait",
}
