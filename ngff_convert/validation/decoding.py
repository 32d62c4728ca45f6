"""Decoding of every stored chunk, by tensorstore, a few at a time."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import tensorstore as ts

from ngff_convert.errors import first_line
from ngff_convert.shuffled import Shuffled, as_bytes
from ngff_convert.storage_contract import Unreachable, check_reached
from ngff_convert.validation.arrays import LARGEST_CHUNK_BYTES
from ngff_convert.validation.chunk_files import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.arrays import ArrayInfo, Sizes
    from ngff_convert.validation.chunk_files import ChunkFile
    from ngff_convert.validation.findings import Findings

PIECE_BYTES = 32 * 2**20
"""Pixels of a shard that are decoded at once, unless one chunk is more."""

IN_FLIGHT_BYTES = 2**30
"""Pixels that are decoded at the same time by all threads, unless one chunk is more."""

MAX_SHARD_CHUNKS = 2**22
"""Chunks of a shard; each takes 16 bytes of an index that is read whole."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Decoder:
    """An open array.

    Attributes
    ----------
    store
        Where it is.
    array
        What it says of itself.
    handle
        As tensorstore has it.
    """

    store: Storage
    array: ArrayInfo
    handle: Any


def open_array(store: Storage, array: ArrayInfo, workers: int, findings: Findings) -> Decoder | None:
    """Open an array; None if its chunks cannot be decoded, with a finding that says so."""
    if array.unknown or (array.path and store.leads_out(array.path)):
        return None
    spec = {
        "driver": "zarr" if array.zarr_format == 2 else "zarr3",
        "kvstore": store.kvstore(array.path),
    }
    context = {
        "cache_pool": {"total_bytes_limit": 0},
        "data_copy_concurrency": {"limit": workers},
        "file_io_concurrency": {"limit": workers},
    }
    if array.shuffled:
        spec["metadata"] = as_bytes(array.shuffled)
    known = bool(array.shuffled)
    try:
        handle: Any = ts.open(
            spec, open=True, read=True, assume_metadata=known, context=ts.Context(context)
        ).result()
    except (ValueError, OSError) as error:
        check_reached(store, array.path, error)
        findings.error(array.path, "array-metadata", f"cannot be opened: {first_line(error)}")
        return None
    if array.shuffled:
        handle = Shuffled(handle, array.shuffled)
    return Decoder(store, array, handle) if array.decodable else None


def decode_all(decoder: Decoder, files: Iterable[ChunkFile], workers: int, findings: Findings) -> int:
    """Decode every file; one that cannot be becomes a finding.

    Parameters
    ----------
    decoder
        The array.
    files
        Its chunks, taken as they are needed.
    workers
        Threads.
    findings
        Where findings go.

    Returns
    -------
    int
        How many were decoded without fault.
    """
    array = decoder.array
    at_once = max(
        prod(array.inner) * array.itemsize, min(PIECE_BYTES, prod(array.chunks) * array.itemsize), 1
    )
    workers = max(1, min(workers, IN_FLIGHT_BYTES // at_once))
    n_good = 0
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Any] = deque()

        def finish() -> int:
            file, future = pending.popleft()
            fault, is_empty = future.result()
            if is_empty:
                findings.error(file.path, "empty-chunk", EMPTY)
            if fault:
                findings.error(file.path, "chunk-decode", f"chunk {list(file.cell)} of {array.path}: {fault}")
            return not fault

        try:
            for file in files:
                if len(pending) > 2 * workers:
                    n_good += finish()
                pending.append((file, pool.submit(_judged, decoder, file)))
            while pending:
                n_good += finish()
        except Unreachable:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return n_good


def _judged(decoder: Decoder, file: ChunkFile) -> tuple[str, bool]:
    """Decode a file; return why that failed, if it did, and whether it proved to be empty."""
    fault = _fault(decoder, file)
    return fault, bool(fault) and file.n_bytes is None and _is_empty(decoder.store, file.path)


def _is_empty(store: Storage, path: str) -> bool:
    try:
        return store.read(path, 0) == b""
    except OSError:  # larger than 0
        return False


def _fault(decoder: Decoder, file: ChunkFile) -> str:
    """Decode a file, and return why that failed; empty if it did not."""
    array = decoder.array
    n_bytes = file.n_bytes  # where that is not known, what cannot be right is found when it is decoded
    if array.inner != array.chunks:
        n_chunks = prod(array.chunks) // prod(array.inner)
        if n_chunks > MAX_SHARD_CHUNKS or (n_bytes is not None and n_chunks * 16 > n_bytes):
            return f"{n_bytes} bytes cannot hold the index of its {n_chunks} chunks"
    elif n_bytes is not None and n_bytes > 2 * prod(array.chunks) * array.itemsize + 2**20:
        return f"{n_bytes} bytes are far more than its pixels take"
    try:
        for box in pieces(array, file.cell):
            decoder.handle[tuple(slice(a, b) for a, b in box)].read().result()
    except (ValueError, OSError) as error:
        check_reached(decoder.store, file.path, error)
        return first_line(error)
    return ""


def pieces(array: ArrayInfo, cell: Sizes) -> Iterator[tuple[Span, ...]]:
    """Yield boxes that cover a file's part of the array, each of whole chunks and few enough bytes."""
    box = tuple(
        (index * chunk, min((index + 1) * chunk, n))
        for index, chunk, n in zip(cell, array.chunks, array.shape, strict=True)
    )
    yield from _split(box, array)


def _split(box: tuple[Span, ...], array: ArrayInfo) -> Iterator[tuple[Span, ...]]:
    counts = [-(-(b - a) // chunk) for (a, b), chunk in zip(box, array.inner, strict=True)]
    n_bytes = prod(b - a for a, b in box) * array.itemsize
    if n_bytes <= PIECE_BYTES or max(counts, default=1) == 1:
        yield box
        return
    axis = counts.index(max(counts))
    a, b = box[axis]
    middle = a + counts[axis] // 2 * array.inner[axis]
    for half in ((a, middle), (middle, b)):
        yield from _split((*box[:axis], half, *box[axis + 1 :]), array)


def read_box(decoder: Decoder, box: tuple[Span, ...]) -> Any:  # noqa: ANN401 - an array of any type
    """Read a box of voxels; None if it is empty, or too large, or not decodable, as `decode_all` says."""
    if not 0 < prod(b - a for a, b in box) * decoder.array.itemsize <= LARGEST_CHUNK_BYTES // 8:
        return None
    try:
        return decoder.handle[tuple(slice(a, b) for a, b in box)].read().result()
    except (ValueError, OSError) as error:
        check_reached(decoder.store, decoder.array.path, error)
        return None
