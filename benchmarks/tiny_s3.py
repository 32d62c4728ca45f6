"""A bucket in memory that costs almost nothing, so that a benchmark measures the client.

It is no S3: it knows PUT (whole and in parts, `If-None-Match: *`), GET (also ranges), HEAD, DELETE, one list,
believes every signature, and an ETag is a number, not a digest. The S3 servers of the package
registries take a third of the bytes and a twentieth of the small objects a second. It ends with its standard
input; its first line is its port.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from io import BufferedReader

LINE = b"\r\n"
PAGE = 1000
"""Most keys in one answer to a listing."""
OBJECTS: dict[str, tuple[bytes | bytearray, int]] = {}
"""By path with the bucket: the bytes, and the number of the write."""
PARTS: dict[str, dict[int, bytearray]] = {}
"""By upload: parts by their number."""
WRITES = itertools.count(1)
LOCK = threading.Lock()


def answer(
    status: str, body: bytes | memoryview = b"", *, etag: int = 0, length: int | None = None, more: str = ""
) -> list[bytes]:
    """Write an answer in parts, the body as it is; `more` is a line of the head."""
    size = len(body) if length is None else length
    head = f'HTTP/1.1 {status}\r\nContent-Length: {size}\r\nETag: "{etag}"\r\n'
    head += f"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n{more}\r\n"
    return [head.encode(), bytes(body)]


def put(path: str, body: bytearray, *, only_new: bool) -> list[bytes]:
    """Keep an object."""
    with LOCK:
        if only_new and path in OBJECTS:
            return answer("412 Precondition Failed")
        number = next(WRITES)
        OBJECTS[path] = body, number
    return answer("200 OK", etag=number)


def get(path: str, wanted: str, *, only_head: bool) -> list[bytes]:
    """Return an object or one range of it."""
    if path not in OBJECTS:
        return answer("404 Not Found")
    body, number = OBJECTS[path]
    if only_head:
        return answer("200 OK", etag=number, length=len(body))
    if not wanted:
        return answer("200 OK", memoryview(body), etag=number)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    bounds = slice(int(first), int(last) + 1 if last else None) if first else slice(-int(last), None)
    start, stop, _ = bounds.indices(len(body))
    where = f"Content-Range: bytes {start}-{stop - 1}/{len(body)}\r\n"
    return answer("206 Partial Content", memoryview(body)[start:stop], etag=number, more=where)


def listing(bucket: str, query: dict[str, list[str]]) -> list[bytes]:
    """List the keys of a bucket, version 2 of that request."""
    prefix = query.get("prefix", [""])[0]
    with LOCK:
        keys = sorted(k.removeprefix(bucket) for k in OBJECTS if k.startswith(bucket + prefix))
    after = query.get("continuation-token", query.get("start-after", [""]))[0]
    start = bisect_right(keys, after) if after else bisect_left(keys, prefix)
    page, more = keys[start : start + PAGE], len(keys) > start + PAGE
    parts = ["<?xml version='1.0'?><ListBucketResult>", f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
    for key in page:
        size = len(OBJECTS[bucket + key][0])
        parts.append(f"<Contents><Key>{quote(key)}</Key><Size>{size}</Size><ETag>&quot;0&quot;</ETag>")
        parts.append("<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>")
    if more:
        parts.append(f"<NextContinuationToken>{page[-1]}</NextContinuationToken>")
    return answer("200 OK", "".join([*parts, "</ListBucketResult>"]).encode())


def upload(method: str, path: str, query: dict[str, list[str]], body: bytearray) -> list[bytes]:
    """Begin an upload in parts, keep a part, or make one object of them."""
    if method == "POST" and "uploads" in query:
        number = next(WRITES)
        PARTS[str(number)] = {}
        return answer("200 OK", f"<Result><UploadId>{number}</UploadId></Result>".encode())
    upload_id = query["uploadId"][0]
    if method == "PUT":
        PARTS[upload_id][int(query["partNumber"][0])] = body
        return answer("200 OK", etag=next(WRITES))
    parts = PARTS.pop(upload_id)
    put(path, bytearray().join(parts[number] for number in sorted(parts)), only_new=False)
    return answer("200 OK", b'<Result><ETag>"0"</ETag></Result>')


def reply(method: str, target: str, headers: dict[str, str], body: bytearray) -> list[bytes]:
    """Carry one request out."""
    url = urlsplit(target)
    path = unquote(url.path)
    bucket = "/" + path.split("/")[1] + "/"
    query = parse_qs(url.query, keep_blank_values=True)
    if query.keys() & {"uploads", "uploadId"}:
        return upload(method, path, query, body)
    if method == "PUT":
        return put(path, body, only_new=headers.get("if-none-match") == "*")
    if method == "DELETE":
        OBJECTS.pop(path, None)
        return answer("204 No Content")
    if method == "POST" and "delete" in query:
        keys = [part.partition("</Key>")[0] for part in body.decode().split("<Key>")[1:]]
        for key in keys:
            OBJECTS.pop(bucket + key, None)
        gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return answer("200 OK", f"<DeleteResult>{gone}</DeleteResult>".encode())
    if path.rstrip("/") + "/" == bucket and method == "GET":
        return listing(bucket, query)
    return get(path, headers.get("range", ""), only_head=method == "HEAD")


def read_request(
    connection: socket.socket, stream: BufferedReader
) -> tuple[str, str, dict[str, str], bytearray] | None:
    """Read one request; nothing where the client has hung up."""
    method, _, rest = stream.readline().decode().partition(" ")
    if not method:
        return None
    headers = {}
    while (line := stream.readline()) != LINE:
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("expect") == "100-continue":  # curl waits a second for this before a large body
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray(int(headers.get("content-length", "0")))
    view = memoryview(body)
    while len(view):
        view = view[stream.readinto(view) or len(view) :]
    return method, rest.split(" ")[0], headers, body


def serve(connection: socket.socket) -> None:
    """Answer one client until it hangs up."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as stream:
        while request := read_request(connection, stream):
            connection.sendmsg([part for part in reply(*request) if part])


def main() -> None:
    """Serve until standard input ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
