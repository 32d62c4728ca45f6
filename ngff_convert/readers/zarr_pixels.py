"""Arrays of Zarr v2 and v3 as pixels t, c, z, y, x: read by tensorstore, box by box.

Boxes are read through the grid of chunks that are compressed: of a shard, only the chunks that a box touches
are fetched. No cache is kept. Chunks that are not stored are the fill value, as the format has it.
"""

from __future__ import annotations

import os
from functools import cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput, first_line
from ngff_convert.model import AXES, Box
from ngff_convert.readers import zarr_chunks
from ngff_convert.readers.contract import LazyPixels
from ngff_convert.readers.zarr_nodes import list_of, object_of, shown
from ngff_convert.shuffled import Shuffled, as_bytes, is_shuffled
from ngff_convert.storage import at, check_reached

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Shape, StoredChunks
    from ngff_convert.readers.zarr_nodes import Json
    from ngff_convert.storage import Storage

_V2_KEYS = {
    *("zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"),
    "dimension_separator",
}
"""All that tensorstore takes; what else is in a ``.zarray`` has no meaning there."""

_V2_SETTINGS: dict[str, dict[str, Any]] = {
    "blosc": {"cname": "lz4", "clevel": 5, "shuffle": 0, "blocksize": 0},
    **{name: {"level": 1} for name in ("zlib", "gzip", "bz2", "zstd")},
}

_SHARDING = "sharding_indexed"

INDEX_ENTRY_BYTES = 64
"""What a chunk takes in the index of its shard, as it is read and while it is used."""


_SHARED = "chunks are fetched from the server by tensorstore both times"


class Life:
    """Whether a source is still open; all of its pixels share it."""

    closed = False


class ZarrPixels(LazyPixels):
    """One array.

    Parameters
    ----------
    storage, path
        The store, and where the array is in it.
    document
        The array's metadata.
    axes
        What its dimensions are, in their order: a permutation of a part of ``tczyx``.
    life
        Of the source.

    Raises
    ------
    ReadError
        The metadata are damaged, or have another number of dimensions than there are axes.
    UnsupportedInput
        Type or codec are not handled.
    """

    def __init__(self, storage: Storage, path: str, document: Json, axes: str, life: Life) -> None:
        self.storage, self.path, self.document, self.axes = storage, path, document, axes
        self._life = life
        self.where = at(storage, path)
        self._array = _opened(self)
        if self._array.rank != len(axes):
            raise ReadError(f"{self.where}: has {self._array.rank} dimensions, but {len(axes)} axes ({axes})")
        self.shape = self.five(self._array.shape)
        if min(self.shape) < 1:
            raise ReadError(f"{self.where}: has no voxels: its shape is {shown(list(self._array.shape))}")
        self.dtype = _dtype(self._array, self.where)
        layout = self._array.chunk_layout
        self.chunks = tuple(map(min, self.five(layout.read_chunk.shape), self.shape))
        self.grid = self.five(layout.read_chunk.shape)
        self.objects = self.five(layout.write_chunk.shape)
        self.compression = compression(document)
        per_object = prod(o // c for o, c in zip(self.objects, self.grid, strict=True))
        self._stored = zarr_chunks.encoding(document, self.dtype)
        if self._stored is not None and (per_object == 1 or zarr_chunks.has_pieces(storage)):
            self.library = "imagecodecs"
            self.shared = "" if storage.is_local else _SHARED
        self.index_bytes = INDEX_ENTRY_BYTES * per_object if per_object > 1 else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None, "_life": Life()}

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box.

        Raises
        ------
        ReadError
            A chunk is damaged, or no file within the store.
        Unreachable
            The server does not answer any more.
        """
        if self._life.closed:
            raise ValueError(f"{self.where}: the source was closed")
        self.check_files(box)
        if self._array is None:  # another process: any of its threads may do it
            self._array = _opened(self)
        try:
            found = self._read(box)
        except (ValueError, OSError) as error:
            raise self._named(box, error) from error
        pixels: NDArray[Any] = np.ascontiguousarray(found).reshape(box.shape)
        return pixels.view(np.uint8) if pixels.dtype.kind == "b" else pixels

    def _read(self, box: Box) -> Any:  # noqa: ANN401 - tensorstore has no types
        by_axis = dict(zip(AXES, box.slices, strict=True))
        part = self._array[tuple(by_axis[axis] for axis in self.axes)]
        order = [self.axes.index(axis) for axis in AXES if axis in self.axes]
        return part.transpose(order).read(order="C").result()

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read a box chunk by chunk, without tensorstore; raises what `read` does."""
        if not self.library or self._stored is None:
            return self.read(box)
        self.check_files(box)
        return zarr_chunks.read(self, self._stored, box)

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Refuse, and say what does instead."""
        raise UnsupportedInput(
            f"{self.where}: is in an OME-Zarr, of which no chunk is copied or referred to: readers open the "
            "store as it is, and `ngff-convert upgrade` makes it, or a copy of it, one of a later version, "
            "chunks as they are: convert it instead"
        )

    def five(self, sizes: Sequence[int]) -> Shape:
        """Return sizes along the stored axes as (t, c, z, y, x); others have 1."""
        stored = dict(zip(self.axes, map(int, sizes), strict=True))
        return tuple(stored.get(axis, 1) for axis in AXES)

    def cells(self, box: Box, sizes: Shape) -> Iterator[Shape]:
        """Yield the places of the chunks, or files, of some size that a box touches."""
        spans = zip(box.start, box.stop, sizes, strict=True)
        return product(*(range(a // size, -(-b // size)) for a, b, size in spans))

    def key(self, place: Shape) -> str:
        """Return the file that holds a write object, from the store's root."""
        by_axis = dict(zip(AXES, place, strict=True))
        numbers = [str(by_axis[axis]) for axis in self.axes]
        separator, prefix = keys(self.document)
        return f"{self.path}/{separator.join([*prefix, *numbers])}".lstrip("/")

    def check_files(self, box: Box) -> None:
        """Refuse what is no file in place of a chunk's, such as a pipe, or leads out of the store."""
        root = getattr(self.storage, "root", None)
        if root is None:  # there are only files in archives and buckets
            return
        folders: set[str] = set()
        for place in self.cells(box, self.objects):
            key = self.key(place)
            folder = key.rpartition("/")[0]
            if folder not in folders:
                folders.add(folder)
                if self.storage.leads_out(folder):
                    raise ReadError(
                        f"{at(self.storage, folder)}: leads out of the store; nothing there is read"
                    )
            is_link = os.path.islink(os.path.join(root, key))  # noqa: PTH114, PTH118 - may be many
            if is_link and self.storage.leads_out(key):
                raise ReadError(
                    f"{at(self.storage, key)}: leads out of the store, or nowhere; it is not read"
                )
            if self.storage.blocks(key):
                raise ReadError(f"{at(self.storage, key)}: is no regular file; copy the store again")

    def _named(self, box: Box, error: Exception) -> ReadError:
        """Return the error of the first chunk that cannot be read."""
        check_reached(self.storage, self.path, error)
        for cell in self.cells(box, self.grid):
            start = tuple(n * c for n, c in zip(cell, self.grid, strict=True))
            ends = zip(start, self.grid, self.shape, strict=True)
            own = Box(start, tuple(min(a + c, n) for a, c, n in ends))
            try:
                self._read(own)
            except (ValueError, OSError) as again:
                check_reached(self.storage, self.path, again)
                place = tuple(a // size for a, size in zip(start, self.objects, strict=True))
                return ReadError(
                    f"{at(self.storage, self.key(place))}: the chunk at {own} cannot be read: "
                    f"{_reason(again)}; copy it again"
                )
        return ReadError(f"{self.where}: {box} cannot be read: {_reason(error)}; copy it again")


def _reason(error: Exception) -> str:
    code, _, rest = first_line(error).partition(": ")
    return rest if rest and code.isupper() else first_line(error)


def _opened(pixels: ZarrPixels) -> Any:  # noqa: ANN401 - tensorstore has no types
    """Open the array by the metadata that are known; nothing is read."""
    import tensorstore as ts

    document = pixels.document
    shuffled = is_shuffled(document)
    if document.get("zarr_format") == 2:
        if shuffled:
            document = as_bytes(document)
        _check_filters(document, pixels.where)
        document = {key: value for key, value in document.items() if key in _V2_KEYS}
        document["compressor"] = _for_reading(document.get("compressor"))
    spec = {
        "driver": "zarr" if document.get("zarr_format") == 2 else "zarr3",
        "kvstore": pixels.storage.kvstore(pixels.path),
        "metadata": document,
    }
    try:
        array = ts.open(spec, open=True, assume_metadata=True, read=True, context=_context()).result()
    except (ValueError, OSError, NotImplementedError) as error:
        said = first_line(error).rpartition('"metadata": ')[2]
        if any(words in said for words in ("not registered", "not supported", "nsupported", "field")):
            raise UnsupportedInput(
                f"{pixels.where}: is stored in a way that is not handled: {said}"
            ) from error
        raise ReadError(f"{pixels.where}: its metadata are damaged: {said}; copy it again") from error
    return Shuffled(array, pixels.document) if shuffled else array


def _for_reading(compressor: Any) -> Any:  # noqa: ANN401 - from foreign metadata
    """Return a compressor without how it was set: tensorstore refuses some of it, and decoding needs none."""
    settings = _V2_SETTINGS.get(str(object_of(compressor).get("id")))
    return compressor if settings is None else {"id": compressor["id"], **settings}


def _check_filters(document: Json, where: str) -> None:
    if filters := list_of(document.get("filters")):
        names = ", ".join(shown(object_of(one).get("id")) for one in filters)
        raise UnsupportedInput(f"{where}: is stored with the filter {names}, which is not handled")


@cache
def _context() -> Any:  # noqa: ANN401 - tensorstore has no types
    import tensorstore as ts

    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": workers},
            "file_io_concurrency": {"limit": 2 * workers},
        }
    )


def _dtype(array: Any, where: str) -> np.dtype[Any]:  # noqa: ANN401 - tensorstore has no types
    """Return the type of the voxels in native byte order; truth values are read as 0 and 1."""
    name = str(array.dtype.name)
    if name == "bool":
        return np.dtype(np.uint8)
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise UnsupportedInput(
            f"{where}: its voxels are of type {name}; only whole numbers and floats are read"
        )
    return dtype


def keys(document: Json) -> tuple[str, list[str]]:
    """Return what stands between the numbers of a chunk in its key, and what comes before them."""
    if document.get("zarr_format") == 2:
        return str(document.get("dimension_separator") or "."), []
    encoding = document.get("chunk_key_encoding")
    if isinstance(encoding, str):  # Zarr v3 allows it where nothing is to be configured
        encoding = {"name": encoding}
    is_default = object_of(encoding).get("name") == "default"
    configuration = object_of(object_of(encoding).get("configuration"))
    return str(configuration.get("separator", "/" if is_default else ".")), ["c"] if is_default else []


def compression(document: Json) -> str:
    """Say in words how chunks are compressed.

    Examples
    --------
    >>> compression({"zarr_format": 2, "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5}})
    'blosc lz4 5'
    >>> compression({"zarr_format": 3, "codecs": [{"name": "bytes"}]})
    'none'
    """
    if document.get("zarr_format") == 2:
        codec = object_of(document.get("compressor"))
        return _in_words(codec.get("id"), codec)
    codecs = [object_of(codec) for codec in list_of(document.get("codecs"))]
    inner = next((object_of(c.get("configuration")) for c in codecs if c.get("name") == _SHARDING), None)
    if inner is not None:
        return f"{compression({**document, 'codecs': inner.get('codecs')})}, in shards"
    words = [
        _in_words(codec.get("name"), object_of(codec.get("configuration")))
        for codec in codecs
        if codec.get("name") not in ("bytes", "transpose", "endian", "crc32c")
    ]
    return " + ".join(words) or "none"


def _in_words(name: Any, settings: Json) -> str:  # noqa: ANN401 - from foreign metadata
    level = settings.get("clevel", settings.get("level"))
    words = (name, settings.get("cname"), level)
    return " ".join(str(word) for word in words if isinstance(word, str | int)) or "none"
