"""Stubs of PostgreSQL: a fake connection, and a server with the part of the protocol we need."""

import asyncio
import json
import socketserver
import struct

from tests.support.http_stub import Stub

TEXTS, JSON = 1009, 114
PLAIN, READY = 196608, (b"Z", b"I")


PIPELINES = [
    {"dag_id": f"{role}_pipeline", "role": role, "problem": "flight-delay"}
    for role in ("training", "monitoring")
]


def query_result(**fields):
    """Return the result of metadata.QUERY for a healthy stack, with these fields replaced."""
    beats = dict.fromkeys(["SchedulerJob", "DagProcessorJob", "TriggererJob"], 2.0)
    healthy = {
        "heartbeats": beats,
        "tasks": {"queued": 2, "running": 1},
        "oldest_queued": 3.5,
        "runs": [run("canary", 9.0, 5.0), run("training_pipeline", 90.0, 30.0)],
        "pipelines": PIPELINES,
        "hops": {"run": 0.09, "queued": 0.491},
        "broken": None,
        "broken_files": 0,
        "dags": 3,
        "connections": 14,
        "max_connections": 100,
        "bytes": {"mlflow": 10 * 2**20, "airflow": 11 * 2**20},
    }
    return json.dumps(healthy | fields)


def run(dag_id, started=9.0, ended=None, state="success", run_id="manual__1"):
    """Return a run as in the result of metadata.QUERY."""
    state = "running" if ended is None else state
    return {"dag_id": dag_id, "run_id": run_id, "state": state, "started": started, "ended": ended}


class Connection:
    """Returns its answers in order and repeats the last one; None hangs, errors are raised."""

    def __init__(self, *answers):
        self.answers, self.queries, self.closed = list(answers), [], False

    async def fetchval(self, query, *args):
        self.queries.append((query, *args))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def terminate(self):
        self.closed = True

    def is_closed(self):
        return self.closed


class Handler(socketserver.StreamRequestHandler):
    """One connection to a PostgresStub."""

    def handle(self):
        stub = self.server.stub
        while self.packet("!i")[0] != PLAIN:
            self.wfile.write(b"N")
        stub.connections += 1
        if stub.refuses:
            self.send((b"E", error("28P01", "password authentication failed")))
            return
        name = b"server_version\0" + b"16.9\0"
        self.send((b"R", bytes(4)), (b"S", name), (b"K", bytes(8)), READY)
        while kind := self.rfile.read(1):
            self.packet("")
            if kind == b"E" and stub.hangs:
                stub.stopped.wait(10)
                return
            self.send(*self.reply(kind))

    def packet(self, head):
        (size,) = struct.unpack("!i", self.rfile.read(4))
        return struct.unpack_from(head, self.rfile.read(size - 4))

    def send(self, *messages):
        framed = [kind + struct.pack("!i", len(body) + 4) + body for kind, body in messages]
        self.wfile.write(b"".join(framed))

    def reply(self, kind):
        answer = self.server.stub.answer.encode()
        column = b"answer\0" + struct.pack("!ihihih", 0, 0, JSON, -1, -1, 1)
        return {
            b"P": [(b"1", b"")],
            b"D": [(b"t", struct.pack("!hii", 2, TEXTS, TEXTS)), (b"T", b"\0\1" + column)],
            b"B": [(b"2", b"")],
            b"E": [(b"D", struct.pack("!hi", 1, len(answer)) + answer), (b"C", b"SELECT 1\0")],
            b"S": [READY],
        }.get(kind, [])


def error(code, text):
    """Return the body of an error message."""
    return f"SFATAL\0C{code}\0M{text}\0\0".encode()


class PostgresStub(Stub):
    """Answers every query with one JSON value, `answer`."""

    def __init__(self):
        self.answer, self.hangs, self.refuses, self.connections = query_result(), False, False, 0
        super().__init__(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
        self.server.stub = self
        self.server.daemon_threads = True
        address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"postgresql://status:s3cret@{address}/airflow"  # pragma: allowlist secret
