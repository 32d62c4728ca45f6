"""Arrays of Zarr v2 whose bytes were shuffled, read by tensorstore, which knows no filters.

A shuffled chunk has the first byte of each voxel, then the second of each, and so on. Where the first axis of
a chunk has size 1, that is a chunk of single bytes, with the bytes of a voxel along the first axis. So
tensorstore reads an array of bytes with a longer first axis, of the same files, and these are put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def is_shuffled(document: dict[str, Any]) -> bool:
    """Return whether an array is of the kind that this module reads.

    Examples
    --------
    >>> shuffle = {"id": "shuffle", "elementsize": 2}
    >>> is_shuffled({"zarr_format": 2, "dtype": "<u2", "chunks": [1, 8, 64], "filters": [shuffle]})
    True
    """
    filters = document.get("filters")
    if document.get("zarr_format") != 2 or not isinstance(filters, list) or len(filters) != 1:
        return False
    try:
        dtype = np.dtype(document["dtype"])
        fill = np.array(document.get("fill_value") or 0, dtype)
        return (
            filters[0]["id"] == "shuffle"
            and filters[0].get("elementsize", 4) == dtype.itemsize
            and document.get("order", "C") == "C"
            and document["chunks"][0] == 1
            and len(set(fill.tobytes())) == 1
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return False


def as_bytes(document: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of the array of bytes that takes the place of a shuffled one."""
    dtype = np.dtype(document["dtype"])
    fill = np.array(document.get("fill_value") or 0, dtype).tobytes()[0]
    first, *others = document["shape"]
    return {
        **document,
        "shape": [first * dtype.itemsize, *others],
        "chunks": [dtype.itemsize, *document["chunks"][1:]],
        "dtype": "|u1",
        "fill_value": fill,
        "filters": None,
    }


class Shuffled:
    """A shuffled array, with as much of tensorstore's interface as readers need.

    Parameters
    ----------
    handle
        The array of bytes, open.
    document
        The metadata of the shuffled one.
    """

    def __init__(self, handle: Any, document: dict[str, Any]) -> None:  # noqa: ANN401 - tensorstore has no types
        self._handle = handle
        self._stored = np.dtype(document["dtype"])
        self.shape = tuple(document["shape"])
        self.rank = len(self.shape)
        self.fill_value = np.array(document.get("fill_value") or 0, self._stored)
        native = self._stored.newbyteorder("=")
        self.dtype = SimpleNamespace(name=native.name, numpy_dtype=native)
        sizes = SimpleNamespace(shape=tuple(document["chunks"]))
        self.chunk_layout = SimpleNamespace(read_chunk=sizes, write_chunk=sizes)

    def __getitem__(self, index: tuple[slice, ...]) -> _Part:
        """Return a box, by slices with both ends."""
        first, *others = index
        width = self._stored.itemsize
        part = self._handle[(slice(first.start * width, first.stop * width), *others)]
        return _Part(part, self._stored)


@dataclass(frozen=True, slots=True)
class _Part:
    part: Any
    stored: np.dtype[Any]
    order: tuple[int, ...] = ()

    def transpose(self, order: Sequence[int]) -> _Part:
        """Return the box with its axes in another order."""
        return _Part(self.part, self.stored, tuple(order))

    def read(self, order: str = "C") -> _Part:
        """Return itself: it is read by `result`."""
        del order
        return self

    def result(self) -> NDArray[Any]:
        """Read the box."""
        data = np.asarray(self.part.read(order="C").result())
        width = self.stored.itemsize
        n, shape = len(data) // width, data.shape[1:]
        whole = np.empty((n, prod(shape), width), np.uint8)
        planes = data.reshape(n, width, -1)
        for byte in range(width):  # by columns: several times as fast as one transposed copy
            whole[..., byte] = planes[:, byte]
        native = self.stored.newbyteorder("=")
        found = whole.view(self.stored).reshape(n, *shape).astype(native, copy=False)
        return found.transpose(self.order) if self.order else found


def opened(spec: dict[str, Any], document: dict[str, Any], context: Any, *, given: bool = False) -> Any:  # noqa: ANN401
    """Open an array by its metadata, or as if they were those that are given."""
    import tensorstore as ts  # readers need the rest where nothing is of Zarr

    shuffled = is_shuffled(document)
    if not shuffled and not given:
        return ts.open(spec, open=True, read=True, context=context).result()
    metadata = as_bytes(document) if shuffled else document
    known = {**spec, "metadata": metadata}
    handle = ts.open(known, open=True, assume_metadata=True, context=context).result()
    return Shuffled(handle, document) if shuffled else handle
