"""What writing to a bucket costs a client, against writing the same pixels to a folder.

```
python benchmarks/bucket_writes.py                  # 512 MiB, three rounds, a bucket of tiny_s3.py
python benchmarks/bucket_writes.py --server moto    # a slower server, nearer to S3
```

Every way of writing is a process of its own, one after another, round after round. Wall and CPU time are
those of the client while it writes, the imports of its libraries included; the server's CPU is apart. The
pixels are those of the other benchmarks. Needs obstore, s3fs and, for moto, boto3.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pixels
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from obstore.store import S3Store
    from zarr.storage import FsspecStore, ObjectStore

Pixels = NDArray[np.uint16]
"""Axes z, y, x."""
Slices = tuple[slice, ...]

HERE = Path(__file__).parent
BUCKET = "images"
CHUNK = (32, 128, 128)
"""1 MiB of pixels."""
SHARD = (64, 512, 512)
"""32 MiB; also the box that one task writes where chunks are not in shards."""
PLANES = (1024, 1024)
IN_FLIGHT = 4
"""Boxes written at a time."""
KEYS = 10_000
CLAIMS = 200
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SERVERS = {"tiny": HERE / "tiny_s3.py", "moto": HERE.parent / "tests" / "servers.py"}
"""Programs that write their port and end with their standard input."""


def metadata(shape: tuple[int, ...], *, sharded: bool) -> dict[str, Any]:
    """Describe the array, Zarr 3."""
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2}
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "blosc", "configuration": blosc},
    ]
    if sharded:
        inner = {"chunk_shape": CHUNK, "codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    grid = {"name": "regular", "configuration": {"chunk_shape": SHARD if sharded else CHUNK}}
    return {"shape": shape, "data_type": "uint16", "chunk_grid": grid, "codecs": codecs}


def boxes(shape: tuple[int, ...]) -> list[Slices]:
    """Cut an array into boxes of the size of a shard."""
    starts = itertools.product(*(range(0, n, s) for n, s in zip(shape, SHARD, strict=True)))
    return [tuple(slice(a, a + s) for a, s in zip(start, SHARD, strict=True)) for start in starts]


def s3_spec(endpoint: str) -> dict[str, Any]:
    """Describe the bucket to tensorstore."""
    where = {"driver": "s3", "bucket": BUCKET, "endpoint": endpoint, "aws_region": "us-east-1"}
    return {**where, "aws_credentials": {"type": "environment"}}


def obstore_bucket(endpoint: str) -> S3Store:
    """Open the bucket with obstore."""
    from obstore.store import S3Store

    return S3Store(BUCKET, endpoint=endpoint, client_options={"allow_http": True})


def write_tensorstore(image: Pixels, kvstore: dict[str, Any], *, sharded: bool) -> None:
    """Let tensorstore encode and write, some boxes at a time."""
    import tensorstore as ts

    spec = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata(image.shape, sharded=sharded)}
    array = ts.open(spec, create=True).result()
    under_way: deque[Any] = deque()
    for box in boxes(image.shape):
        if len(under_way) == IN_FLIGHT:
            under_way.popleft().result()
        under_way.append(array[box].write(image[box]))
    for future in under_way:
        future.result()


def write_obstore(image: Pixels, endpoint: str, *, sharded: bool) -> None:
    """Let tensorstore encode box after box in memory, and obstore put what came of it."""
    import obstore
    import tensorstore as ts

    bucket = obstore_bucket(endpoint)

    def encode_and_put(box: Slices) -> None:
        context = ts.Context()
        memory = {"driver": "memory", "path": "a/"}
        spec = {"driver": "zarr3", "kvstore": memory, "metadata": metadata(image.shape, sharded=sharded)}
        ts.open(spec, create=True, context=context).result()[box].write(image[box]).result()
        encoded = ts.KvStore.open(memory, context=context).result()
        keys = [key for key in encoded.list().result() if key != b"zarr.json"]
        for key in keys:
            data = encoded.read(key).result().value
            obstore.put(bucket, f"image/{key.decode()}", data, use_multipart=False)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(encode_and_put, boxes(image.shape)))


def write_zarr(image: Pixels, store: FsspecStore | ObjectStore[S3Store], *, sharded: bool) -> None:
    """Let zarr-python encode and write, box after box; it runs the chunks of a box at once."""
    import zarr
    from zarr.codecs import BloscCodec

    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=2)
    array = zarr.create_array(
        store,
        shape=image.shape,
        dtype="uint16",
        chunks=CHUNK,
        shards=SHARD if sharded else None,
        compressors=[codec],
    )
    for box in boxes(image.shape):
        array[box] = image[box]


def write_s3fs(image: Pixels, endpoint: str, *, sharded: bool) -> None:
    """Let zarr-python write through s3fs."""
    from zarr.storage import FsspecStore

    options = {"endpoint_url": endpoint, "asynchronous": True}
    write_zarr(image, FsspecStore.from_url(f"s3://{BUCKET}/image", storage_options=options), sharded=sharded)


def write_zarr_obstore(image: Pixels, endpoint: str, *, sharded: bool) -> None:
    """Let zarr-python write through obstore."""
    from zarr.storage import ObjectStore

    write_zarr(image, ObjectStore(obstore_bucket(endpoint)), sharded=sharded)


def writers(endpoint: str, folder: str) -> dict[str, Callable[..., None]]:
    """All ways of writing, by the title of their row."""
    to_file = {"driver": "file", "path": f"{folder}/image/"}
    return {
        "tensorstore, folder": lambda image, **how: write_tensorstore(image, to_file, **how),
        "tensorstore, s3": lambda image, **how: write_tensorstore(
            image, {**s3_spec(endpoint), "path": "image/"}, **how
        ),
        "tensorstore in memory, obstore": lambda image, **how: write_obstore(image, endpoint, **how),
        "zarr, obstore": lambda image, **how: write_zarr_obstore(image, endpoint, **how),
        "zarr, s3fs": lambda image, **how: write_s3fs(image, endpoint, **how),
    }


def small_tensorstore(endpoint: str) -> dict[str, float]:
    """Time what a journal needs, in seconds, with tensorstore."""
    import tensorstore as ts

    store = ts.KvStore.open(s3_spec(endpoint)).result()
    seconds: dict[str, float] = {}
    absent = store.read("absent").result().stamp.generation
    with timed(seconds, "claim"):
        for i in range(CLAIMS):
            store.write(f"claim/{i}", b"mine", if_equal=absent).result()
    with timed(seconds, "put"):
        for future in [store.write(f"many/{i:05d}", b"done") for i in range(KEYS)]:
            future.result()
    with timed(seconds, "list"):
        assert len(store.list(ts.KvStore.KeyRange("many/", "many0")).result()) == KEYS
    with timed(seconds, "delete"):
        store.delete_range(ts.KvStore.KeyRange("many/", "many0")).result()
    return seconds


def small_obstore(endpoint: str) -> dict[str, float]:
    """Time what a journal needs, in seconds, with obstore."""
    import obstore

    store = obstore_bucket(endpoint)
    seconds: dict[str, float] = {}
    with timed(seconds, "claim"):
        for i in range(CLAIMS):
            obstore.put(store, f"claim/{i}", b"mine", mode="create")
    with ThreadPoolExecutor(16) as pool, timed(seconds, "put"):
        list(pool.map(lambda i: obstore.put(store, f"many/{i:05d}", b"done"), range(KEYS)))
    with timed(seconds, "list"):
        keys = [found["path"] for found in obstore.list(store, "many").collect()]
        assert len(keys) == KEYS
    with timed(seconds, "delete"):
        obstore.delete(store, keys)
    return seconds


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long the block takes."""
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started


@contextmanager
def server(kind: str) -> Iterator[tuple[str, int]]:
    """Run a server with the bucket in it; yields its URL and process."""
    command = [sys.executable, str(SERVERS[kind])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        if kind == "moto":
            import boto3

            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
        try:
            yield endpoint, process.pid
        finally:
            process.kill()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, seconds."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(kind: str, *arguments: str) -> dict[str, float]:
    """Run one way of writing as a process of its own, with a server of its own."""
    with server(kind) as (endpoint, pid), tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        before = cpu_s(pid)
        command = [sys.executable, __file__, "--endpoint", endpoint, "--folder", folder, *arguments]
        ended = subprocess.run(command, capture_output=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{arguments} failed:\n{ended.stderr.decode()[-2000:]}")
        found: dict[str, float] = json.loads(ended.stdout)
        return {**found, "server_s": cpu_s(pid) - before}


def one_write(title: str, sharded: bool, image: Path, endpoint: str, folder: str) -> None:
    """Write once, and print the figures."""
    data = np.load(image)
    started, cpu = time.perf_counter(), time.process_time()
    writers(endpoint, folder)[title](data, sharded=sharded)
    print(json.dumps({"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}))


def make_image(path: Path, mebibytes: int) -> None:
    """Save the pixels."""
    size = (SHARD[0], *PLANES)
    photons = pixels.Blobs.scattered(size, [1]).photons((0, 0, 0), size)
    slab = pixels.expose(photons, np.dtype(np.uint16), [2])
    np.save(path, np.concatenate([slab] * (mebibytes * 2**20 // slab.nbytes)))


def write_table(runs: dict[tuple[str, bool], list[dict[str, float]]], mebibytes: int) -> Table:
    """Medians of all rounds, and their ratios to the folder's."""
    table = Table(title=f"{mebibytes} MiB of pixels, medians")
    for heading in ("", "written as", "MB/s", "wall, s", "client CPU, s", "server CPU, s", "wall", "CPU"):
        table.add_column(heading, justify="left" if heading in {"", "written as"} else "right")
    for (title, sharded), found in runs.items():
        base = runs["tensorstore, folder", sharded]
        wall, cpu, serving = (
            statistics.median(r[name] for r in found) for name in ("wall_s", "cpu_s", "server_s")
        )
        ratios = [
            statistics.median(a[name] / b[name] for a, b in zip(found, base, strict=True))
            for name in ("wall_s", "cpu_s")
        ]
        speed = f"{mebibytes * 2**20 / 1e6 / wall:,.0f}"
        figures = (f"{wall:.2f}", f"{cpu:.2f}", f"{serving:.2f}", *(f"{ratio:.2f} x" for ratio in ratios))
        table.add_row(title, "shards" if sharded else "chunks", speed, *figures)
    return table


def small_table(runs: dict[str, list[dict[str, float]]]) -> Table:
    """Rates of small operations."""
    table = Table(
        title=f"Small objects, a second: {CLAIMS} claims one by one, {KEYS} keys put, listed, deleted"
    )
    for heading in ("", "claim", "put", "list", "delete"):
        table.add_column(heading, justify="right" if heading else "left")
    for title, found in runs.items():
        rates = [
            (CLAIMS if step == "claim" else KEYS) / statistics.median(run[step] for run in found)
            for step in ("claim", "put", "list", "delete")
        ]
        table.add_row(title, *(f"{rate:,.0f}" for rate in rates))
    return table


SMALL = {"tensorstore, s3": small_tensorstore, "obstore": small_obstore}


def all_rounds(kind: str, rounds: int, mebibytes: int) -> None:
    """Measure everything, and print the tables."""
    writes: dict[tuple[str, bool], list[dict[str, float]]] = {}
    small: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        image = Path(folder) / "image.npy"
        make_image(image, mebibytes)
        for _ in range(rounds):
            for sharded, title in itertools.product((False, True), writers("", "")):
                arguments = ["--image", str(image), "--title", title, *(["--sharded"] if sharded else [])]
                writes.setdefault((title, sharded), []).append(measure(kind, *arguments))
            for title in SMALL:
                small.setdefault(title, []).append(measure(kind, "--small", title))
    Console(width=130).print(write_table(writes, mebibytes), small_table(small))


def main() -> None:
    """Measure all, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", choices=tuple(SERVERS), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mebibytes", type=int, default=512, help="a multiple of 128; default 512")
    for internal in ("--endpoint", "--folder", "--image", "--title", "--small"):
        parser.add_argument(internal, default="", help=argparse.SUPPRESS)
    parser.add_argument("--sharded", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    if options.small:
        print(json.dumps(SMALL[options.small](options.endpoint)))
    elif options.title:
        one_write(options.title, options.sharded, Path(options.image), options.endpoint, options.folder)
    else:
        all_rounds(options.server, options.rounds, options.mebibytes)


if __name__ == "__main__":
    main()
