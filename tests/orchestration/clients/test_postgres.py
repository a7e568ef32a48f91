"""Test reading dumps and the SQL that is sent to PostgreSQL."""

from orchestration import checksums
from orchestration.clients import postgres
from orchestration.process.runner import Command

DUMP = b"""--
SET statement_timeout = 0;
COPY public.dag_run (id, conf) FROM stdin;
2\tb
1\tCOPY public.trick (id) FROM stdin;
\\.


COPY public.empty (id) FROM stdin;
\\.
SELECT pg_catalog.setval('public.dag_run_id_seq', 2, true);
"""


def test_tables_are_digested_with_sequences():
    tables = dict(postgres._tables(iter(DUMP.splitlines(keepends=True))))
    assert tables["dag_run"] == checksums.digest(
        [b"1\tCOPY public.trick (id) FROM stdin;", b"2\tb"]
    )
    assert {name: table["rows"] for name, table in tables.items()} == {
        "dag_run": 2,
        "empty": 0,
        "(sequences)": 1,
    }


def test_tables_of_a_truncated_dump_are_read_to_the_end():
    cut = DUMP[: DUMP.index(b"1\tCOPY")]
    tables = dict(postgres._tables(iter(cut.splitlines(keepends=True))))
    assert tables["dag_run"]["rows"] == 1


class Engine:
    """Records the commands and their services."""

    def __init__(self):
        self.commands = []

    def command(self, service, argv):
        self.commands.append((service, tuple(argv)))
        return Command(("true",))


def test_switch_renames_all_databases_in_one_transaction():
    engine = Engine()
    postgres.switch(engine)
    [(service, argv)] = engine.commands
    assert service == "postgres"
    for name in postgres.NAMES:
        away, here = f"RENAME TO {name}_before;", f"ALTER DATABASE {name}_loaded RENAME TO {name};"
        assert argv[-1].index(away) < argv[-1].index(here)


def test_create_empty_grants_access_to_the_owner_only():
    engine = Engine()
    postgres.create_empty(engine, "mlflow_auth", "loaded")
    statements = [argv[-1] for _, argv in engine.commands]
    assert statements == [
        "DROP DATABASE IF EXISTS mlflow_auth_loaded WITH (FORCE)",
        "CREATE DATABASE mlflow_auth_loaded OWNER mlflow TEMPLATE template0",
        "REVOKE CONNECT, TEMPORARY ON DATABASE mlflow_auth_loaded FROM PUBLIC",
    ]


def test_create_empty_without_suffix_drops_nothing():
    engine = Engine()
    postgres.create_empty(engine, "mlflow_auth")
    assert not [argv for _, argv in engine.commands if "DROP" in argv[-1]]


def test_names_dump_permissions_before_what_they_apply_to():
    assert postgres.NAMES.index("mlflow_auth") < postgres.NAMES.index("mlflow")


def test_switch_back_restores_the_previous_databases():
    engine = Engine()
    postgres.switch(engine, back=True)
    [(_, argv)] = engine.commands
    assert "ALTER DATABASE airflow RENAME TO airflow_loaded;" in argv[-1]
    assert "ALTER DATABASE airflow_before RENAME TO airflow;" in argv[-1]


def test_query_has_no_password_in_its_arguments(make_settings):
    engine = Engine()
    postgres.query(engine, "SELECT 1")
    [(_, argv)] = engine.commands
    assert '"$POSTGRES_PASSWORD"' in argv[2]
    assert make_settings()["POSTGRES_PASSWORD"] not in " ".join(argv)
