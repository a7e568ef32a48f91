"""Test the built Airflow image, as its user and without network."""

import os
import subprocess
from pathlib import Path

import pytest

from orchestration.host.drafts import load_or_draft
from orchestration.project import Project

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = load_or_draft(Project(ROOT, os.environ))
CHECKS = "/checked/tests/image"
PARSE_DAGS = "/checked/orchestration/config/stack_runtime/airflow/parse_dags.py"
MOUNTED = ("dags", "tests", "install", "orchestration")


@pytest.fixture(scope="module")
def image():
    install = subprocess.run(
        ["inv", "install"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert install.returncode == 0, install.stdout + install.stderr
    return f"{SETTINGS.project}-airflow"


def run_in_image(image, *command, user="50000:0"):
    mounts = [f"--volume={ROOT}/{name}:/checked/{name}:ro" for name in MOUNTED]
    argv = ["docker", "run", "--rm", "--network=none", f"--user={user}", *mounts, image, *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)


def test_image_imports_all_dags(image):
    result = run_in_image(image, "python", "-P", PARSE_DAGS, "/checked/dags")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "canary" in result.stdout
    assert "training_pipeline" in result.stdout


def test_image_imports_all_ml_modules(image):
    names = sorted(path.stem for path in (ROOT / "dags" / "ml").glob("*.py"))
    code = "import sys; sys.path.insert(0, '/checked/dags')\n" + "\n".join(
        f"import ml.{name}" for name in names if name != "__init__"
    )
    result = run_in_image(image, "python", "-c", code)
    assert result.returncode == 0, result.stderr


def test_broken_dag_is_reported(image):
    source = "import nowhere_to_be_found  # airflow dag"
    script = f"mkdir /tmp/d && echo '{source}' > /tmp/d/x.py && python -P {PARSE_DAGS} /tmp/d"
    result = run_in_image(image, "bash", "-c", script)
    assert result.returncode == 1, result.stdout
    assert "No module named 'nowhere_to_be_found'" in result.stdout


def test_dag_lint_uses_libraries_of_the_image(image, tmp_path):
    """The image gets a library that this machine lacks."""
    library = "libonly-in-image.so.1"
    source = f"FROM {image}\nUSER root\nRUN cp /lib/*/libz.so.1 /usr/lib/{library}\n"
    project = f"{SETTINGS.project}-lint"
    build = ["docker", "build", "--quiet", f"--tag={project}-airflow", "-"]
    subprocess.run(build, input=source, text=True, check=True, timeout=120)
    dag = (ROOT / "dags/canary.py").read_text()
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "uses_it.py").write_text(f"import ctypes\nctypes.CDLL('{library}')\n{dag}")
    lint = ["nox", "-s", "dag_lint", "--", folder]
    without = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    environment = os.environ | {"COMPOSE_PROJECT_NAME": project}
    with_it = subprocess.run(
        lint, cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )
    subprocess.run(["docker", "rmi", f"{project}-airflow"], check=True, timeout=60)
    assert without.returncode == 1, without.stdout
    assert f"{library}: cannot open shared object file" in without.stdout
    assert with_it.returncode == 0, with_it.stdout + with_it.stderr


def test_packages_match_requirements_and_locks(image):
    locks = [f"/checked/install/{name}.lock" for name in ("airflow", "requirements")]
    result = run_in_image(image, "python", f"{CHECKS}/check_packages.py", *locks)
    assert result.returncode == 0, result.stdout + result.stderr


def test_image_keeps_contract_of_official_image(image):
    commands = "whoami; id -u; id -g; pwd; echo $AIRFLOW_HOME; command -v airflow dumb-init"
    result = run_in_image(image, "bash", "-euc", f"{commands}; touch logs/x dags/x plugins/x")
    assert result.returncode == 0, result.stderr
    words = result.stdout.split()
    assert words[:5] == ["airflow", "50000", "0", "/opt/airflow", "/opt/airflow"]
    assert words[5] == "/home/airflow/.local/bin/airflow"
    assert words[6].endswith("dumb-init")


def test_image_any_uid_of_group_0_has_name_and_home(image):
    script = "whoami; touch ~/x /opt/airflow/logs/x"
    result = run_in_image(image, "bash", "-euc", script, user="12345:0")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["default"]


def test_image_passes_arguments_to_airflow(image):
    result = run_in_image(image, "version")
    assert result.stdout.strip().splitlines()[-1] == "3.0.1"


def test_image_creates_virtual_environments_with_its_packages(image):
    imports = "/tmp/v/bin/python -c 'import airflow, pandas'"
    script = f"uv venv -q --system-site-packages /tmp/v; {imports}"
    result = run_in_image(image, "bash", "-euc", script, user="12345:0")
    assert result.returncode == 0, result.stderr


# Largest sizes in bytes, as shown by `docker images`, for images built on Debian.
SIZES = {"airflow": 1.3e9, "mlflow": 1.0e9}
# These imports use most of the packages without their tests, including public test helpers.
NUMERIC_IMPORTS = """
import matplotlib.pyplot, mpl_toolkits.mplot3d, numpy.testing, pandas.testing, pyarrow.parquet
import scipy.optimize, scipy.stats, sklearn.ensemble, sklearn.utils.estimator_checks
import statsmodels.api, evidently.presets
"""


@pytest.mark.parametrize("name", SIZES)
def test_image_size_is_limited(image, name):
    if SETTINGS["AIRFLOW_BASE_IMAGE"] != SETTINGS["DEBIAN_IMAGE"]:
        pytest.skip("The Airflow image has another base image, whose size we do not control.")
    full_name = f"{image.removesuffix('-airflow')}-{name}"
    argv = ["docker", "image", "inspect", "--format={{.Size}}", full_name]
    size = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert int(size) <= SIZES[name]


def test_packages_without_tests_import(image):
    result = run_in_image(image, "python", "-c", NUMERIC_IMPORTS)
    assert result.returncode == 0, result.stderr
    folders = run_in_image(image, "find", "/home/airflow/.local", "-path", "*/pandas/tests")
    assert (folders.returncode, folders.stdout) == (0, "")


# A package of each layer. Users of the image cannot write bytecode there.
COMPILED = """
import importlib.util
from pathlib import Path
for name in ("airflow", "mlflow", "pandas"):
    source = importlib.util.find_spec(name).origin
    assert Path(importlib.util.cache_from_source(source)).exists(), source
"""


def test_packages_are_compiled(image):
    result = run_in_image(image, "python", "-c", COMPILED)
    assert result.returncode == 0, result.stderr
