"""Test that the Compose files, .env.example and the code agree, without an engine."""

import re

import httpx
import pytest
import requests
import yaml

from orchestration.clients import airflow as airflow_client
from orchestration.engines import base as engine_base
from orchestration.engines.docker import public_images
from orchestration.health import canary
from orchestration.health import report as health_report
from orchestration.settings import envfile, rules
from orchestration.settings.model import SECRETS
from status import probes, work
from tests.support.repository import ROOT

VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?+])([^}]*))?\}")

STACK_TEXT, TLS_TEXT, S3_TEXT, LOGS_TEXT = (
    (ROOT / f"orchestration/docker-compose{part}.yaml").read_text(encoding="utf-8")
    for part in ("", ".tls", ".s3", ".logs")
)
BASE_TEXT = (ROOT / "install/base/compose.yaml").read_text(encoding="utf-8")
EXAMPLE_TEXT = (ROOT / ".env.example").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(STACK_TEXT)["services"]
EXAMPLE = envfile.parse(EXAMPLE_TEXT)

INIT_JOBS = {name: body for name, body in SERVICES.items() if body.get("restart") == "no"}
LONG_RUNNING = {name: body for name, body in SERVICES.items() if name not in INIT_JOBS}
AIRFLOW = {name: body for name, body in SERVICES.items() if name.startswith("airflow-")}
PUBLISHED = {"airflow-apiserver", "mlflow", "status"}
WITH_S3, WITH_LOGS = (yaml.safe_load(text)["services"] for text in (S3_TEXT, LOGS_TEXT))
WITH_TLS = yaml.load(TLS_TEXT.replace("!reset ", ""), yaml.SafeLoader)["services"]

NOT_FOR_COMPOSE = {
    "STACK_ENGINE": "selects the engine, which may be Compose",
    "TLS": "selects the files that Compose reads",
    "TLS_CERTIFICATE": "is copied to where the proxy reads it",
    "TLS_KEY": "is copied to where the proxy reads it",
    "AIRFLOW_FORMER_FERNET_KEYS": "is for backups from before a rotation and not for services",
    "BACKUP_PASSPHRASE_FILE": "is for `inv backup` and not for services",
}


def variables(text):
    """Return (name, operator, word) of every ${…} outside comments."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return VARIABLE.findall(code)


# Passed to Compose by `inv`: hosts of Docker's configuration, and the id of the stack.
NOT_SETTINGS = {"CLIENT_NO_PROXY", "STACK_ID"}
# The empty file that is mounted if a setting for a file or folder is blank.
NOTHING = "./config/nothing"


def each(services):
    return pytest.mark.parametrize("name", services)


def depends_on(body):
    """Return the condition of each dependency by name. The short form waits for the start."""
    dependencies = body.get("depends_on", {})
    if isinstance(dependencies, list):
        return dict.fromkeys(dependencies, "service_started")
    return {name: options["condition"] for name, options in dependencies.items()}


each_file = pytest.mark.parametrize(
    "text",
    [STACK_TEXT, BASE_TEXT, TLS_TEXT, S3_TEXT, LOGS_TEXT],
    ids=["stack", "base", "tls", "s3", "logs"],
)


# Settings


@each_file
def test_compose_variables_are_settings(text):
    assert {name for name, _, _ in variables(text)} <= {*EXAMPLE, *NOT_SETTINGS}


def test_settings_are_used_by_compose_or_have_a_reason():
    used = {name for text in (STACK_TEXT, BASE_TEXT) for name, _, _ in variables(text)}
    assert {*EXAMPLE, *NOT_SETTINGS} - used == NOT_FOR_COMPOSE.keys()


@each_file
def test_compose_defaults_are_those_of_the_example(text):
    pairs = [(name, word) for name, operator, word in variables(text) if operator == ":-"]
    defaults = {(name, "" if word == NOTHING else word) for name, word in pairs}
    assert {(name, EXAMPLE.get(name, "")) for name, _ in defaults} == defaults


def test_required_variables_name_the_next_command():
    optional = (":-", ":+")
    required = [(name, op, word) for name, op, word in variables(STACK_TEXT) if op not in optional]
    by_hand = {each for each in variables(TLS_TEXT) if each[1] != ":-"}
    assert by_hand == {("PUBLIC_HOST", ":?", "set PUBLIC_HOST in .env")}
    assert {(op, word) for _, op, word in required} == {(":?", "run `inv install` first")}
    assert {*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID"} <= {name for name, _, _ in required}


@pytest.mark.parametrize("name", [*SECRETS, "COMPOSE_PROJECT_NAME", "AIRFLOW_UID"])
def test_generated_settings_are_blank_in_the_example(name):
    assert EXAMPLE[name] == ""


def test_example_has_each_setting_once_below_a_comment():
    lines = [line for line in EXAMPLE_TEXT.splitlines() if line and not line.startswith("#")]
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[A-Z_0-9]+=[^\s'\"$\\]*", line) for line in lines)
    assert all(group.startswith("#") for group in EXAMPLE_TEXT.strip().split("\n\n"))


# Services


def test_init_jobs_of_compose_are_those_of_the_code():
    assert set(INIT_JOBS) == set(engine_base.INIT_JOBS)


@each(INIT_JOBS)
def test_a_service_waits_for_the_success_of_an_init_job(name):
    # `up --wait` fails for an init job that no service depends on.
    dependents = [
        other
        for other, body in SERVICES.items()
        if depends_on(body).get(name) == "service_completed_successfully"
    ]
    assert dependents


@each(LONG_RUNNING)
def test_services_wait_only_for_the_success_of_init_jobs(name):
    for other, condition in depends_on(LONG_RUNNING[name]).items():
        assert other in SERVICES
        assert (condition == "service_completed_successfully") == (other in INIT_JOBS)


@each(LONG_RUNNING)
def test_service_is_restarted_checked_and_stopped_in_time(name):
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
    # At most 30 MB of logs per container.
    assert body["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert "no-new-privileges:true" in body["security_opt"]


def test_only_pages_and_proxy_publish_ports():
    assert {name for name, body in SERVICES.items() if "ports" in body} == PUBLISHED | {"tls"}
    assert set(health_report.ENDPOINTS) == PUBLISHED


@each(sorted(PUBLISHED))
def test_page_is_published_at_address_and_port_of_settings(name):
    [port] = SERVICES[name]["ports"]
    setting = health_report.ENDPOINTS[name][0]
    assert re.fullmatch(rf"\$\{{BIND_ADDRESS:-127\.0\.0\.1\}}:\$\{{{setting}:-\d+\}}:\d+", port)


def test_with_tls_only_the_proxy_publishes_the_ports():
    own = [port for name in sorted(PUBLISHED) for port in SERVICES[name]["ports"]]
    assert sorted(SERVICES["tls"]["ports"]) == sorted(own)
    assert {name for name, body in WITH_TLS.items() if "ports" in body} == PUBLISHED
    assert TLS_TEXT.count("ports: !reset []") == len(PUBLISHED)


def test_proxy_forwards_to_the_ports_of_the_services():
    conf = (ROOT / "orchestration/config/nginx/nginx.conf").read_text(encoding="utf-8")
    for name in PUBLISHED:
        port = SERVICES[name]["ports"][0].rpartition(":")[2]
        assert f" http://{name}:{port};" in conf
        assert f"listen {port} ssl http2;" in conf


def test_with_tls_airflow_services_use_the_same_public_addresses():
    names = ("AIRFLOW_PUBLIC_URL", "MLFLOW_PUBLIC_URL", "AIRFLOW__API__BASE_URL")
    addresses = {tuple(WITH_TLS[name]["environment"][n] for n in names) for name in AIRFLOW}
    assert len(addresses) == 1
    assert all(address.startswith("https://${PUBLIC_HOST:?") for address in addresses.pop())


def test_airflow_links_with_and_without_tls_end_alike():
    # Airflow 3.0.1 appends a path to this address, and FAB redirects to it.
    addresses = [body["environment"]["AIRFLOW__API__BASE_URL"] for body in WITH_TLS.values()
                 if "AIRFLOW__API__BASE_URL" in body.get("environment", {})]  # fmt: skip
    addresses += [body["environment"]["AIRFLOW__API__BASE_URL"] for body in AIRFLOW.values()]
    assert len(addresses) == 2 * len(AIRFLOW)
    assert all(address.endswith(":${AIRFLOW_PORT:-8080}/") for address in addresses)


# All but the databases and their clients answer or send HTTP requests.
WITH_HTTP = sorted({*AIRFLOW, *PUBLISHED, "mlflow-migrate", "tls"})


@each(WITH_HTTP)
def test_requests_to_service_never_use_a_proxy(name, monkeypatch):
    environment = SERVICES[name]["environment"]
    hosts = environment["NO_PROXY"].replace("${CLIENT_NO_PROXY:-}", "elsewhere.example,.inside")
    assert environment["no_proxy"] == environment["NO_PROXY"]
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://proxy.example:3128")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, hosts)
    direct = {"localhost", "127.0.0.1", "[::1]", "elsewhere.example", "a.inside"}
    direct |= {*WITH_HTTP} - INIT_JOBS.keys()
    with httpx.Client() as client:
        for host in (*direct, "example.org"):
            url = f"http://{host}:8080"
            uses_proxy = client._transport_for_url(httpx.URL(url)) is not client._transport
            assert uses_proxy is (host not in direct), host
            assert bool(requests.utils.get_environ_proxies(url)) is uses_proxy, host


def test_proxy_answers_exist_and_are_used():
    folder = ROOT / "orchestration/config/nginx"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.conf")))
    named = set(re.findall(r"/\.stack(?:-refused)?/(\w+\.json)", text))
    assert named == {path.name for path in folder.glob("*.json")}
    assert all("detail" in (t := (folder / n).read_text()) or "message" in t for n in named)


@each(SERVICES)
def test_service_has_no_privileges_on_the_host(name):
    body = SERVICES[name]
    assert "docker.sock" not in str(body)
    assert not body.get("privileged")
    assert not {"network_mode", "pid", "ipc", "userns_mode", "cap_add", "devices"} & body.keys()
    assert body["cap_drop"] == ["ALL"]
    assert body["pids_limit"] > 0
    assert body["read_only"] == (name != "airflow-worker")


@each(SERVICES)
def test_only_pages_and_proxy_are_in_the_front_network(name):
    networks = set(SERVICES[name]["networks"])
    # Published ports need a network that is not internal; databases need an internal one.
    assert ("front" in networks) == (name in (*PUBLISHED, "tls"))
    # The proxy is open to other machines, so it must not reach the databases.
    assert ("back" in networks) == (name != "tls")
    assert networks == {"back"} or name not in ("postgres", "redis", *INIT_JOBS)


def test_bucket_keys_log_settings_and_egress_of_services():
    assert WITH_S3.keys() == {"airflow-worker"}
    extended = {name: body.get("extends", {}).get("service") for name, body in WITH_LOGS.items()}
    assert extended == {"airflow-apiserver": "airflow-worker", "airflow-triggerer": None,
                     "airflow-worker": None}  # fmt: skip
    assert "egress" in SERVICES["airflow-worker"]["networks"]
    assert WITH_LOGS["airflow-apiserver"]["networks"] == ["egress"]


def test_airflow_and_mlflow_have_the_same_bucket_settings():
    mlflow = SERVICES["mlflow"]
    for body in WITH_S3.values():
        assert set(body["volumes"]) < set(mlflow["volumes"])
        for name, value in body["environment"].items():
            equivalent = name.replace("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL")
            if not name.startswith("AIRFLOW_"):
                assert value == mlflow["environment"][equivalent]


def test_back_network_is_internal_and_front_has_no_egress():
    networks = yaml.safe_load(STACK_TEXT)["networks"]
    assert networks["back"] == {"internal": True}
    [(option, value)] = networks["front"]["driver_opts"].items()
    assert (option.rpartition(".")[2], value) == ("enable_ip_masquerade", "false")
    # For a service in both networks, Docker picks the default route by alphabetical order.
    assert min("egress", "front") == "egress"


@each(SERVICES)
def test_no_secret_is_in_a_command_or_build_argument(name):
    body = SERVICES[name]
    visible = (
        f"{body.get('command', '')} {body.get('entrypoint', '')} {body.get('healthcheck', '')}"
    )
    assert not [secret for secret in SECRETS if secret in visible]
    assert "$" not in str(body.get("command", ""))
    # Build arguments stay readable in the image's history.
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
def test_airflow_services_share_image_user_and_volumes(name):
    first = AIRFLOW["airflow-scheduler"]
    body = AIRFLOW[name]
    assert [body[key] for key in ("image", "user", "volumes")] == [
        first[key] for key in ("image", "user", "volumes")
    ]
    assert first["environment"].items() <= body["environment"].items()
    assert "${AIRFLOW_PROJ_DIR:-..}/dags:/opt/airflow/dags:ro" in body["volumes"]


@pytest.mark.parametrize(
    ("text", "services"),
    [
        ("_AIRFLOW_WWW_USER_PASSWORD", ["airflow-init"]),
        # The database, and the services that create roles.
        ("${POSTGRES_PASSWORD", ["postgres", "airflow-init", "mlflow-migrate"]),
    ],
)
def test_password_reaches_only_the_services_that_need_it(text, services):
    assert [name for name in SERVICES if text in str(SERVICES[name])] == services


@pytest.mark.parametrize("name", ["ALERT_WEBHOOK_URL", "SMTP_PASSWORD"])
def test_alert_secrets_reach_only_the_environment_of_airflow(name):
    for service, body in SERVICES.items():
        assert (name in body.get("environment", {})) == (service in AIRFLOW)
        assert name not in str({key: value for key, value in body.items() if key != "environment"})


def test_status_page_gets_only_its_own_password():
    secrets = {name for name in SECRETS if f"${{{name}" in str(SERVICES["status"])}
    assert secrets == {"STATUS_PASSWORD"}


def test_status_page_checks_every_other_running_service():
    # `inv health` relies on the page: a service that it does not check would never be healthy.
    assert set(probes.service_names("redis://x")) == LONG_RUNNING.keys() - {
        "status",
        engine_base.PROXY,
    }


@pytest.mark.parametrize("role", public_images.STAND_INS)
def test_locally_built_images_match_the_example(role):
    assert EXAMPLE[f"{role.upper()}_IMAGE"].startswith(public_images.STAND_INS[role])
    assert yaml.safe_load(BASE_TEXT)["services"].keys() == public_images.STAND_INS.keys()
    assert SERVICES[role]["image"] == yaml.safe_load(BASE_TEXT)["services"][role]["image"]


def test_mounted_files_and_started_scripts_exist():
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


def test_compose_without_inv_reads_the_same_env_file():
    link = ROOT / "orchestration" / ".env"
    assert link.is_symlink()
    assert str(link.readlink()) == "../.env"


def test_dags_push_the_report_that_the_client_reads():
    source = (ROOT / "dags" / "runs.py").read_text()
    assert f'xcom_push("{airflow_client.REPORT}", lines)' in source


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
def test_settings_and_alerts_accept_the_same_addresses(address, good, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "orchestration/config")
    from stack_runtime.airflow import alerting

    assert bool(re.fullmatch(rules.WEB_ADDRESS, address)) == good
    assert bool(alerting.ADDRESS.fullmatch(address)) == good


# Settings that prevent lost work


def number(name):
    return int(SERVICES["airflow-worker"]["environment"][f"AIRFLOW__{name}"])


DAY, NO_LIMIT = 24 * 3600, float("inf")
HEARTBEAT = number("SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT")
WAITED = number("WORKERS__EXECUTION_API_RETRIES") * number("WORKERS__EXECUTION_API_RETRY_WAIT_MIN")


@pytest.mark.parametrize(
    ("least", "value", "most"),
    [
        # A restarted API server needs about 30 s, and tasks must not count as dead meanwhile.
        (60, WAITED, HEARTBEAT - 1),
        # A task of a dead worker is retried within five minutes.
        (1, number("CORE__DEFAULT_TASK_RETRIES"), NO_LIMIT),
        (0, HEARTBEAT + number("CORE__DEFAULT_TASK_RETRY_DELAY"), 300 - 60 - 1),
        # A DAG with a failed task must not count as removed before its file is parsed again.
        # Airflow's default limit for that parse is 50 s.
        (number("DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL") + 50,
         number("DAG_PROCESSOR__STALE_DAG_THRESHOLD"), NO_LIMIT),
        # A session ends within a working day.
        (3600, number("API_AUTH__JWT_EXPIRATION_TIME"), 8 * 3600),
        # More tasks are queued than a worker has slots (celery_queue.py sends fewer to Redis).
        (2 * 4, number("CORE__PARALLELISM"), NO_LIMIT),
    ],
)  # fmt: skip
def test_settings_that_prevent_lost_work_are_within_limits(least, value, most):
    assert least <= value <= most


def test_unfinished_tasks_are_not_redelivered_within_a_day():
    assert number("CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT") >= DAY
    assert number("EXECUTION_API__JWT_EXPIRATION_TIME") >= DAY


def test_lost_tasks_are_sent_again_for_a_day_before_they_fail():
    after, times = 600, number("SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES")
    environment = SERVICES["airflow-scheduler"]["environment"]
    assert "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT" not in environment
    assert after * times >= DAY


def test_stopped_worker_may_finish_its_tasks():
    worker = SERVICES["airflow-worker"]
    assert worker["environment"]["DUMB_INIT_SETSID"] == "0"
    assert worker["stop_grace_period"] == "120s"


def test_status_page_judges_the_canary_like_the_host_tool():
    assert work.HOPS == canary.HOPS
    assert work.QUEUED_LIMIT_SECONDS == canary.QUEUED_LIMIT_SECONDS
