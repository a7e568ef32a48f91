"""Check a restored stack: every secret can be decrypted, every model with an alias predicts.

Run where Airflow's services run, against a restored stack in which MLflow's server is up. Prints
the result as one line of JSON. Exits with 1 and the reason if something cannot be used.
"""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator

READY_SECONDS = 90


def decrypt_secrets() -> int:
    """Decrypt the secrets of all connections and variables; return how many there are.

    Raises Fernet's errors, or ValueError.
    """
    from airflow.models import Connection, Variable
    from airflow.utils.session import create_session

    number = 0
    with create_session() as session:
        for connection in session.query(Connection):
            number += len([part for part in (connection.password, connection.extra) if part])
        for variable in session.query(Variable):
            number += variable.is_encrypted
            # Airflow returns None here instead of raising an error.
            if variable.is_encrypted and variable.get_val() is None:
                raise ValueError(f"the variable {variable.key} cannot be decrypted with this key")
    return number


def wait_for_mlflow() -> None:
    """Wait until MLflow's server answers; raises OSError if it does not in time."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{os.environ['MLFLOW_TRACKING_URI']}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def check_models() -> Iterator[str]:
    """Check each registered model that has an alias, and yield its name with the alias."""
    import mlflow

    client = mlflow.MlflowClient()
    for model in client.search_registered_models():
        for alias in model.aliases:
            name = f"{model.name}@{alias}"
            check_prediction(f"models:/{name}")
            yield name


def check_prediction(uri: str) -> None:
    """Load a model and predict its input example, if it has one.

    Raises ValueError if the model returns no prediction.
    """
    import mlflow

    path = mlflow.artifacts.download_artifacts(uri)
    example = mlflow.models.Model.load(path).load_input_example(path)
    model = mlflow.pyfunc.load_model(path)
    if example is not None and not len(model.predict(example)):
        raise ValueError(f"{uri} returns no prediction")


if __name__ == "__main__":
    try:
        number = decrypt_secrets()
        wait_for_mlflow()
        print(json.dumps({"decrypted": number, "predicted": list(check_models())}))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
