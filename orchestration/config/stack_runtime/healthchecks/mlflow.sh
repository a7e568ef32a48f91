#!/bin/sh
# Health check of MLflow that uses its database, because MLflow's own /health does not. The exit code
# is 3 if only /health answers: MLflow then waits for its database, and a restart would not help.
# The shell writes the password to curl's standard input, because ps shows arguments.
printf 'user = "status:%s"\n' "${STATUS_PASSWORD:?}" |
    curl --config - -m 4 -fsS -o /dev/null -H 'Content-Type: application/json' \
        -d '{"max_results": 1}' http://localhost:5000/api/2.0/mlflow/experiments/search && exit 0
curl -m 3 -fsS -o /dev/null http://localhost:5000/health && exit 3
exit 1
