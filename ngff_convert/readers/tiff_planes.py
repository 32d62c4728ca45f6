"""Reading a box of one TIFF page: every strip or tile it touches is fetched and decoded once, without a lock.

Where the strips are not compressed and follow one another, rows are read where they lie: a page that is one
huge strip costs no more memory than what is wanted of it. Everything else is decoded by tifffile's own
function for the page, which knows all compressions, predictors, bit depths and byte orders; it holds neither
a lock nor the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tifffile

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.stored_bytes import (
    READ_AT_ONCE,
    Contiguous,
    contiguous_ranges,
    read_contiguous,
    runs,
    scratch,
    span,
)
from ngff_convert.readers.tiff_files import TIFF_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ngff_convert.readers.stored_bytes import Bytes
    from ngff_convert.readers.tiff_files import TiffHandle

DESCRIPTION_BYTES = 4000
"""What a described page takes besides its tables; most of it is tifffile's function, measured."""

LISTING_BYTES = 112
"""What tifffile takes for each strip or tile of a page, as objects; measured."""

ROW_PIECE_BYTES = 16 * 2**10
"""Part of an uncompressed row that is worth a call of its own: of a wide row no more has to be read."""

HIGHEST_RATIO = 1 << 20
"""A strip or tile that would be so many times larger than what is stored is damaged; Zstandard and LZMA make
some 30,000 : 1 of zeros, run lengths 64 : 1."""

MOST_SAMPLES = 2**16 - 1
"""SamplesPerPixel of TIFF 6.0 has 16 bits; each sample becomes a channel."""

JPEGS = (6, 7, 33007, 34892)
"""Compressions that restore pixels of which colours are stored at a lower resolution."""


@dataclass(frozen=True, eq=False, slots=True)
class Page:
    """How one page is stored.

    A page has axes sample, z, y, x: ``separate`` samples one after another in the file, or ``interleaved``
    ones side by side in each pixel; one of the two is 1. Most pages have one plane z.

    Attributes
    ----------
    where
        The file and the page, for errors.
    shape
        (sample, z, y, x), voxels.
    separate
        Samples that are stored as planes of their own.
    interleaved
        Samples that are stored side by side.
    dtype
        Of a sample, native byte order.
    tile
        (z, y, x) of a strip or tile, voxels.
    offsets, sizes
        First byte and stored bytes of each strip or tile; 0 bytes: never written.
    rows
        The whole page as an array (separate, z, y, x * interleaved) in the file's byte order, where it lies
        in one piece and is not compressed; else None.
    decode
        tifffile's function that decodes a strip or tile.
    tables
        What it takes besides for JPEG.
    fill
        Value of strips and tiles that were never written.
    compression
        For people: ``"lzw"``, ``"deflate, horizontal predictor"``, ``"none"``.
    """

    where: str
    shape: tuple[int, int, int, int]
    separate: int
    interleaved: int
    dtype: np.dtype[Any]
    tile: tuple[int, int, int]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    rows: Contiguous | None
    decode: Callable[..., Any]
    tables: dict[str, bytes]
    fill: float
    compression: str

    @property
    def chunks(self) -> tuple[int, int, int, int]:
        """What is read together, (sample, z, y, x): a strip or tile; of bare rows one, or a part of it."""
        if self.rows is not None:
            pixels = max(1, ROW_PIECE_BYTES // (self.interleaved * self.dtype.itemsize))
            return (self.interleaved, 1, 1, min(self.shape[-1], pixels))
        return (self.interleaved, *self.tile)

    @property
    def nbytes(self) -> int:
        """Memory that this description takes."""
        tables = sum(len(table) for table in self.tables.values())
        return DESCRIPTION_BYTES + self.offsets.nbytes + self.sizes.nbytes + tables

    @property
    def listing_bytes(self) -> int:
        """Memory that tifffile takes for the description of such a page, and keeps if it is the first one."""
        return LISTING_BYTES * self.offsets.size

    def moved(self, planes: int) -> Page:
        """Return the page that lies so many of this one's sizes after it."""
        if self.rows is None:
            raise ReadError(f"{self.where}: planes do not follow one another as the file says; copy it again")
        offset = self.rows.offset + planes * prod(self.rows.shape) * self.rows.dtype.itemsize
        where = f"{self.where}, plane {planes}"
        return replace(self, where=where, rows=replace(self.rows, where=where, offset=offset))

    def placed(self, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> Page:
        """Return a page that is stored alike but elsewhere."""
        rows = self.rows and replace(self.rows, offset=int(offsets[0]))
        return replace(self, offsets=offsets, sizes=sizes, rows=rows)


def describe_page(page: tifffile.TiffPage, where: str) -> Page:
    """Find out how a page is stored; reads no pixels.

    Raises
    ------
    UnsupportedInput
        Its pixels are complex numbers, of a type or a compression that nothing here decodes.
    ReadError
        Its tags contradict one another.
    """
    _refuse_unsupported(page, where)
    separate, depth, length, width, interleaved = page.shaped
    tile = (1, min(page.rowsperstrip, length), width)
    if page.is_tiled:
        tile = (page.tiledepth, page.tilelength, page.tilewidth)
    if min(page.shaped) < 1 or min(tile) < 1:
        raise ReadError(f"{where}: holds no pixels: its size is {length} x {width} (y, x)")
    if separate * interleaved > MOST_SAMPLES:
        raise ReadError(
            f"{where}: {separate * interleaved} samples a pixel cannot be meant; copy the file again"
        )
    grid = _grid(page.shaped, tile)
    offsets, sizes = (np.array(v, np.int64) for v in (page.dataoffsets, page.databytecounts))
    if offsets.size != prod(grid) or sizes.size != offsets.size:
        raise ReadError(
            f"{where}: {prod(grid)} strips or tiles of {tile} (z, y, x) make up the page, "
            f"but it lists {offsets.size} places and {sizes.size} sizes; copy the file again"
        )
    dtype = np.dtype(page.dtype)
    stored_as = np.dtype(page.parent.byteorder + dtype.char)
    rows = None
    # tifffile's "final" excludes predictors and turned bits. One strip at offset 0 was never written.
    as_stored = page.is_final and offsets[0] > 0
    if as_stored and dtype.kind in "iuf" and page.bitspersample == 8 * dtype.itemsize:
        rows = Contiguous(where, int(offsets[0]), (separate, depth, length, width * interleaved), stored_as)
    return Page(
        where=where,
        shape=(separate * interleaved, depth, length, width),
        separate=separate,
        interleaved=interleaved,
        dtype=np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("="),
        tile=tile,
        offsets=offsets,
        sizes=sizes,
        rows=rows,
        decode=page.decode,
        tables=_tables(page),
        fill=page.nodata,
        compression=_compression(page),
    )


def _refuse_unsupported(page: tifffile.TiffPage, where: str) -> None:
    if page.dtype is None:
        bits, kind = _shown(page.bitspersample), _shown(page.sampleformat)
        raise UnsupportedInput(f"{where}: pixels of {bits} bits, sample format {kind}")
    if np.dtype(page.dtype).kind not in "biuf":
        raise UnsupportedInput(
            f"{where}: pixels are complex numbers ({np.dtype(page.dtype).name}), which OME-Zarr viewers do "
            "not know; save amplitude or phase instead"
        )
    if page.compression != 1:
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        except KeyError as error:
            shown = _shown(page.compression)
            raise UnsupportedInput(f"{where}: compression {shown} is not supported") from error
    if page.predictor != 1 and page.compression not in tifffile.TIFF.IMAGE_COMPRESSIONS:
        try:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
        except KeyError as error:
            shown = _shown(page.predictor)
            raise UnsupportedInput(f"{where}: predictor {shown} is not supported") from error
    if page.is_subsampled and (page.planarconfig == 2 or page.compression not in JPEGS):
        raise UnsupportedInput(
            f"{where}: colours at a lower resolution than brightness (YCbCr), which only JPEG may have here"
        )


def _shown(value: object) -> str:
    """Return the value of a tag for a message: of a damaged file, it may be a text of many lines."""
    return format(value, "d") if isinstance(value, int) else repr(value)[:40]


def _tables(page: tifffile.TiffPage) -> dict[str, bytes]:
    """Return what JPEG strips and tiles share, by the names that tifffile's decoder gives it."""
    found = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    return {name: table for name, table in found.items() if isinstance(table, bytes)}


def _compression(page: tifffile.TiffPage) -> str:
    try:
        name = tifffile.COMPRESSION(page.compression).name
    except ValueError:
        name = str(page.compression)
    words = [name.lower().removeprefix("adobe_")]
    if page.predictor == 2:
        words.append("horizontal predictor")
    elif page.predictor == 3:
        words.append("floating-point predictor")
    return ", ".join(words)


def _grid(shaped: tuple[int, ...], tile: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return the strips or tiles along separate samples, z, y, x."""
    counts = [-(-n // size) for n, size in zip(shaped[1:4], tile, strict=True)]
    return (shaped[0], counts[0], counts[1], counts[2])


def read_page(file: TiffHandle, page: Page, start: tuple[int, int, int, int], out: NDArray[Any]) -> None:
    """Read a box of a page; every strip or tile it touches is fetched and decoded once.

    Parameters
    ----------
    file
        The open file.
    page
        How the page is stored.
    start
        First voxel of the box, (sample, z, y, x); the box lies within the page.
    out
        Where the voxels go, of the box's shape, of the page's dtype; any strides.

    Raises
    ------
    ReadError
        The file is damaged; the strip or tile is named.
    """
    if page.rows is None:
        _read_segments(file, page, start, out)
    elif page.interleaved == 1:
        read_contiguous(file, page.rows, start, out)
    else:
        _read_interleaved_rows(file, page, page.rows, start, out)


def ranges(
    page: Page, start: tuple[int, int, int, int], shape: tuple[int, int, int, int]
) -> Iterator[tuple[int, int]]:
    """Yield what `read_page` reads of the file, offsets and numbers of bytes; parameters as it has them."""
    if page.rows is None:
        yield from map(span, runs(filter(_is_stored, _segments(page, start, shape))))
    elif page.interleaved == 1:
        yield from contiguous_ranges(page.rows, start, shape)
    else:
        for plane, row, count in _interleaved_bands(page, page.rows, shape):
            yield from contiguous_ranges(
                page.rows, *_interleaved_box(page, start, shape, (plane, row, count))
            )


def _interleaved_bands(
    page: Page, rows: Contiguous, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, int]]:
    """Cut a box into rows that are read together: plane, first row, number of rows."""
    _, depth, length, width = shape
    at_once = max(1, READ_AT_ONCE // (width * page.interleaved * rows.dtype.itemsize))
    for plane in range(depth):
        for row in range(0, length, at_once):
            yield plane, row, min(at_once, length - row)


def _interleaved_box(
    page: Page, start: tuple[int, int, int, int], shape: tuple[int, ...], band: tuple[int, int, int]
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """Return where some rows of a box begin, and their shape, with all samples as they are stored."""
    plane, row, count = band
    n = page.interleaved
    return (0, start[1] + plane, start[2] + row, start[3] * n), (1, 1, count, shape[3] * n)


def _read_interleaved_rows(
    file: TiffHandle, page: Page, rows: Contiguous, start: tuple[int, int, int, int], out: NDArray[Any]
) -> None:
    """Read some rows at a time, and take the samples that are wanted out of each pixel."""
    n = page.interleaved
    first, samples = start[0], out.shape[0]
    for plane, row, count in _interleaved_bands(page, rows, out.shape):
        corner, shape = _interleaved_box(page, start, out.shape, (plane, row, count))
        pixels = scratch("rows", prod(shape) * page.dtype.itemsize).view(page.dtype).reshape(shape)
        read_contiguous(file, rows, corner, pixels)
        wanted = pixels.reshape(count, -1, n)[..., first : first + samples]
        out[:, plane, row : row + count] = np.moveaxis(wanted, -1, 0)


class _Segment(NamedTuple):
    """A strip or tile that a box touches."""

    number: int
    offset: int
    size: int


def _read_segments(file: TiffHandle, page: Page, start: tuple[int, int, int, int], out: NDArray[Any]) -> None:
    wanted = _segments(page, start, out.shape)
    if not all(map(_is_stored, wanted)):
        out[...] = page.fill
    for run in runs(filter(_is_stored, wanted)):
        data = _fetch(file, page, run)
        for segment in run:
            at = segment.offset - run[0].offset
            _place(data[at : at + segment.size], segment, page, start, out)


def _is_stored(segment: _Segment) -> bool:
    return segment.size > 0 and segment.offset > 0


def _segments(page: Page, start: tuple[int, int, int, int], shape: tuple[int, ...]) -> list[_Segment]:
    """List the strips or tiles that a box touches, in the order in which they lie in the file."""
    grid = _grid((page.separate, *page.shape[1:]), page.tile)
    if page.separate > 1:
        first, stop = [start[0]], [start[0] + shape[0]]
    else:
        first, stop = [0], [1]
    first += [a // size for a, size in zip(start[1:], page.tile, strict=True)]
    stop += [-(-(a + n) // size) for a, n, size in zip(start[1:], shape[1:], page.tile, strict=True)]
    steps = [
        np.arange(a, b) * prod(grid[axis + 1 :]) for axis, (a, b) in enumerate(zip(first, stop, strict=True))
    ]
    numbers = reduce(np.add.outer, steps).reshape(-1)
    numbers = numbers[np.argsort(page.offsets[numbers], kind="stable")]
    columns = (numbers, page.offsets[numbers], page.sizes[numbers])
    return list(map(_Segment, *(column.tolist() for column in columns)))


def _where(page: Page, segment: _Segment) -> str:
    return f"{page.where}: strip or tile {segment.number} ({segment.size} bytes at {segment.offset})"


def _fetch(file: TiffHandle, page: Page, run: list[_Segment]) -> Bytes:
    offset, size = span(run)
    if offset + size > file.size:
        last = max(run, key=lambda segment: segment.offset + segment.size)
        raise ReadError(
            f"{_where(page, last)} lies beyond the end of the file, {file.size} bytes; copy it again"
        )
    data = scratch("file", size)
    file.read_into(offset, data)
    return data


def _place(
    stored: Bytes, segment: _Segment, page: Page, start: tuple[int, int, int, int], out: NDArray[Any]
) -> None:
    """Decode a strip or tile and put the part of it that is wanted where it goes."""
    n_bytes = prod(page.tile) * page.interleaved * page.dtype.itemsize
    if n_bytes > max(segment.size, 1) * HIGHEST_RATIO:
        raise ReadError(f"{_where(page, segment)} cannot hold {n_bytes} bytes; copy the file again")
    try:
        decoded, corner, _ = page.decode(stored, segment.number, **page.tables)
    except TIFF_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ReadError(f"{_where(page, segment)} is damaged: {reason}; copy the file again") from error
    if decoded.shape[-1] != page.interleaved:
        raise ReadError(
            f"{_where(page, segment)} is damaged: {decoded.shape[-1]} samples, not {page.interleaved}; "
            "copy the file again"
        )
    for separate, source, target in _overlap(page, corner, decoded.shape, start, out.shape):
        wanted = decoded[source]
        out[target] = wanted[..., 0] if separate else np.moveaxis(wanted, -1, 0)


def _overlap(
    page: Page,
    corner: tuple[int, ...],
    shape: tuple[int, ...],
    start: tuple[int, int, int, int],
    box: tuple[int, ...],
) -> Iterator[tuple[bool, tuple[slice, ...], tuple[Any, ...]]]:
    """Yield, if a strip or tile reaches into the box, its part (z, y, x, sample) and where that goes."""
    source: list[slice] = []
    target: list[slice] = []
    for a, n, b, m in zip(corner[1:4], shape[:3], start[1:], box[1:], strict=True):
        low, high = max(a, b), min(a + n, b + m)
        if low >= high:
            return
        source.append(slice(low - a, high - a))
        target.append(slice(low - b, high - b))
    if page.interleaved > 1:
        samples = slice(start[0], start[0] + box[0])
        yield False, (*source, samples), (slice(None), *target)
    else:
        yield True, (*source, slice(None)), (corner[0] - start[0], *target)
