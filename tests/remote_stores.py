"""Stores in the bucket of a server on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorstore as ts

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server


def bucket(server: S3Server) -> Any:
    """Return the bucket, for reading and writing as a mapping."""
    spec = {
        "driver": "s3",
        "bucket": server.bucket,
        "endpoint": server.endpoint,
        "aws_region": "us-east-1",
        "aws_credentials": {"type": "environment"},
    }
    return ts.KvStore.open(spec).result()


def put(server: S3Server, key: str, content: bytes | None) -> None:
    """Write an object, or remove it."""
    bucket(server).write(key, content).result()


def upload(server: S3Server, folder: Path, prefix: str) -> None:
    """Copy every file of a folder into the bucket."""
    kvstore = bucket(server)
    files = [path for path in folder.rglob("*") if path.is_file()]
    written = [kvstore.write(f"{prefix}/{p.relative_to(folder)}", p.read_bytes()) for p in files]
    for future in written:
        future.result()
