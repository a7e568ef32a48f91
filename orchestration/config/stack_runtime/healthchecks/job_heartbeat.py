"""Health check of a dag-processor or triggerer: the age of its heartbeat in the database.

Does not import Airflow, because `airflow jobs check` takes 2.6 CPU-seconds. The threshold is wider
than the 10.5 s of 3.0.1 for the dag-processor, which cause false alarms.
"""

import os
import socket
import sys

import psycopg2

MAX_AGE_SECONDS = 60
QUERY = """
SELECT extract(epoch FROM now() - max(latest_heartbeat))
FROM job WHERE job_type = %s AND hostname = %s AND state = 'running'
"""


def heartbeat_age(job_type: str) -> float | None:
    """Return the seconds since the last heartbeat of this host's job; None if none is running."""
    uri = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    with psycopg2.connect(uri, connect_timeout=5) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY, (job_type, socket.getfqdn()))
        age = cursor.fetchone()[0]
    return None if age is None else float(age)


if __name__ == "__main__":
    try:
        age = heartbeat_age(sys.argv[1])
    except psycopg2.OperationalError as error:
        print(f"postgres: {error}")
        # Code 3 is unhealthy, but a restart would not help (heal.sh).
        sys.exit(3)
    if age is None or age > MAX_AGE_SECONDS:
        sys.exit(
            f"{sys.argv[1]}: {'no heartbeat' if age is None else f'last heartbeat {age:.0f} s ago'}"
        )
