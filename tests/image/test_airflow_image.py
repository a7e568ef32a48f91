"""In the built Airflow image, as its user, with the network off."""

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
    subprocess.run(["inv", "install"], cwd=ROOT, check=True)
    return f"{SETTINGS.project}-airflow"


def in_image(image, *command, user="50000:0"):
    mounts = [f"--volume={ROOT}/{name}:/checked/{name}:ro" for name in MOUNTED]
    argv = ["docker", "run", "--rm", "--network=none", f"--user={user}", *mounts, image, *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)


def test_every_dag_imports(image):
    done = in_image(image, "python", "-P", PARSE_DAGS, "/checked/dags")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canary" in done.stdout
    assert "training_pipeline" in done.stdout


def test_every_ml_module_imports(image):
    names = sorted(path.stem for path in (ROOT / "dags" / "ml").glob("*.py"))
    code = "import sys; sys.path.insert(0, '/checked/dags')\n" + "\n".join(
        f"import ml.{name}" for name in names if name != "__init__"
    )
    done = in_image(image, "python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_broken_dag_is_found(image):
    source = "import nowhere_to_be_found  # airflow dag"
    script = f"mkdir /tmp/d && echo '{source}' > /tmp/d/x.py && python -P {PARSE_DAGS} /tmp/d"
    done = in_image(image, "bash", "-c", script)
    assert done.returncode == 1, done.stdout
    assert "No module named 'nowhere_to_be_found'" in done.stdout


def test_packages_agree_with_each_other_and_the_locks(image):
    locks = [f"/checked/install/{name}.lock" for name in ("airflow", "requirements")]
    done = in_image(image, "python", f"{CHECKS}/check_packages.py", *locks)
    assert done.returncode == 0, done.stdout + done.stderr


def test_keeps_the_contract_of_the_official_image(image):
    asked = "whoami; id -u; id -g; pwd; echo $AIRFLOW_HOME; command -v airflow dumb-init"
    done = in_image(image, "bash", "-euc", f"{asked}; touch logs/x dags/x plugins/x")
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert said[:5] == ["airflow", "50000", "0", "/opt/airflow", "/opt/airflow"]
    assert said[5] == "/home/airflow/.local/bin/airflow"
    assert said[6].endswith("dumb-init")


def test_any_uid_of_group_0_has_a_name_and_a_writable_home(image):
    done = in_image(image, "bash", "-euc", "whoami; touch ~/x /opt/airflow/logs/x", user="12345:0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["default"]


def test_arguments_alone_reach_airflow(image):
    done = in_image(image, "version")
    assert done.stdout.strip().splitlines()[-1] == "3.0.1"


# Bytes, as `docker images` counts them, where they are built on Debian.
SIZES = {"airflow": 1.3e9, "mlflow": 1.0e9}
# What uses most of the packages whose own tests are left out, their public helpers for tests too.
NUMBERS = """
import matplotlib.pyplot, mpl_toolkits.mplot3d, numpy.testing, pandas.testing, pyarrow.parquet
import scipy.optimize, scipy.stats, sklearn.ensemble, sklearn.utils.estimator_checks
import statsmodels.api, evidently.presets
"""


@pytest.mark.parametrize("name", SIZES)
def test_an_image_is_no_larger_than_it_should_be(image, name):
    if SETTINGS["AIRFLOW_BASE_IMAGE"] != SETTINGS["DEBIAN_IMAGE"]:
        pytest.skip("the Airflow image is built on another one, whose size is not ours")
    named = f"{image.removesuffix('-airflow')}-{name}"
    argv = ["docker", "image", "inspect", "--format={{.Size}}", named]
    size = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert int(size) <= SIZES[name]


def test_packages_without_their_tests_work(image):
    done = in_image(image, "python", "-c", NUMBERS)
    assert done.returncode == 0, done.stderr
    found = in_image(image, "find", "/home/airflow/.local", "-path", "*/pandas/tests")
    assert (found.returncode, found.stdout) == (0, "")


# A module of each layer, read-only for who imports it.
COMPILED = """
import importlib.util
from pathlib import Path
for name in ("airflow", "mlflow", "pandas"):
    source = importlib.util.find_spec(name).origin
    assert Path(importlib.util.cache_from_source(source)).exists(), source
"""


def test_what_is_imported_is_compiled(image):
    done = in_image(image, "python", "-c", COMPILED)
    assert done.returncode == 0, done.stderr
