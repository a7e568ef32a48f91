"""What a dump holds, and the words that PostgreSQL is asked with."""

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


def test_rows_are_counted_table_by_table_and_sequences_too():
    found = dict(postgres._tables(iter(DUMP.splitlines(keepends=True))))
    assert found["dag_run"] == checksums.digest([b"1\tCOPY public.trick (id) FROM stdin;", b"2\tb"])
    assert {name: told["rows"] for name, told in found.items()} == {
        "dag_run": 2,
        "empty": 0,
        "(sequences)": 1,
    }


def test_a_dump_that_ends_in_a_table_is_read_to_its_end():
    cut = DUMP[: DUMP.index(b"1\tCOPY")]
    found = dict(postgres._tables(iter(cut.splitlines(keepends=True))))
    assert found["dag_run"]["rows"] == 1


class Asked:
    """An engine that notes what is run where."""

    def __init__(self):
        self.commands = []

    def command(self, service, argv):
        self.commands.append((service, tuple(argv)))
        return Command(("true",))


def test_all_databases_change_places_in_one_transaction():
    engine = Asked()
    postgres.switch(engine)
    [(service, argv)] = engine.commands
    assert service == "postgres"
    for name in postgres.NAMES:
        away, here = f"RENAME TO {name}_before;", f"ALTER DATABASE {name}_loaded RENAME TO {name};"
        assert argv[-1].index(away) < argv[-1].index(here)


def test_a_database_is_its_owners_alone():
    engine = Asked()
    postgres.make_empty(engine, "mlflow_auth", "loaded")
    said = [argv[-1] for _, argv in engine.commands]
    assert said == [
        "DROP DATABASE IF EXISTS mlflow_auth_loaded WITH (FORCE)",
        "CREATE DATABASE mlflow_auth_loaded OWNER mlflow TEMPLATE template0",
        "REVOKE CONNECT, TEMPORARY ON DATABASE mlflow_auth_loaded FROM PUBLIC",
    ]


def test_a_live_database_is_never_dropped_for_an_empty_one():
    engine = Asked()
    postgres.make_empty(engine, "mlflow_auth")
    assert not [argv for _, argv in engine.commands if "DROP" in argv[-1]]


def test_what_may_be_lost_between_two_dumps_is_a_right_and_not_what_it_is_for():
    assert postgres.NAMES.index("mlflow_auth") < postgres.NAMES.index("mlflow")


def test_back_is_the_same_the_other_way_round():
    engine = Asked()
    postgres.switch(engine, back=True)
    [(_, argv)] = engine.commands
    assert "ALTER DATABASE airflow RENAME TO airflow_loaded;" in argv[-1]
    assert "ALTER DATABASE airflow_before RENAME TO airflow;" in argv[-1]


def test_no_password_is_in_the_words(make_settings):
    engine = Asked()
    postgres.ask(engine, "SELECT 1")
    [(_, argv)] = engine.commands
    assert '"$POSTGRES_PASSWORD"' in argv[2]
    assert make_settings()["POSTGRES_PASSWORD"] not in " ".join(argv)
