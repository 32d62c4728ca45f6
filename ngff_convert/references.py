"""Chunk tables -> what makes of a source's chunks arrays of Zarr v2. Pure: no file is touched.

A level is one array of axes t, c, z, y, x. Its ``.zarray`` says how a chunk is decoded, so all chunks of a
level must be alike; where they are not, the level is refused. Chunks that were never written are not there,
and the fill value is theirs, which is then one too.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import partial
from math import isnan, prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ngff_convert.errors import UnsupportedInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ngff_convert.model import PixelArray, Shape


class References(Protocol):
    """What references are written to: level by level, each begun and ended."""

    separator: str
    """What is between the numbers of a chunk."""

    def begin(self, path: str, grid: Shape) -> None:
        """Begin the array at a path, of so many chunks along each axis."""

    def absent(self, chunk: Callable[[], bytes]) -> None:
        """Note, before what follows it, that chunks are not there; `chunk` is what one would be."""

    def add(
        self, path: str, number: NDArray[np.int64], offset: NDArray[np.int64], size: NDArray[np.int64]
    ) -> None:
        """Take chunks that a file holds; numbers count in C order, and rise."""

    def end(self, document: dict[str, Any]) -> None:
        """End the array; its ``.zarray``."""


@dataclass(frozen=True, slots=True)
class ChunkForm:
    """What all chunks of an array have in common.

    Attributes
    ----------
    chunks
        Voxels, (t, c, z, y, x).
    dtype
        As numpy spells it, with byte order: ``">u2"``.
    codecs
        As `StoredChunks` has them.
    """

    chunks: Shape
    dtype: str
    codecs: tuple[str, ...]

    def __str__(self) -> str:
        steps = " + ".join(self.codecs) or "not compressed"
        return f"{self.dtype} in chunks of {','.join(map(str, self.chunks))} (t,c,z,y,x), {steps}"


def refer_to(pixels: PixelArray, path: str, out: References) -> int:
    """Write the references that make a level an array; returns how many chunks there are.

    Parameters
    ----------
    pixels
        The level.
    path
        Of the array.
    out
        Where they go.

    Raises
    ------
    UnsupportedInput
        Its chunks are stored in a way that Zarr v2 does not know, or not all in the same way.
    ReadError
        The file is damaged.
    """
    form: ChunkForm | None = None
    fill: NDArray[Any] | None = None
    count = 0
    for stored in pixels.stored_chunks():
        where = f"{stored.path}: time point {stored.t}, channel {stored.c} of array {path}"
        now = ChunkForm((*stored.chunks_tc, *stored.chunks), stored.dtype.str, stored.codecs)
        if form is None:
            form = now
            grid = tuple(-(-n // c) for n, c in zip(pixels.shape, form.chunks, strict=True))
            out.begin(path, grid)
        elif now != form:
            raise UnsupportedInput(
                f"{where}: is {now}, the first of it {form}; an array has one way for all its chunks: "
                "convert it instead"
            )
        if stored.number.size < stored.told:
            here = np.array(stored.fill, stored.dtype)
            if fill is None:
                fill = here
                out.absent(partial(fill_chunk, form, fill, where))
            elif here.tobytes() != fill.tobytes():
                raise UnsupportedInput(
                    f"{where}: what was never written there is {here}, elsewhere {fill}; an array has one "
                    "fill value: convert it instead"
                )
        if stored.number.size:  # else the file is of no use
            t, c = stored.t // form.chunks[0], stored.c // form.chunks[1]
            first = (t * grid[1] + c) * prod(grid[2:])
            out.add(stored.path, first + stored.number, stored.offset, stored.size)
            count += stored.number.size
    assert form is not None  # an image has a voxel
    out.end(array_document(pixels.shape, form, 0 if fill is None else fill.item(), out.separator))
    return count


def array_document(shape: Shape, form: ChunkForm, fill: float, separator: str) -> dict[str, Any]:
    """Return the ``.zarray`` of a level.

    Examples
    --------
    >>> codecs = '{"id": "shuffle", "elementsize": 2}', '{"id": "zlib", "level": 1}'
    >>> document = array_document((1, 2, 20, 100, 100), ChunkForm((1, 1, 8, 64, 64), ">u2", codecs), 0, "/")
    >>> document["filters"], document["compressor"]
    ([{'id': 'shuffle', 'elementsize': 2}], {'id': 'zlib', 'level': 1})
    """
    steps = [json.loads(codec) for codec in form.codecs]
    # Zarr calls the last step of a writer, which is the first of a reader, the compressor.
    compressor = steps.pop() if steps else None
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(form.chunks),
        "dtype": form.dtype,
        "filters": steps or None,
        "compressor": compressor,
        "fill_value": _fill(fill),
        "order": "C",
        "dimension_separator": separator,
    }


def fill_chunk(form: ChunkForm, fill: NDArray[Any], where: str) -> bytes:
    """Return a chunk of nothing but the fill value, as it would be stored; `where` is for errors.

    Raises
    ------
    UnsupportedInput
        It would be compressed in a way that only the source's own format needs.
    """
    data = fill.tobytes() * prod(form.chunks)
    for codec in map(json.loads, form.codecs):
        if codec["id"] == "zlib":
            data = zlib.compress(data, codec.get("level", 1))
        elif codec["id"] == "shuffle":
            data = np.frombuffer(data, np.uint8).reshape(-1, codec["elementsize"]).T.tobytes()
        else:
            raise UnsupportedInput(
                f"{where}: some chunks were never written, the others are compressed with {codec['id']}: "
                "tables of references cannot say that; write NAME.json"
            )
    return data


def _fill(value: float) -> float | str:
    """Return a fill value in JSON, which has no words for some floats."""
    if isinstance(value, float) and (isnan(value) or abs(value) == float("inf")):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
