"""Flight delay, step by step, as plain functions: data, features, model, tracking.

Nothing here knows Airflow, and only `tracking` knows MLflow. A team brings its own
model by changing this folder alone.
"""

MODEL_NAME = "flight-delay"


class Refused(ValueError):
    """Data or model is not good enough; the same input would be refused again, so never retry."""
