"""Stub services on loopback ports that answer the probes over real sockets."""

import socketserver
from urllib.parse import quote

import httpx

from tests.support.http_stub import Stub

HEALTH = "/api/v2/monitor/health"
API = "/api/2.0/mlflow"
SEARCH = f"{API}/experiments/search"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts?path=0%2Fmodels"
ALIAS = f"{API}/registered-models/alias?name=flight-delay&alias="
REGISTERED = f"{API}/registered-models/get?name=flight-delay"
RUN = f"{API}/runs/get?run_id="
MONTHS = f"{API}/runs/search"
ABSENT = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})


def http_client():
    """Return a client that does not load certificates, which would take longer than a round."""
    return httpx.AsyncClient(trust_env=False, verify=False)


def key_values(**values):
    """Return a mapping in the format of MLflow."""
    return [{"key": key, "value": value} for key, value in values.items()]


def month_run(name, share):
    """Return a run of the monitoring pipeline."""
    return {"data": {"tags": key_values(period=name), "metrics": key_values(drifted_share=share)}}


def experiment(name, number, **tags):
    """Return an experiment of the problem flight-delay."""
    tagged = {"stack.problem": "flight-delay", "stack.drift_limit": "0.25"} | tags
    return {"name": name, "experiment_id": number, "tags": key_values(**tagged)}


EXPERIMENTS = [experiment("flight-delay", "6"), experiment("flight-delay-monitoring", "7")]


def version_answers(version, auc):
    """Return MLflow's answers for an alias of a version and for the version's training run."""
    alias = {"model_version": {"version": version, "run_id": f"run{version}"}}
    data = {"params": key_values(until="2013-05"), "metrics": key_values(auc=auc, log_loss=0.5)}
    return (200, alias), (200, {"run": {"data": data}})


def healthy_answers():
    """Return the answers of a healthy Airflow and MLflow to the probes."""
    champion, run = version_answers("3", 0.7)
    return {
        HEALTH: (200, {"metadatabase": {"status": "healthy"}}),
        SEARCH: (200, {"experiments": EXPERIMENTS}),
        ARTIFACTS: (200, {"files": []}),
        REGISTERED: (200, {"registered_model": {"name": "flight-delay"}}),
        f"{ALIAS}champion": champion,
        f"{RUN}run3": run,
        f"{ALIAS}challenger": (400, {"error_code": "INVALID_PARAMETER_VALUE"}),
        MONTHS: (200, {"runs": [month_run("2013-06", 0.1)]}),
    }


class RespHandler(socketserver.StreamRequestHandler):
    """One connection to a RedisStub: authentication, transactions and replies."""

    def handle(self):
        self.transaction, self.authenticated = None, False
        while head := self.rfile.readline():
            words = [self.word() for _ in range(int(head[1:]))]
            self.server.stub.commands.append(words[0].upper())
            if self.server.stub.hangs:
                self.server.stub.stopped.wait(10)
                return
            self.wfile.write(self.answer(words) if self.authenticated else self.authenticate(words))

    def word(self):
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:-2].decode()

    def authenticate(self, words):
        if words[0].upper() != "AUTH":
            return b"-NOAUTH Authentication required.\r\n"
        self.authenticated = words[-1] == self.server.stub.password
        return b"+OK\r\n" if self.authenticated else b"-WRONGPASS invalid password\r\n"

    def answer(self, words):
        if words[0].upper() == "MULTI":
            self.transaction = []
            return b"+OK\r\n"
        if words[0].upper() == "EXEC":
            commands, self.transaction = self.transaction, None
            replies = map(self.server.stub.reply, commands)
            return b"*%d\r\n" % len(commands) + b"".join(replies)
        if self.transaction is not None:
            self.transaction.append(words)
            return b"+QUEUED\r\n"
        return self.server.stub.reply(words)


class RedisStub(Stub):
    """Answers the commands of the probes in RESP, and requires a password."""

    def __init__(self, password="s3cret"):  # pragma: allowlist secret
        self.password = password
        self.persistence = "aof_enabled:1\r\naof_last_write_status:ok\r\n"
        self.clients, self.waiting, self.unacked, self.old = [client("brpop", "b")], 0, 0, 0
        self.forbidden = None
        self.commands = []
        self.hangs = False
        super().__init__(socketserver.ThreadingTCPServer(("127.0.0.1", 0), RespHandler))
        self.server.stub = self
        self.server.daemon_threads = True
        self.url = (
            f"redis://:{quote(password, safe='')}@127.0.0.1:{self.server.server_address[1]}/0"
        )

    def reply(self, words):
        command = " ".join(words).upper()
        if self.forbidden and command.startswith(self.forbidden):
            return b"-NOPERM this user has no permissions\r\n"
        replies = {
            "PING": "+PONG",
            "INFO PERSISTENCE": bulk(self.persistence),
            "CLIENT LIST": bulk("\n".join(self.clients) + "\n"),
            "LLEN DEFAULT": f":{self.waiting}",
            "HLEN UNACKED": f":{self.unacked}",
        }
        if command.startswith("ZCOUNT UNACKED_INDEX -INF "):
            return f":{self.old}\r\n".encode()
        return f"{replies.get(command, '+OK')}\r\n".encode()


def bulk(text):
    return f"${len(text)}\r\n{text}"


def client(cmd, flags, idle=0, addr="127.0.0.1:5", laddr="172.18.0.2:6379"):
    """Return one line of CLIENT LIST with the relevant fields."""
    addresses = f"addr={addr} laddr={laddr}"
    return f"id=3 {addresses} name= age=70 idle={idle} flags={flags} db=0 cmd={cmd} user=x"
