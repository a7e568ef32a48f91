#!/bin/sh
# MLflow's health check, through its database: MLflow's own /health never touches it. 3: one that
# answers there alone waits for its database, and is not ended for that.
# The password reaches curl on standard input, printed by the shell itself: ps shows arguments.
printf 'user = "status:%s"\n' "${STATUS_PASSWORD:?}" |
    curl --config - -m 4 -fsS -o /dev/null -H 'Content-Type: application/json' \
        -d '{"max_results": 1}' http://localhost:5000/api/2.0/mlflow/experiments/search && exit 0
curl -m 3 -fsS -o /dev/null http://localhost:5000/health && exit 3
exit 1
