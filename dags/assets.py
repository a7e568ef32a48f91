"""What the pipelines hand to each other, by name. Each event's `extra` names its month."""

from airflow.sdk import Asset
from ml import MODEL_NAME

champion = Asset(name=f"{MODEL_NAME}-champion", group="models")
"""Updated when the alias `champion` moves, and only then."""

drift = Asset(name=f"{MODEL_NAME}-drift", group="data")
"""Updated when a month has drifted past the threshold, once for each month."""
