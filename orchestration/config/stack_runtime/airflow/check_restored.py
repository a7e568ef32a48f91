"""Whether what was restored can be used: every secret opens, every model with an alias predicts.

Run where Airflow's services run, against a restored stack of which MLflow's server is up. Prints
what it found as one line of JSON; ends with 1 and the reason where something cannot be used.
"""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator

READY_SECONDS = 90


def decrypted() -> int:
    """Open every connection's and variable's secret; how many.

    Raises what Fernet does, or ValueError.
    """
    from airflow.models import Connection, Variable
    from airflow.utils.session import create_session

    number = 0
    with create_session() as session:
        for connection in session.query(Connection):
            number += len([part for part in (connection.password, connection.extra) if part])
        for variable in session.query(Variable):
            number += variable.is_encrypted
            # It keeps to itself that it could not be opened.
            if variable.is_encrypted and variable.get_val() is None:
                raise ValueError(f"the variable {variable.key} does not open with this key")
    return number


def await_mlflow() -> None:
    """Wait until MLflow's server answers; raises OSError when it does not in time."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{os.environ['MLFLOW_TRACKING_URI']}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def predicted() -> Iterator[str]:
    """Load each registered model that has an alias, ask it with the example it may carry."""
    import mlflow

    client = mlflow.MlflowClient()
    for model in client.search_registered_models():
        for alias in model.aliases:
            name = f"{model.name}@{alias}"
            answers(f"models:/{name}")
            yield name


def answers(uri: str) -> None:
    """Load a model, and have it predict for its own example; raises ValueError for nothing."""
    import mlflow

    path = mlflow.artifacts.download_artifacts(uri)
    example = mlflow.models.Model.load(path).load_input_example(path)
    model = mlflow.pyfunc.load_model(path)
    if example is not None and not len(model.predict(example)):
        raise ValueError(f"{uri} predicts nothing")


if __name__ == "__main__":
    try:
        number = decrypted()
        await_mlflow()
        print(json.dumps({"decrypted": number, "predicted": list(predicted())}))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
