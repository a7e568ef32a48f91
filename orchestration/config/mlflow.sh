#!/bin/sh
# MLflow reads its settings from the environment; a blank one is not the same as none to it.
set -eu
for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_DEFAULT_REGION MLFLOW_S3_ENDPOINT_URL; do
    eval "value=\${$name:-}"
    # shellcheck disable=SC2154  # set by eval
    [ -n "$value" ] || unset "$name"
done
exec "${MLFLOW_COMMAND:-mlflow}" server --host "${MLFLOW_HOST:-0.0.0.0}" --port "${MLFLOW_PORT:-5000}" --workers 1
