"""A server that speaks S3, whose buckets are folders of this machine: rclone's."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import psutil

from orchestration.host import ports

BUCKET, LOGS, DATA, PREFIX = "models", "logs", "data", "of/this-stack"
KEY, SECRET = "tested-key", "tested-secret"  # pragma: allowlist secret


class Server:
    """It ends and begins again at the same address, as what it holds stays in the folder."""

    def __init__(self, engine: str, folder: Path) -> None:
        docker = engine == "docker"
        self.host = psutil.net_if_addrs()["docker0"][0].address if docker else "127.0.0.1"
        self.folder, [self.port] = folder, ports.free(1)
        for name in (BUCKET, LOGS, DATA):
            (folder / name).mkdir(parents=True)
        self.log = folder.with_name("rclone.log")
        self.process: subprocess.Popen | None = None

    def settings(self) -> dict[str, str]:
        """What a person writes to .env for it."""
        return {
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/{PREFIX}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://{self.host}:{self.port}",
            "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
        }

    def start(self, *options: str) -> None:
        """Listen; returns once it does."""
        address, key = f"{self.host}:{self.port}", f"{KEY},{SECRET}"
        argv = ["rclone", "serve", "s3", "--addr", address, "--auth-key", key, *options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen([*argv, str(self.folder)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError(f"rclone does not listen: {self.log.read_text()[-2000:]}")

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """In the middle of whatever it does."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
        self.process = None

    def freeze(self) -> None:
        """It takes connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Meanwhile it stands still for nine tenths of each second."""
        over = threading.Event()

        def stutter() -> None:
            while not over.is_set():
                self.freeze()
                over.wait(0.9)
                self.thaw()
                time.sleep(0.1)

        thread = threading.Thread(target=stutter)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def with_tls(self, folder: Path) -> Iterator[Path]:
        """Meanwhile it speaks TLS, by a certificate of its own; the file of that."""
        certificate, key = folder / "own.pem", folder / "own.key"
        asked = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own"]
        asked += ["-addext", f"subjectAltName=IP:{self.host}", "-keyout", key, "-out", certificate]
        subprocess.run(["openssl", "req", "-x509", *asked], check=True, capture_output=True)
        self.end()
        self.start("--cert", str(certificate), "--key", str(key))
        try:
            yield certificate
        finally:
            self.end()
            self.start()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Meanwhile a file system of nearly no size is where its buckets are."""
        self.end()
        options = ["-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs"]
        subprocess.run(["mount", *options, self.folder], check=True)
        (self.folder / BUCKET).mkdir()
        (self.folder / "all there is").write_bytes(bytes(4096))
        self.start()
        try:
            yield
        finally:
            self.end()
            subprocess.run(["umount", self.folder], check=True)
            self.start()

    @contextmanager
    def refusing(self, status: int, code: str, **headers: str) -> Iterator[None]:
        """Meanwhile it answers nothing else, as rclone cannot: its place is taken."""
        self.end()
        try:
            with answering(self.host, self.port, refusing(status, code, headers)):
                yield
        finally:
            self.start()

    def files(self, bucket: str = BUCKET) -> list[str]:
        """What a bucket holds, by name, without what rclone had begun when it was killed."""
        held = self.folder / bucket
        found = (path for path in held.rglob("*") if path.is_file())
        whole = (path for path in found if not path.name.startswith(".rclone_temp"))
        return sorted(str(path.relative_to(held)) for path in whole)


@contextmanager
def answering(host: str, port: int, kind: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of this kind; its address."""
    with ThreadingHTTPServer((host, port), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}"
        server.shutdown()


class Answering(BaseHTTPRequestHandler):
    """Reads what it is sent, says nothing of it, and hangs up."""

    protocol_version = "HTTP/1.1"

    def answer(
        self, status: int, kind: str, body: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def refusing(status: int, code: str, headers: Mapping[str, str]) -> type[Answering]:
    """Answers every question as AWS does where it refuses it."""
    body = f"<Error><Code>{code}</Code><Message>Refused</Message></Error>"

    class Refusing(Answering):
        def refuse(self) -> None:
            self.answer(status, "application/xml", body, headers)

        do_PUT = do_POST = do_DELETE = do_GET = do_HEAD = refuse

    return Refusing


ROLES, TOKEN = "/latest/meta-data/iam/security-credentials/", "a-token"
KEYS_OF_ROLE = {
    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": KEY, "SecretAccessKey": SECRET,
    "Token": "", "LastUpdated": "2026-11-27T00:00:00Z", "Expiration": "2126-11-27T00:00:00Z",
}  # fmt: skip
TOLD_OF_ROLE = {ROLES: "ours", f"{ROLES}ours": json.dumps(KEYS_OF_ROLE)}


class Instance(Answering):
    """What an EC2 instance tells of itself, the key of its role among it, by IMDSv2 alone.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
    """

    def do_PUT(self) -> None:
        self.answer(200, "text/plain", TOKEN)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self.answer(401, "text/plain", "")
        else:
            told = TOLD_OF_ROLE.get(self.path, "")
            self.answer(200 if told else 404, "text/plain", told)
