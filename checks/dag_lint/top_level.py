"""Work at the top of a file, which Airflow does again at each parse, as the source shows it."""

import re
from collections.abc import Iterator

from checks.dag_lint.findings import Finding
from checks.dag_lint.import_time import Code

READS = r"\.(open|(read|write)_(text|bytes)|iterdir|glob|rglob)"
WORK = {
    "top-level-network": (
        r"(requests|httpx)(\.api)?\.(get|post|put|patch|delete|head|options|request|stream)",
        r"(requests\.Session|httpx\.Client)\(\)\.(get|post|put|patch|delete|head|request|stream)",
        r"urllib\.request\.(urlopen|urlretrieve)",
        r"urllib3\.PoolManager\(\)\.request",
        r"socket\.(create_connection|getaddrinfo|gethostbyname)",
        r"socket\.socket\(\)\.connect",
        r"(smtplib\.SMTP(_SSL)?|ftplib\.FTP|imaplib\.IMAP4(_SSL)?)",
        r"boto3\.(client|resource)\(\)\.\w+",
        r"mlflow\.(start_run|log_\w+|search_\w+|set_experiment|register_model|\w+\.load_model)",
        r"mlflow(\.tracking)?\.MlflowClient\(\)\.\w+",
    ),
    "top-level-database": (
        r"airflow\.(\w+\.)*Variable\.(get|set)",
        r"airflow\.(\w+\.)*Connection\.get(_connection_from_secrets)?",
        r"airflow\.(\w+\.)*\w*Hook\.get_connections?",
        r"airflow\.(\w+\.)*\w*Hook\(\)\.\w+",
        r"airflow\.(\w+\.)*create_session",
        r"airflow\.settings\.Session",
        r"(sqlite3|psycopg2?|pymysql|MySQLdb|pyodbc|oracledb|duckdb)\.connect",
        r"sqlalchemy\.create_engine\(\)\.(connect|begin|execute)",
        r"redis\.(Strict)?Redis(\.from_url)?\(\)\.\w+",
        r"pandas\.read_sql(_query|_table)?",
    ),
    "top-level-process": (
        r"subprocess\.(run|call|check_call|check_output|Popen|getoutput|getstatusoutput)",
        r"os\.(system|popen|fork|exec\w+|spawn\w+|posix_spawnp?)",
        r"multiprocessing\.(Process|Pool)",
    ),
    "top-level-sleep": (r"time\.sleep",),
    "top-level-file": (
        r"(io\.|codecs\.)?open",
        rf"pathlib\.\w*Path(\.\w+)?\(\)[\w.()]*{READS}",
        r"os\.(listdir|scandir|walk|remove|unlink|mkdir|makedirs)",
        r"glob\.i?glob",
        r"shutil\.(copy\w*|move|rmtree)",
        r"(pandas|polars)\.(read|scan)_(csv|parquet|excel|json|feather|orc|pickle)",
    ),
}
PATTERNS = [(rule, re.compile("|".join(f"(?:{p})" for p in names))) for rule, names in WORK.items()]
# Each takes from a third of a second to several to import.
HEAVY = {
    *("numpy", "pandas", "polars", "dask", "pyarrow", "scipy", "sklearn", "statsmodels"),
    *("xgboost", "lightgbm", "catboost", "torch", "torchvision", "tensorflow", "keras", "jax"),
    *("transformers", "datasets", "sentence_transformers", "spacy", "nltk", "cv2", "pyspark"),
    *("matplotlib", "seaborn", "plotly", "mlflow", "evidently", "shap", "great_expectations"),
}


def work(code: Code) -> Iterator[Finding]:
    """Yield calls at the top that reach for network, database, processes, files, or only wait."""
    for call in code.calls():
        name = code.dotted(call.func)
        for rule, pattern in PATTERNS:
            if pattern.fullmatch(name):
                why = f"{name.replace('()', '(…)')}(…) at the top of the file"
                yield Finding(code.path, call.lineno, rule, why)
                break


def heavy_imports(code: Code) -> Iterator[Finding]:
    """Yield imports at the top that take long."""
    for line, name in code.imports:
        if (top := name.partition(".")[0]) in HEAVY:
            yield Finding(
                code.path, line, "heavy-import", f"import of {top} at the top of the file"
            )
