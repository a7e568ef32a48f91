"""Assets through which the pipelines start each other. The `extra` of an event has its month."""

from airflow.sdk import Asset
from ml import MODEL_NAME

champion = Asset(name=f"{MODEL_NAME}-champion", group="models")
"""Updated only when the alias `champion` moves."""

drift = Asset(name=f"{MODEL_NAME}-drift", group="data")
"""Updated once for each month whose drift reaches the threshold."""
