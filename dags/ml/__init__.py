"""Flight delay, step by step, as plain functions.

A team brings its own model by changing this folder alone. Nothing here knows Airflow, and only
`tracking`, `registry` and `round_trip` know MLflow.
"""

import os

MODEL_NAME = "flight-delay"
MONITORING = f"{MODEL_NAME}-monitoring"
"""The MLflow experiment of the months that were looked at."""

MODELS = ("linear", "boosted")
"""The kinds of model that are trained, the simplest first; `model.KINDS` builds them."""

FIRST_MONTH = "2013-02"
"""From here on months are monitored: the first one after a champion can exist."""
LAST_MONTH = None if os.environ.get("DATASET_URI") else "2013-12"
"""Where the sample ends; your own data goes on."""


class Refused(ValueError):
    """Data or model is not good enough; the same input would be refused again, so never retry."""
