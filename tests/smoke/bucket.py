"""A server that speaks S3, whose buckets are folders of this machine: rclone's."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from orchestration import ports

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

    def start(self) -> None:
        """Listen; returns once it does."""
        address, key = f"{self.host}:{self.port}", f"{KEY},{SECRET}"
        argv = ["rclone", "serve", "s3", "--addr", address, "--auth-key", key]
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
    def full(self) -> Iterator[None]:
        """Meanwhile a file system of nearly no size is where its buckets are."""
        self.end()
        options = ["-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs"]
        subprocess.run(["mount", *options, self.folder], check=True)
        (self.folder / BUCKET).mkdir()
        self.start()
        try:
            yield
        finally:
            self.end()
            subprocess.run(["umount", self.folder], check=True)
            self.start()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Meanwhile the key may not write; rclone knows no such key, so its place is taken."""
        self.end()
        try:
            with ThreadingHTTPServer((self.host, self.port), Denying) as denying:
                threading.Thread(target=denying.serve_forever, daemon=True).start()
                yield
                denying.shutdown()
        finally:
            self.start()

    def files(self, bucket: str = BUCKET) -> list[str]:
        """What a bucket holds, by name, without what rclone had begun when it was killed."""
        held = self.folder / bucket
        found = (path for path in held.rglob("*") if path.is_file())
        whole = (path for path in found if not path.name.startswith(".rclone_temp"))
        return sorted(str(path.relative_to(held)) for path in whole)


class Denying(BaseHTTPRequestHandler):
    """Answers as AWS does where a key has not the right."""

    protocol_version = "HTTP/1.1"

    def deny(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_DELETE = do_GET = deny

    def log_message(self, *_: object) -> None:
        """Say nothing."""
