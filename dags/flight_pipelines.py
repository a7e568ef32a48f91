"""The DAGs of flight-delay: Airflow finds training, monitoring and scoring here."""

import pipelines
from problems.flights import PROBLEM

pipelines.create(PROBLEM)
