"""A web server that sends ranges of bytes after a delay, and counts what it sends.

`python server.py FOLDER DELAY_MS` writes its port on the first line and ends with its standard input. It is a
process of its own, because what is measured must not share an interpreter with it. `GET /counts` returns, and
resets, the number of requests and of bytes.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of files below a folder."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    delay_s: float
    counts = (0, 0)
    lock = threading.Lock()

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Write nothing."""

    def do_GET(self) -> None:
        """Send a file, or a range of it, or the counts."""
        if self.path == "/counts":
            with self.lock:
                body, Handler.counts = json.dumps(Handler.counts).encode(), (0, 0)
            self.answer(200, body)
            return
        time.sleep(self.delay_s)
        path = self.folder / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.count(0)
            self.answer(404, b"")
            return
        size = path.stat().st_size
        first, stop = self.range_of(size)
        with path.open("rb") as stream:
            stream.seek(first)
            body = stream.read(stop - first)
        self.count(0 if self.command == "HEAD" else len(body))
        where = {"Content-Range": f"bytes {first}-{stop - 1}/{size}"} if "Range" in self.headers else {}
        self.answer(206 if where else 200, body, **where)

    do_HEAD = do_GET  # noqa: N815

    def range_of(self, size: int) -> tuple[int, int]:
        """Return the bytes that are asked for: first, and after the last."""
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not first and last:
            return max(0, size - int(last)), size
        return int(first or 0), min(size, int(last) + 1) if last else size

    def count(self, n_bytes: int) -> None:
        """Count a request."""
        with self.lock:
            Handler.counts = (Handler.counts[0] + 1, Handler.counts[1] + n_bytes)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main() -> None:
    """Serve until standard input ends."""
    Handler.folder, Handler.delay_s = Path(sys.argv[1]), float(sys.argv[2]) / 1000
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
