"""Run rclone as an S3 server, and replace it with HTTP servers that imitate AWS."""

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
    """rclone's S3 server. Its buckets are folders, so a restarted server has the same content."""

    def __init__(self, engine: str, folder: Path) -> None:
        docker = engine == "docker"
        self.host = psutil.net_if_addrs()["docker0"][0].address if docker else "127.0.0.1"
        self.folder, [self.port] = folder, ports.free(1)
        for name in (BUCKET, LOGS, DATA):
            (folder / name).mkdir(parents=True)
        self.log = folder.with_name("rclone.log")
        self.process: subprocess.Popen | None = None

    def settings(self) -> dict[str, str]:
        """Return the settings of .env for this server."""
        return {
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/{PREFIX}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://{self.host}:{self.port}",
            "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
        }

    def start(self, *options: str) -> None:
        """Start the server, and wait until it listens."""
        address, key = f"{self.host}:{self.port}", f"{KEY},{SECRET}"
        argv = ["rclone", "serve", "s3", "--addr", address, "--auth-key", key, *options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen([*argv, str(self.folder)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError(f"rclone does not listen. Its log: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill the server if it runs."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def freeze(self) -> None:
        """Stop the process, so that the server accepts connections but answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Freeze the server for nine tenths of each second."""
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
        """Restart the server with TLS and a self-signed certificate, and yield its file."""
        certificate, key = folder / "own.pem", folder / "own.key"
        options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own"]
        options += ["-addext", f"subjectAltName=IP:{self.host}"]
        options += ["-keyout", key, "-out", certificate]
        subprocess.run(["openssl", "req", "-x509", *options], check=True, capture_output=True)
        self.kill()
        self.start("--cert", str(certificate), "--key", str(key))
        try:
            yield certificate
        finally:
            self.kill()
            self.start()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Replace the buckets with one on a full file system."""
        self.kill()
        options = ["-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs"]
        subprocess.run(["mount", *options, self.folder], check=True)
        (self.folder / BUCKET).mkdir()
        (self.folder / "filler").write_bytes(bytes(4096))
        self.start()
        try:
            yield
        finally:
            self.kill()
            subprocess.run(["umount", self.folder], check=True)
            self.start()

    @contextmanager
    def refusing(self, status: int, code: str, **headers: str) -> Iterator[None]:
        """Replace rclone with a server that answers every request with an error of AWS."""
        self.kill()
        try:
            with http_server(self.host, self.port, refusing_handler(status, code, headers)):
                yield
        finally:
            self.start()

    def files(self, bucket: str = BUCKET) -> list[str]:
        """Return the names of a bucket's objects, without uploads that a kill interrupted."""
        folder = self.folder / bucket
        files = (path for path in folder.rglob("*") if path.is_file())
        complete = (path for path in files if not path.name.startswith(".rclone_temp"))
        return sorted(str(path.relative_to(folder)) for path in complete)


@contextmanager
def http_server(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run an HTTP server with a request handler, and yield its address."""
    with ThreadingHTTPServer((host, port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}"
        server.shutdown()


class Handler(BaseHTTPRequestHandler):
    """Read each request, answer it, and close the connection, without a log."""

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
        """Log nothing."""


def refusing_handler(status: int, code: str, headers: Mapping[str, str]) -> type[Handler]:
    """Return a handler that answers every request with an error in the format of S3."""
    body = f"<Error><Code>{code}</Code><Message>Refused</Message></Error>"

    class Refusing(Handler):
        def refuse(self) -> None:
            self.answer(status, "application/xml", body, headers)

        do_PUT = do_POST = do_DELETE = do_GET = do_HEAD = refuse

    return Refusing


ROLES, TOKEN = "/latest/meta-data/iam/security-credentials/", "a-token"
KEYS_OF_ROLE = {
    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": KEY, "SecretAccessKey": SECRET,
    "Token": "", "LastUpdated": "2026-11-27T00:00:00Z", "Expiration": "2126-11-27T00:00:00Z",
}  # fmt: skip
ROLE_PAGES = {ROLES: "ours", f"{ROLES}ours": json.dumps(KEYS_OF_ROLE)}


class InstanceMetadata(Handler):
    """Imitate the metadata service of an EC2 instance, which returns the key of its role.

    It accepts only IMDSv2, whose requests have a token.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
    """

    def do_PUT(self) -> None:
        self.answer(200, "text/plain", TOKEN)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self.answer(401, "text/plain", "")
        else:
            body = ROLE_PAGES.get(self.path, "")
            self.answer(200 if body else 404, "text/plain", body)
