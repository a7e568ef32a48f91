#!/bin/bash
# First start of PostgreSQL: a role and a database each for Airflow and MLflow, which has a second
# one for its accounts; neither a superuser, neither able to open the other's. Passwords come from
# the environment, not from argv.
set -euo pipefail

# A volume is made as its folder in the image is, which all may write to; PostgreSQL wants it closed.
chmod 0700 "$PGDATA"

PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD} psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
REVOKE CONNECT, TEMPORARY ON DATABASE airflow, mlflow, mlflow_auth, postgres FROM PUBLIC;
SQL
