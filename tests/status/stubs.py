"""Stub services on loopback ports: what the probes ask is answered over real sockets."""

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
MONITORED = f"{API}/experiments/get-by-name?experiment_name=flight-delay-monitoring"
MONTHS = f"{API}/runs/search"
ABSENT = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})


def asking():
    """A client of these stubs; it reads no certificates, which takes longer than a round."""
    return httpx.AsyncClient(trust_env=False, verify=False)


def pairs(**values):
    """What MLflow makes of a mapping."""
    return [{"key": key, "value": value} for key, value in values.items()]


def month(name, share):
    """A run of the monitoring pipeline."""
    return {"data": {"tags": pairs(month=name), "metrics": pairs(drifted_share=share)}}


def trained(version, auc):
    """What MLflow says of an alias, and of the run that its version is from."""
    held = {"model_version": {"version": version, "run_id": f"run{version}"}}
    data = {"params": pairs(until="2013-05"), "metrics": pairs(auc=auc, log_loss=0.5)}
    return (200, held), (200, {"run": {"data": data}})


def answers():
    """What Airflow and MLflow answer the probes when all is well."""
    champion, run = trained("3", 0.7)
    return {
        HEALTH: (200, {"metadatabase": {"status": "healthy"}}),
        SEARCH: (200, {"experiments": [{"experiment_id": "0"}]}),
        ARTIFACTS: (200, {"files": []}),
        REGISTERED: (200, {"registered_model": {"name": "flight-delay"}}),
        f"{ALIAS}champion": champion,
        f"{RUN}run3": run,
        f"{ALIAS}challenger": (400, {"error_code": "INVALID_PARAMETER_VALUE"}),
        MONITORED: (200, {"experiment": {"experiment_id": "7"}}),
        MONTHS: (200, {"runs": [month("2013-06", 0.1)]}),
    }


class RespHandler(socketserver.StreamRequestHandler):
    """One connection to a RedisStub: authentication, transactions, and its replies."""

    def handle(self):
        self.queued, self.known = None, False
        while head := self.rfile.readline():
            words = [self.word() for _ in range(int(head[1:]))]
            self.server.stub.commands.append(words[0].upper())
            if self.server.stub.hangs:
                self.server.stub.over.wait(10)
                return
            self.wfile.write(self.answer(words) if self.known else self.greet(words))

    def word(self):
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:-2].decode()

    def greet(self, words):
        if words[0].upper() != "AUTH":
            return b"-NOAUTH Authentication required.\r\n"
        self.known = words[-1] == self.server.stub.password
        return b"+OK\r\n" if self.known else b"-WRONGPASS invalid password\r\n"

    def answer(self, words):
        if words[0].upper() == "MULTI":
            self.queued = []
            return b"+OK\r\n"
        if words[0].upper() == "EXEC":
            replies = map(self.server.stub.reply, self.queued)
            return b"*%d\r\n" % len(self.queued) + b"".join(replies)
        if self.queued is not None:
            self.queued.append(words)
            return b"+QUEUED\r\n"
        return self.server.stub.reply(words)


class RedisStub(Stub):
    """Speaks as much RESP as the probes need, behind a password."""

    def __init__(self, password="s3cret"):  # pragma: allowlist secret
        self.password = password
        self.persistence = "aof_enabled:1\r\naof_last_write_status:ok\r\n"
        self.clients, self.waiting, self.in_hand = [client("brpop", "b")], 0, 0
        self.refused = None
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
        if self.refused and command.startswith(self.refused):
            return b"-NOPERM this user has no permissions\r\n"
        replies = {
            "PING": "+PONG",
            "INFO PERSISTENCE": bulk(self.persistence),
            "CLIENT LIST": bulk("\n".join(self.clients) + "\n"),
            "LLEN DEFAULT": f":{self.waiting}",
            "HLEN UNACKED": f":{self.in_hand}",
        }
        return f"{replies.get(command, '+OK')}\r\n".encode()


def bulk(text):
    return f"${len(text)}\r\n{text}"


def client(cmd, flags, idle=0, addr="127.0.0.1:5", laddr="172.18.0.2:6379"):
    """One line of CLIENT LIST, cut to what matters."""
    at = f"addr={addr} laddr={laddr}"
    return f"id=3 {at} name= age=70 idle={idle} flags={flags} db=0 cmd={cmd} user=x"
