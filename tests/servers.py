"""Web servers on this machine: files by HTTP ranges, and a bucket that speaks S3; both fail on demand.

Run as a program, this file is the S3 server itself (moto): it writes its port on the first line and ends
with its standard input, so that it never outlives a test, however that ends.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

HOST = "127.0.0.1"
BUCKET = "images"
KEY_ID = "test-key"
SCOPE = f"{KEY_ID}/20260101/us-east-1/s3/aws4_request"
SIGNED = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=0"
"""What moto believes; it checks no signatures."""
BLOCK = 1 << 20
"""Bytes of a file sent at a time."""
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "expect",
    "te",
    "trailer",
    "upgrade",
    "server",
    "date",
}
"""Headers of one connection only, or that this server writes itself."""
BUSY = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
)
DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


@dataclass
class Faults:
    """Which requests fail, and how; may be changed while the server runs.

    Attributes
    ----------
    every
        Every n-th request fails, counted from the start of the server; 0: none.
    kinds
        Taken in turn. `503`: answered with that status and `Retry-After: 0`. `drop`: the connection is closed
        before the request has any effect, without an answer. `cut`: the request has its effect, and the
        connection is closed in the middle of the answer.
    """

    every: int = 0
    kinds: tuple[str, ...] = ("503", "drop", "cut")


class Request(NamedTuple):
    """One request: `path` as it was sent, with the query; bytes of a range inclusive; status 0 if dropped."""

    method: str
    path: str
    first_byte: int | None
    last_byte: int | None
    status: int


@dataclass
class Traffic:
    """What was asked of a server and which requests failed; also told to the threads that answer.

    Attributes
    ----------
    requests
        In the order of their answers. A request that was cut has the status that the answer began with.
    failed
        The kinds of fault, one for each request that failed.
    """

    faults: Faults
    delay_s: float = 0.0
    requests: list[Request] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> str:
        """Count one request; return the fault that it meets, or nothing."""
        with self._lock:
            self._count += 1
            if not self.faults.every or self._count % self.faults.every:
                return ""
            kind = self.faults.kinds[len(self.failed) % len(self.faults.kinds)]
            self.failed.append(kind)
            return kind

    def note(self, request: Request) -> None:
        """Log one request."""
        with self._lock:
            self.requests.append(request)


@dataclass
class HttpFiles:
    """A folder served by HTTP."""

    url: str
    traffic: Traffic
    requests: list[Request]


@dataclass
class S3Server:
    """A bucket on this machine.

    Attributes
    ----------
    endpoint
        URL of the server, path style: a key is at `{endpoint}/{bucket}/{key}`.
    environment
        The variables that lead clients there. Whatever else the user has set up for AWS is out of reach.
    """

    endpoint: str
    bucket: str
    environment: dict[str, str]
    traffic: Traffic
    requests: list[Request]


@contextmanager
def http_files(folder: Path, *, delay_s: float = 0.0, faults: Faults | None = None) -> Iterator[HttpFiles]:
    """Serve the files of a folder, whole or in ranges; `delay_s` seconds pass before every answer."""
    traffic = Traffic(faults or Faults(), delay_s)

    class Handler(FileHandler):
        pass

    Handler.traffic, Handler.folder = traffic, folder.resolve()
    with _serving(Handler) as url:
        yield HttpFiles(url, traffic, traffic.requests)


@contextmanager
def s3_server(
    folder: Path, *, delay_s: float = 0.0, faults: Faults | None = None, public: bool = False
) -> Iterator[S3Server]:
    """Run an S3 server as a process of its own, and a proxy before it that delays, fails and logs.

    Parameters
    ----------
    folder
        For the server's log, `s3-server.log`. Objects are kept in its memory.
    delay_s
        Seconds before every answer.
    faults
        Of the proxy.
    public
        Whether requests without a signature are answered; else they are denied. Signatures are not checked.
    """
    traffic = Traffic(faults or Faults(), delay_s)

    class Handler(ProxyHandler):
        pass

    Handler.traffic, Handler.public = traffic, public
    with _moto(folder) as Handler.port, _serving(Handler) as endpoint:
        _make_bucket(Handler.port)
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(folder / "no-aws-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-aws-credentials"),
        }
        yield S3Server(endpoint, BUCKET, environment, traffic, traffic.requests)


class Server(ThreadingHTTPServer):
    """A thread for each connection; closing the server closes them all, idle ones too."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__((HOST, 0), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client went away: its right
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # closed in the meantime
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


@contextmanager
def _serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with Server(handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class FaultyHandler(BaseHTTPRequestHandler):
    """Keeps connections alive, logs, and fails when it is this request's turn."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    traffic: Traffic
    fault = ""

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.begin():
            self.answer()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def answer(self) -> None:
        raise NotImplementedError

    def begin(self) -> bool:
        """Read the request's body; return whether the request is to be answered."""
        self.fault = self.traffic.next_fault()
        if self.fault == "drop":
            self.close_connection = True
            self.note(0)
            return False
        self.body = self.read_body()
        time.sleep(self.traffic.delay_s)
        if self.fault == "503":
            self.send(503, {"Retry-After": "0", "Content-Type": "application/xml"}, BUSY)
        return self.fault != "503"

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(parts)

    def send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a small answer; `Content-Length` may be among the headers, as for HEAD."""
        length = headers.get("Content-Length", str(len(body)))
        self.send_head(status, {**headers, "Content-Length": length})
        self.send_body(iter([body]), len(body))

    def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.note(status)
        self.close_connection |= self.fault == "cut"
        if self.fault == "cut" and (self.command == "HEAD" or headers["Content-Length"] == "0"):
            self.wfile.write(b"HTTP/1.1 ")  # there is no body to cut
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, blocks: Iterator[bytes], length: int) -> None:
        """Send a body, or half of it where it is to be cut."""
        if self.command == "HEAD":
            return
        left = length // 2 if self.fault == "cut" else length
        for block in blocks:
            self.wfile.write(block[:left])
            left -= len(block)
            if left <= 0:
                break

    def note(self, status: int) -> None:
        first, last = self.range_asked()
        self.traffic.note(Request(self.command, self.path, first, last, status))

    def range_asked(self) -> tuple[int | None, int | None]:
        """Return the bounds in the Range header as they stand there."""
        unit, _, text = self.headers.get("Range", "").partition("=")
        if unit != "bytes" or "," in text:
            return None, None
        first, _, last = text.partition("-")
        return (int(first) if first else None), (int(last) if last else None)


class FileHandler(FaultyHandler):
    """Serves files below a folder."""

    folder: Path

    def answer(self) -> None:
        if self.command not in {"GET", "HEAD"}:
            self.send(405, {"Allow": "GET, HEAD"})
            return
        path = (self.folder / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            self.send(404, {})
            return
        found = path.stat()
        headers = {
            "ETag": f'"{found.st_mtime_ns:x}-{found.st_size:x}"',
            "Last-Modified": formatdate(found.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if (status := self.unmet(headers["ETag"])) is not None:
            self.send(status, headers)
        else:
            self.send_file(path, found.st_size, headers)

    def unmet(self, etag: str) -> int | None:
        """Return the status of a condition that does not hold."""
        wanted, unwanted = self.headers.get("If-Match", "*"), self.headers.get("If-None-Match", "")
        if wanted != "*" and etag not in wanted:
            return 412
        return 304 if etag in unwanted else None

    def send_file(self, path: Path, size: int, headers: Mapping[str, str]) -> None:
        """Send the file, or the range asked for."""
        first, last = self.range_asked()
        etag = headers["ETag"]
        if (first is None and last is None) or self.headers.get("If-Range", etag) != etag:
            start, stop, status = 0, size, 200
        elif first is None:
            start, stop, status = max(0, size - (last or 0)), size, 206
        else:
            start, stop, status = first, min(size, size if last is None else last + 1), 206
        if status == 206 and start >= stop:
            self.send(416, {**headers, "Content-Range": f"bytes */{size}"})
            return
        extra = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if status == 206 else {}
        self.send_head(status, {**headers, **extra, "Content-Length": str(stop - start)})
        with path.open("rb") as stream:
            stream.seek(start)
            self.send_body(iter(lambda: stream.read(BLOCK), b""), stop - start)


class ProxyHandler(FaultyHandler):
    """Passes requests on to the S3 server."""

    port: int
    public: bool
    upstream: http.client.HTTPConnection | None = None

    def answer(self) -> None:
        signed = "Authorization" in self.headers or "X-Amz-Signature=" in self.path
        if not (signed or self.public):
            self.send(403, {"Content-Type": "application/xml"}, DENIED)
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        headers["Content-Length"] = str(len(self.body))
        if not signed:
            headers["Authorization"] = SIGNED
        if self.upstream is None:
            self.upstream = http.client.HTTPConnection(HOST, self.port)
        self.upstream.request(self.command, self.path, self.body or None, headers)
        found = self.upstream.getresponse()
        body = found.read()
        self.send(found.status, {k: v for k, v in found.getheaders() if k.lower() not in HOP_BY_HOP}, body)

    def finish(self) -> None:
        super().finish()
        if self.upstream is not None:
            self.upstream.close()


@contextmanager
def _moto(folder: Path) -> Iterator[int]:
    """Run the S3 server; yields its port."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__]
    with (folder / "s3-server.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the S3 server did not start: {(folder / 's3-server.log').read_text()}"
            yield int(line)
        finally:
            process.kill()


def _make_bucket(port: int) -> None:
    with contextlib.closing(http.client.HTTPConnection(HOST, port)) as connection:
        connection.request("PUT", f"/{BUCKET}", headers={"Authorization": SIGNED})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


def _serve_s3() -> None:
    """Serve S3 until standard input ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: Any) -> None:
            pass

    application = DomainDispatcherApplication(create_backend_app)
    server = make_server(HOST, 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _serve_s3()
