#!/bin/bash
# First start of PostgreSQL: create a role and a database each for Airflow and MLflow, and a second
# database for MLflow's accounts. No role is a superuser or can connect to the other's databases.
# Passwords come from the environment, not from arguments.
set -euo pipefail

# A new volume has the mode of its folder in the image, which is world-writable. PostgreSQL needs 0700.
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
