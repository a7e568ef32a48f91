"""What the pipelines hand to each other, by name."""

from airflow.sdk import Asset
from ml import MODEL_NAME

registered_model = Asset(name=MODEL_NAME, group="models")
"""Updated whenever a new version of the model stands in MLflow's registry."""
