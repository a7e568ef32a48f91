"""The compose files, .env.example and the code say the same. No engine is asked."""

import re

import pytest
import yaml

from orchestration.clients import airflow as airflow_client
from orchestration.engines import base as engine_base
from orchestration.engines.docker import public_images
from orchestration.health import report as health_report
from orchestration.settings import envfile, validation
from orchestration.settings.model import SECRETS
from status import probes
from tests.support.repository import ROOT

VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?+])([^}]*))?\}")

STACK_TEXT, TLS_TEXT, S3_TEXT, LOGS_TEXT = (
    (ROOT / f"orchestration/docker-compose{of}.yaml").read_text(encoding="utf-8")
    for of in ("", ".tls", ".s3", ".logs")
)
BASE_TEXT = (ROOT / "install/base/compose.yaml").read_text(encoding="utf-8")
EXAMPLE_TEXT = (ROOT / ".env.example").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(STACK_TEXT)["services"]
EXAMPLE = envfile.parse(EXAMPLE_TEXT)

ONE_SHOTS = {name: body for name, body in SERVICES.items() if body.get("restart") == "no"}
LONG_RUNNING = {name: body for name, body in SERVICES.items() if name not in ONE_SHOTS}
AIRFLOW = {name: body for name, body in SERVICES.items() if name.startswith("airflow-")}
PUBLISHED = {"airflow-apiserver", "mlflow", "status"}
WITH_S3, WITH_LOGS = (yaml.safe_load(text)["services"] for text in (S3_TEXT, LOGS_TEXT))
WITH_TLS = yaml.load(TLS_TEXT.replace("!reset ", ""), yaml.SafeLoader)["services"]

NOT_FOR_COMPOSE = {
    "STACK_ENGINE": "chooses the engine; Compose is one of them",
    "TLS": "chooses the files that Compose reads",
    "TLS_CERTIFICATE": "is copied to where the proxy reads it",
    "TLS_KEY": "the same",
    "AIRFLOW_FORMER_FERNET_KEYS": "for backups made before a rotation; no service may know them",
    "BACKUP_PASSPHRASE_FILE": "for `inv backup`; no service may know it",
}


def variables(text):
    """(name, operator, word) of every ${…} outside comments."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return VARIABLE.findall(code)


# What is mounted where a setting that names a file or folder is blank.
NOTHING = "./config/nothing"


def each(services):
    return pytest.mark.parametrize("name", services)


def depends_on(body):
    """What a service waits for, by name, with the condition; the short form waits for a start."""
    asked = body.get("depends_on", {})
    if isinstance(asked, list):
        return dict.fromkeys(asked, "service_started")
    return {name: options["condition"] for name, options in asked.items()}


each_file = pytest.mark.parametrize(
    "text",
    [STACK_TEXT, BASE_TEXT, TLS_TEXT, S3_TEXT, LOGS_TEXT],
    ids=["stack", "base", "tls", "s3", "logs"],
)


# Settings


@each_file
def test_every_variable_of_compose_is_a_setting(text):
    assert {name for name, _, _ in variables(text)} <= EXAMPLE.keys()


def test_every_setting_is_used_by_compose_or_listed_with_its_reason():
    used = {name for text in (STACK_TEXT, BASE_TEXT) for name, _, _ in variables(text)}
    assert EXAMPLE.keys() - used == NOT_FOR_COMPOSE.keys()


@each_file
def test_a_default_in_compose_is_the_one_of_the_example(text):
    given = [(name, word) for name, operator, word in variables(text) if operator == ":-"]
    defaults = {(name, "" if word == NOTHING else word) for name, word in given}
    assert {(name, EXAMPLE[name]) for name, _ in defaults} == defaults


def test_what_must_be_set_names_the_next_command():
    optional = (":-", ":+")
    required = [(name, op, word) for name, op, word in variables(STACK_TEXT) if op not in optional]
    by_hand = {each for each in variables(TLS_TEXT) if each[1] != ":-"}
    assert by_hand == {("PUBLIC_HOST", ":?", "set PUBLIC_HOST in .env")}
    assert {(op, word) for _, op, word in required} == {(":?", "run `inv install` first")}
    assert {*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID"} <= {name for name, _, _ in required}


@pytest.mark.parametrize("name", [*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID"])
def test_what_is_generated_is_blank_in_the_example(name):
    assert EXAMPLE[name] == ""


def test_every_setting_stands_once_in_its_plain_form_and_in_a_group_with_a_comment():
    lines = [line for line in EXAMPLE_TEXT.splitlines() if line and not line.startswith("#")]
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[A-Z_0-9]+=[^\s'\"$\\]*", line) for line in lines)
    assert all(group.startswith("#") for group in EXAMPLE_TEXT.strip().split("\n\n"))


# Services


def test_the_one_shots_of_compose_are_those_of_the_code():
    assert set(ONE_SHOTS) == set(engine_base.ONE_SHOTS)


@each(ONE_SHOTS)
def test_a_one_shot_is_waited_for_to_its_good_end(name):
    # `up --wait` fails for a one-shot that no service depends on.
    waiting = [
        other
        for other, body in SERVICES.items()
        if depends_on(body).get(name) == "service_completed_successfully"
    ]
    assert waiting


@each(LONG_RUNNING)
def test_nothing_that_runs_waits_for_a_one_shot_in_another_way(name):
    for other, condition in depends_on(LONG_RUNNING[name]).items():
        assert other in SERVICES
        assert (condition == "service_completed_successfully") == (other in ONE_SHOTS)


@each(LONG_RUNNING)
def test_a_service_that_runs_comes_back_is_checked_and_ends_in_time(name):
    body = LONG_RUNNING[name]
    assert body["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+s", body["stop_grace_period"])
    check = body["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert len(check["test"]) > 1
    for word in ("interval", "timeout", "start_period"):
        assert re.fullmatch(r"\d+s", check[word])
    assert check["retries"] > 0


@each(SERVICES)
def test_every_service_has_its_limits(name):
    body = SERVICES[name]
    assert re.fullmatch(r"\d+m|\$\{(WORKER|SERVICE)_MEMORY:\?[^}]+\}", body["mem_limit"])
    assert body["mem_limit"] == body["memswap_limit"]
    assert body["logging"]["driver"] == "json-file"
    # Of each container 30 MB of log at most.
    assert body["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert "no-new-privileges:true" in body["security_opt"]


def test_only_the_three_pages_are_published_by_themselves_or_by_the_proxy():
    assert {name for name, body in SERVICES.items() if "ports" in body} == PUBLISHED | {"tls"}
    assert set(health_report.REACHED) == PUBLISHED


@each(sorted(PUBLISHED))
def test_a_page_is_published_at_the_address_and_port_of_its_settings(name):
    [port] = SERVICES[name]["ports"]
    setting = health_report.REACHED[name][0]
    assert re.fullmatch(rf"\$\{{BIND_ADDRESS:-127\.0\.0\.1\}}:\$\{{{setting}:-\d+\}}:\d+", port)


def test_with_tls_the_proxy_publishes_the_same_ports_and_nothing_else_any():
    own = [port for name in sorted(PUBLISHED) for port in SERVICES[name]["ports"]]
    assert sorted(SERVICES["tls"]["ports"]) == sorted(own)
    assert {name for name, body in WITH_TLS.items() if "ports" in body} == PUBLISHED
    assert TLS_TEXT.count("ports: !reset []") == len(PUBLISHED)


def test_the_proxy_passes_on_to_the_ports_that_the_services_listen_on():
    conf = (ROOT / "orchestration/config/nginx/nginx.conf").read_text(encoding="utf-8")
    for name in PUBLISHED:
        port = SERVICES[name]["ports"][0].rpartition(":")[2]
        assert f" http://{name}:{port};" in conf
        assert f"listen {port} ssl http2;" in conf


def test_with_tls_all_of_airflows_services_tell_the_same_addresses():
    named = ("AIRFLOW_PUBLIC_URL", "MLFLOW_PUBLIC_URL", "AIRFLOW__API__BASE_URL")
    told = {tuple(WITH_TLS[name]["environment"][n] for n in named) for name in AIRFLOW}
    assert len(told) == 1
    assert all(address.startswith("https://${PUBLIC_HOST:?") for address in told.pop())


def test_the_proxy_gives_each_answer_of_its_own_that_its_configuration_names():
    folder = ROOT / "orchestration/config/nginx"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.conf")))
    named = set(re.findall(r"/\.stack(?:-refused)?/(\w+\.json)", text))
    assert named == {path.name for path in folder.glob("*.json")}
    assert all("detail" in (t := (folder / n).read_text()) or "message" in t for n in named)


@each(SERVICES)
def test_no_service_is_root_on_this_machine(name):
    body = SERVICES[name]
    assert "docker.sock" not in str(body)
    assert not body.get("privileged")
    assert not {"network_mode", "pid", "ipc", "userns_mode", "cap_add", "devices"} & body.keys()
    assert body["cap_drop"] == ["ALL"]
    assert body["pids_limit"] > 0
    assert body["read_only"] == (name != "airflow-worker")


@each(SERVICES)
def test_every_service_names_its_networks_and_only_pages_are_at_the_front(name):
    networks = set(SERVICES[name]["networks"])
    # What is published needs one that is not internal, and the databases need one that is.
    assert ("front" in networks) == (name in (*PUBLISHED, "tls"))
    # The proxy is asked from everywhere: what is behind the pages is none of its business.
    assert ("back" in networks) == (name != "tls")
    assert networks == {"back"} or name not in ("postgres", "redis", *ONE_SHOTS)


def test_who_is_given_keys_writes_or_shows_logs_and_has_a_way_out():
    assert WITH_S3.keys() == {"airflow-worker"}
    given = {name: body.get("extends", {}).get("service") for name, body in WITH_LOGS.items()}
    assert given == {"airflow-apiserver": "airflow-worker", "airflow-triggerer": None,
                     "airflow-worker": None}  # fmt: skip
    assert "egress" in SERVICES["airflow-worker"]["networks"]
    assert WITH_LOGS["airflow-apiserver"]["networks"] == ["egress"]


def test_airflow_is_told_of_a_bucket_as_mlflow_is():
    theirs = SERVICES["mlflow"]
    for body in WITH_S3.values():
        assert set(body["volumes"]) < set(theirs["volumes"])
        for name, value in body["environment"].items():
            known = name.replace("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL")
            if not name.startswith("AIRFLOW_"):
                assert value == theirs["environment"][known]


def test_the_network_of_the_databases_is_internal_and_that_of_the_pages_leads_nowhere():
    networks = yaml.safe_load(STACK_TEXT)["networks"]
    assert networks["back"] == {"internal": True}
    [(option, value)] = networks["front"]["driver_opts"].items()
    assert (option.rpartition(".")[2], value) == ("enable_ip_masquerade", "false")
    # Docker takes the way out of what is in both by the alphabet.
    assert min("egress", "front") == "egress"


@each(SERVICES)
def test_no_secret_is_in_a_command(name):
    body = SERVICES[name]
    shown = f"{body.get('command', '')} {body.get('entrypoint', '')} {body.get('healthcheck', '')}"
    assert not [secret for secret in SECRETS if secret in shown]
    assert "$" not in str(body.get("command", ""))
    # Arguments of a build stay readable in the image's history.
    assert not [secret for secret in SECRETS if secret in str(body.get("build", ""))]


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_FERNET_KEY"),
        ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW_JWT_SECRET"),
        ("AIRFLOW__WEBSERVER__SECRET_KEY", "AIRFLOW_WEB_SECRET_KEY"),
        ("AIRFLOW__API__SECRET_KEY", "AIRFLOW_WEB_SECRET_KEY"),
    ],
)
def test_airflows_services_share_their_keys(key, secret):
    assert len(AIRFLOW) >= 6
    [value] = {body["environment"][key] for body in AIRFLOW.values()}
    assert value.startswith(f"${{{secret}:?")


@each(AIRFLOW)
def test_airflows_services_are_one_image_one_user_and_one_set_of_folders(name):
    first = AIRFLOW["airflow-scheduler"]
    body = AIRFLOW[name]
    assert [body[key] for key in ("image", "user", "volumes")] == [
        first[key] for key in ("image", "user", "volumes")
    ]
    assert first["environment"].items() <= body["environment"].items()
    assert "${AIRFLOW_PROJ_DIR:-..}/dags:/opt/airflow/dags:ro" in body["volumes"]


@pytest.mark.parametrize(
    ("words", "knowing"),
    [
        ("_AIRFLOW_WWW_USER_PASSWORD", ["airflow-init"]),
        # The database, and who makes roles.
        ("${POSTGRES_PASSWORD", ["postgres", "airflow-init", "mlflow-migrate"]),
    ],
)
def test_a_password_that_is_not_for_all_reaches_those_alone(words, knowing):
    assert [name for name in SERVICES if words in str(SERVICES[name])] == knowing


@pytest.mark.parametrize("name", ["ALERT_WEBHOOK_URL", "SMTP_PASSWORD"])
def test_what_alerts_are_sent_with_reaches_airflows_environment_alone(name):
    for service, body in SERVICES.items():
        assert (name in body.get("environment", {})) == (service in AIRFLOW)
        assert name not in str({key: value for key, value in body.items() if key != "environment"})


def test_the_status_page_knows_no_password_but_its_own():
    secrets = {name for name in SECRETS if f"${{{name}" in str(SERVICES["status"])}
    assert secrets == {"STATUS_PASSWORD"}


def test_the_status_page_judges_every_other_service_that_runs():
    # `inv health` takes its word for each of them; one it does not know would never be well.
    assert set(probes.service_names("redis://x")) == LONG_RUNNING.keys() - {
        "status",
        engine_base.PROXY,
    }


@pytest.mark.parametrize("role", public_images.STAND_INS)
def test_what_can_be_made_here_is_what_the_example_asks_for(role):
    assert EXAMPLE[f"{role.upper()}_IMAGE"].startswith(public_images.STAND_INS[role])
    assert yaml.safe_load(BASE_TEXT)["services"].keys() == public_images.STAND_INS.keys()
    assert SERVICES[role]["image"] == yaml.safe_load(BASE_TEXT)["services"][role]["image"]


def test_every_mounted_file_and_every_script_a_service_starts_is_there():
    volumes = {one.split(":")[0] for body in SERVICES.values() for one in body.get("volumes", [])}
    mounted = {path for path in volumes if path.startswith("./")}
    started = {f"config/{name}" for name in re.findall(r"/opt/stack/([\w./]+)", STACK_TEXT)}
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "orchestration").rglob("*.py")]
    named = r"""(?:-m,? stack_runtime\.|runtime_module\(")([\w.]+)"""
    modules = {name.replace(".", "/") for name in re.findall(named, STACK_TEXT + "".join(code))}
    started |= {f"config/stack_runtime/{name}.py" for name in modules}
    assert mounted
    assert "config/stack_runtime/healthchecks/worker_check.py" in started
    assert all((ROOT / "orchestration" / path).exists() for path in mounted)
    assert all((ROOT / "orchestration" / path).is_file() for path in started)


def test_the_engine_by_hand_reads_the_same_settings():
    link = ROOT / "orchestration" / ".env"
    assert link.is_symlink()
    assert str(link.readlink()) == "../.env"


def test_a_dag_reports_under_the_name_that_is_asked_for():
    pushed = (ROOT / "dags" / "runs.py").read_text()
    assert f'xcom_push("{airflow_client.REPORT}", lines)' in pushed


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", True),  # pragma: allowlist secret
        ("http://127.0.0.1:9099/hook?a=b", True),
        ("http://user:word@[::1]:80", True),  # pragma: allowlist secret
        ("hooks.slack.com/services", False),
        ("ftp://host/x", False),
        ("https://", False),
    ],
)
def test_settings_and_alerts_take_the_same_for_a_web_address(address, good, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "dags")
    from ml import alerting

    assert bool(re.fullmatch(validation.WEB_ADDRESS, address)) == good
    assert bool(alerting.ADDRESS.fullmatch(address)) == good


# Settings that lose no work


def number(name):
    return int(SERVICES["airflow-worker"]["environment"][f"AIRFLOW__{name}"])


DAY, NO_LIMIT = 24 * 3600, float("inf")
HEARTBEAT = number("SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT")
WAITED = number("WORKERS__EXECUTION_API_RETRIES") * number("WORKERS__EXECUTION_API_RETRY_WAIT_MIN")


@pytest.mark.parametrize(
    ("least", "value", "most"),
    [
        # An API server that is started anew needs about 30 s, and its tasks are not taken for dead.
        (60, WAITED, HEARTBEAT - 1),
        # A task of a dead worker is tried again within five minutes.
        (1, number("CORE__DEFAULT_TASK_RETRIES"), NO_LIMIT),
        (0, HEARTBEAT + number("CORE__DEFAULT_TASK_RETRY_DELAY"), 300 - 60 - 1),
        # A DAG whose task failed is not taken for removed before its file is parsed again, for
        # which it may take as long as Airflow's default.
        (number("DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL") + 50,
         number("DAG_PROCESSOR__STALE_DAG_THRESHOLD"), NO_LIMIT),
        # A login that was left open ends within a working day.
        (3600, number("API_AUTH__JWT_EXPIRATION_TIME"), 8 * 3600),
        # More tasks are handed out than a worker has places.
        (2 * 4, number("CORE__PARALLELISM"), NO_LIMIT),
    ],
)  # fmt: skip
def test_a_setting_that_loses_no_work_is_within_its_limits(least, value, most):
    assert least <= value <= most


def test_no_second_worker_gets_a_task_that_the_first_still_runs_or_may_run():
    assert number("CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT") >= DAY
    assert number("EXECUTION_API__JWT_EXPIRATION_TIME") >= DAY


def test_a_task_that_waits_in_redis_is_put_back_for_a_day_before_it_is_failed_for_waiting():
    after, times = 600, number("SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES")
    environment = SERVICES["airflow-scheduler"]["environment"]
    assert "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT" not in environment
    assert after * times >= DAY


def test_a_worker_that_is_stopped_may_end_its_tasks():
    worker = SERVICES["airflow-worker"]
    assert worker["environment"]["DUMB_INIT_SETSID"] == "0"
    assert worker["stop_grace_period"] == "120s"
