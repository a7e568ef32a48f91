"""The DAGs of a problem: training, monitoring and scoring."""

from ml.problem import Problem


def create(problem: Problem) -> None:
    """Create the DAGs of a problem. Airflow finds them when it parses the file that calls this."""
    from pipelines import monitoring, scoring, training

    for pipeline in (training, monitoring, scoring):
        pipeline.create(problem)
