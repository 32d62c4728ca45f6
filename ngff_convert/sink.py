"""Where level arrays are made and boxes of pixels are written: tensorstore on a folder or a bucket.

Chunk encoding, sharding, skipping of chunks that hold nothing but the fill value, and writing by rename are
tensorstore's. Regions own whole write objects (see `plan`), so nothing is ever read to be changed, and no
cache is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorstore as ts

from ngff_convert.errors import VerificationError, WriteError, first_line, reason
from ngff_convert.model import AXES
from ngff_convert.shuffled import Shuffled, as_bytes, is_shuffled
from ngff_convert.storage import at
from ngff_convert.write_plan import Codec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from ngff_convert.model import Box, Shape
    from ngff_convert.storage import Writable
    from ngff_convert.write_plan import Copied, Level, WritePlan

_BLOSC_SHUFFLE = {"none": (0, "noshuffle"), "byte": (1, "shuffle"), "bit": (2, "bitshuffle")}


SHARED_AXES = 3
"""Chunks of more axes are copied before they are encoded, see `_can_be_shared`."""

OPEN_ARRAYS = 256
"""So many arrays are kept open, of however many images: those that are written now, and some more."""

MAX_METADATA_BYTES = 2**20
"""Of an array's metadata file, which has a few hundred."""


class PendingWrite:
    """Pixels on their way; their memory must not be changed before `finish` returns."""

    def __init__(self, future: Any, where: str) -> None:  # noqa: ANN401 - tensorstore has no types
        self._future = future
        self._where = where

    def finish(self) -> None:
        """Wait until the pixels are stored.

        Raises
        ------
        WriteError
            They could not be.
        """
        try:
            self._future.result()
        except (ValueError, OSError) as error:
            raise _write_error(self._where, error) from error


@dataclass(frozen=True, slots=True)
class Sink:
    """The level arrays of one image; pickles as an address.

    Attributes
    ----------
    storage
        The store.
    folder
        The image's group in it: ``""`` is the root.
    ngff_version
        ``"0.4"`` (Zarr v2), or ``"0.5"`` or ``"0.6"`` (Zarr v3).
    axes
        The axes that are stored, a subset of ``tczyx``.
    workers
        Threads that encode, and twice as many that write.
    flush
        Whether a write is finished only when it is on the disk.
    mark
        Which beginning of the store it is: a process that stays, such as a worker of a cluster, does not take
        arrays that it has open for those of another store of that name.
    """

    storage: Writable
    folder: str
    ngff_version: str
    axes: str
    workers: int
    flush: bool = False
    mark: str = ""

    @property
    def driver(self) -> str:
        """What tensorstore calls the format."""
        return "zarr" if self.ngff_version == "0.4" else "zarr3"

    @property
    def file(self) -> str:
        """What the file is called that describes an array."""
        return ".zarray" if self.ngff_version == "0.4" else "zarr.json"

    def path(self, level: int) -> str:
        """Return where a level is in the store."""
        return f"{self.folder}/{level}" if self.folder else str(level)

    def name(self, level: int) -> str:
        """Return what a level is called in messages."""
        return at(self.storage, self.path(level))

    def create(self, plan: WritePlan) -> None:
        """Make an empty array for every level, or open those of an equal plan that are there already."""
        for number, level in enumerate(plan.levels):
            metadata = _zarr_metadata(level, plan)
            path = f"{self.path(number)}/{self.file}"
            try:
                if level.copied:  # tensorstore knows no filters
                    self.storage.write(path, json.dumps(metadata).encode())
                elif _is_described(self.storage, path):
                    _open(self, number, _context(self.workers, self.flush), metadata=metadata).result()
                else:
                    self.storage.write(path, _document(self.driver, self.file, json.dumps(metadata)))
            except (ValueError, OSError) as error:
                raise _write_error(self.name(number), error) from error

    def write(self, level: int, box: Box, block: NDArray[Any], *, afresh: bool = False) -> PendingWrite:
        """Start to write a block of pixels, (t, c, z, y, x), into a box of a level.

        Parameters
        ----------
        level
            Number of the level.
        box
            Consists of whole write objects, or ends at the level's edge.
        block
            The pixels.
        afresh
            Whether nothing is asked about what may be stored there already, whole or damaged. Otherwise an
            object at the level's edge is read before it is replaced, because the box ends there and the
            object does not; this costs a copy of the pixels at the edge instead.
        """
        # The axes that are left out have size 1.
        pixels = block.reshape([n for n, axis in zip(block.shape, AXES, strict=True) if axis in self.axes])
        where = f"{self.name(level)} at {box}"
        start = self._stored(box.start)
        try:
            array = _array(self, level)
            if afresh:
                array = _padded(self, level)
                sizes = array.chunk_layout.write_chunk.shape
                beyond = [-n % size for n, size in zip(pixels.shape, sizes, strict=True)]
                if any(beyond):
                    pixels = np.pad(pixels, [(0, more) for more in beyond])
            stored = tuple(slice(a, a + n) for a, n in zip(start, pixels.shape, strict=True))
            future = array[stored].write(
                pixels, can_reference_source_data_indefinitely=_can_be_shared(array.chunk_layout)
            )
        except (ValueError, OSError) as error:
            raise _write_error(where, error) from error
        return PendingWrite(future, where)

    def key(self, level: int, cell: Shape) -> str:
        """Return where a chunk is in the store, by its place in the grid (t, c, z, y, x)."""
        numbers = "/".join(map(str, self._stored(cell)))
        return f"{self.path(level)}/{'' if self.ngff_version == '0.4' else 'c/'}{numbers}"

    def put(self, level: int, cell: Shape, content: bytes) -> PendingWrite:
        """Start to write a chunk as it is to be stored."""
        key = self.key(level, cell)
        return PendingWrite(_keys(self).write(key, content), at(self.storage, key))

    def get(self, level: int, cell: Shape) -> bytes | None:
        """Return a chunk as it is stored; None if there is none."""
        key = self.key(level, cell)
        try:
            found = _keys(self).read(key).result()
        except (ValueError, OSError) as error:
            raise _write_error(f"{at(self.storage, key)} (reading back)", error) from error
        return bytes(found.value) if found.state == "value" else None

    def read(self, level: int, box: Box) -> NDArray[Any]:
        """Read a box of a level that was written before, as (t, c, z, y, x)."""
        try:
            pixels = _array(self, level)[self._stored(box.slices)].read(order="C").result()
        except (ValueError, OSError) as error:
            raise _write_error(f"{self.name(level)} at {box} (reading back)", error) from error
        return np.asarray(pixels).reshape(box.shape)

    def check(self, plan: WritePlan) -> None:
        """Open every level and hold it against the plan.

        Raises
        ------
        VerificationError
            A level is not there or is not what was decided.
        """
        for number, level in enumerate(plan.levels):
            where = self.name(number)
            try:
                array = _array(self, number)
            except (ValueError, OSError) as error:
                raise VerificationError(f"{where}: cannot be opened: {first_line(error)}") from error
            found = (tuple(array.shape), array.dtype.name, tuple(array.chunk_layout.read_chunk.shape))
            wanted = (self._stored(level.shape), plan.dtype, self._stored(level.chunks))
            if found != wanted:
                raise VerificationError(f"{where}: is {found} (shape, dtype, chunks), but should be {wanted}")

    def __enter__(self) -> Sink:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Forget every open array, of all sinks."""
        forget_arrays()

    def _stored(self, items: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(item for item, axis in zip(items, AXES, strict=True) if axis in self.axes)


def forget_arrays() -> None:
    """Forget every open array: a folder of the same name may hold other arrays next."""
    _array.cache_clear()
    _keys.cache_clear()
    _padded.cache_clear()


def _is_described(storage: Writable, path: str) -> bool:
    """Return whether the metadata of an array are there; a power cut may leave a part, or just the name."""
    if not storage.has(path):
        return False
    try:
        json.loads(storage.read(path, MAX_METADATA_BYTES))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=OPEN_ARRAYS)
def _document(driver: str, name: str, metadata: str) -> bytes:
    """Return the file that describes an array, as tensorstore writes it; many images have equal ones."""
    memory = {"driver": "memory"}
    context = ts.Context()
    ts.open(
        {"driver": driver, "kvstore": memory, "metadata": json.loads(metadata)}, create=True, context=context
    ).result()
    return bytes(ts.KvStore.open(memory, context=context).result().read(name).result().value)


def _can_be_shared(layout: Any) -> bool:  # noqa: ANN401 - tensorstore has no types
    """Return whether chunks may be encoded from the block itself, instead of from a copy of their own.

    tensorstore (0.1.86 at least) takes a chunk for one of nothing but zeros, and leaves it out, where it is a
    part of a block along more than three axes.
    """
    return sum(int(size) > 1 for size in layout.read_chunk.shape) <= SHARED_AXES


def _write_error(where: str, error: Exception) -> WriteError:
    return WriteError(f"{where}: cannot write: {reason(error)}; mend that and run the same command again")


def _open(sink: Sink, level: int, context: Any, **how: Any) -> Any:  # noqa: ANN401 - tensorstore has no types
    spec = {
        "driver": sink.driver,
        "kvstore": sink.storage.kvstore(sink.path(level)),
        "open": True,
        **how,
    }
    return ts.open(spec, context=context)


def _for_chunks(sink: Sink, level: int, metadata: Any) -> Any:  # noqa: ANN401 - tensorstore has no types
    context = _context(sink.workers, sink.flush)
    return _open(sink, level, context, metadata=metadata, assume_metadata=True).result()


@lru_cache(maxsize=OPEN_ARRAYS)
def _array(sink: Sink, level: int) -> Any:  # noqa: ANN401 - tensorstore has no types
    document = json.loads(sink.storage.read(f"{sink.path(level)}/{sink.file}", MAX_METADATA_BYTES))
    if is_shuffled(document):
        return Shuffled(_for_chunks(sink, level, as_bytes(document)), document)
    return _for_chunks(sink, level, document)


@lru_cache(maxsize=8)
def _keys(sink: Sink) -> Any:  # noqa: ANN401 - tensorstore has no types
    return ts.KvStore.open(sink.storage.kvstore(""), context=_context(sink.workers, sink.flush)).result()


@lru_cache(maxsize=OPEN_ARRAYS)
def _padded(sink: Sink, level: int) -> Any:  # noqa: ANN401 - tensorstore has no types
    """Return the same array, but as if its last write objects were not cut off at the edge."""
    metadata = _array(sink, level).spec().to_json()["metadata"]
    objects = _array(sink, level).chunk_layout.write_chunk.shape
    metadata["shape"] = [-(-n // size) * size for n, size in zip(metadata["shape"], objects, strict=True)]
    return _for_chunks(sink, level, metadata)


@lru_cache(maxsize=8)
def _context(workers: int, flush: bool) -> Any:  # noqa: ANN401 - tensorstore has no types
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": workers},
            "file_io_concurrency": {"limit": 2 * workers},
            "file_io_sync": flush,
            "file_io_locking": {"mode": "none"},  # regions own whole files
        }
    )


# -- array metadata ----------------------------------------------------------------------------------------


def _zarr_metadata(level: Level, plan: WritePlan) -> dict[str, Any]:
    """Return the array metadata of a level: ``.zarray`` of Zarr v2, ``zarr.json`` of Zarr v3."""

    def stored(sizes: Sequence[int]) -> list[int]:
        return [size for size, axis in zip(sizes, AXES, strict=True) if axis in plan.axes]

    copied = level.copied
    dtype = np.dtype(copied.dtype if copied else np.dtype(plan.dtype).newbyteorder("<"))
    fill = copied.fill if copied else _fill_value(dtype)
    if plan.ngff_version == "0.4":
        shuffle = {"id": "shuffle", "elementsize": dtype.itemsize}
        return {
            "zarr_format": 2,
            "shape": stored(level.shape),
            "chunks": stored(level.chunks),
            "dtype": dtype.str,
            "compressor": _v2_compressor(_source_codec(copied, "zlib") if copied else plan.codec),
            "fill_value": fill,
            "filters": [shuffle] if copied and "shuffle" in copied.codecs else None,
            "order": "C",
            "dimension_separator": "/",
        }
    codecs = _v3_codecs(_source_codec(copied, "gzip") if copied else plan.codec, dtype)
    if level.shards:
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        inner = {"chunk_shape": stored(level.chunks), "codecs": codecs, "index_codecs": index}
        codecs = [{"name": "sharding_indexed", "configuration": {**inner, "index_location": "end"}}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": stored(level.shape),
        "data_type": plan.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": stored(level.write_object)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "dimension_names": list(plan.axes),
    }


def _fill_value(dtype: np.dtype[Any]) -> bool | float:
    return {"b": False, "f": 0.0}.get(dtype.kind, 0)


def _v2_compressor(codec: Codec) -> dict[str, Any] | None:
    if codec.name == "none":
        return None
    kind, _, inner = codec.name.partition("-")
    if kind == "blosc":
        shuffle, _name = _BLOSC_SHUFFLE[codec.shuffle or "none"]
        return {"id": kind, "cname": inner, "clevel": codec.level, "shuffle": shuffle, "blocksize": 0}
    return {"id": kind, "level": codec.level}


def _source_codec(copied: Copied, deflate: str) -> Codec:
    """Return the codec of chunks that are copied; its level is not told, and who reads them needs none."""
    return Codec(deflate, 1) if "zlib" in copied.codecs else Codec("none")


def _v3_codecs(codec: Codec, dtype: np.dtype[Any]) -> list[dict[str, Any]]:
    bytes_codec: dict[str, Any] = {"name": "bytes"}
    if dtype.itemsize > 1:
        bytes_codec["configuration"] = {"endian": "big" if dtype.str[0] == ">" else "little"}
    if codec.name == "none":
        return [bytes_codec]
    kind, _, inner = codec.name.partition("-")
    configuration: dict[str, Any] = {"level": codec.level}
    if kind == "blosc":
        _number, shuffle = _BLOSC_SHUFFLE[codec.shuffle or "none"]
        configuration = {"cname": inner, "clevel": codec.level, "shuffle": shuffle, "blocksize": 0}
        configuration["typesize"] = dtype.itemsize
    elif kind == "zstd":
        configuration["checksum"] = False
    return [bytes_codec, {"name": kind, "configuration": configuration}]
