"""Boxes of TIFF pages as tifffile itself reads them, to hold what is read elsewhere against.

tifffile says where strips and tiles are, fetches them through its own file object, decodes them, and says
where they belong; pages that are not compressed it maps into memory, or reads row by row from a server.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.readers.tiff_files import damage_named, logged, page_words

ROWS_BYTES = 2**20
"""What is read at once of a page that cannot be mapped."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile
    from numpy.typing import NDArray

    from ngff_convert.readers.tiff_files import TiffHandle

    Start = tuple[int, int, int, int]


def read_page_by_library(
    file: TiffHandle,
    at: tuple[int, int | None],
    plane: int | None,
    placed: tuple[Sequence[int], Sequence[int]] | None,
    start: Start,
    out: NDArray[Any],
) -> None:
    """Read a box of a page.

    Parameters
    ----------
    file
        The open file.
    at
        Number of the page, and of the page below it or None.
    plane
        Where planes follow one another in one piece from the page on: which of them.
    placed
        Where strips and tiles are, and how many bytes, where the page itself does not say.
    start, out
        As `tiff_planes.read_page` has them: (sample, z, y, x).

    Raises
    ------
    ReadError
        tifffile cannot read it.
    """
    where = f"{file.path}: {page_words(*at)}"
    page = file.page(*at)
    with damage_named(where), logged([]):
        offsets, sizes = placed or (page.dataoffsets, page.databytecounts)
        if page.is_final and offsets[0] > 0 and not file.tiff.filehandle.is_file:
            _read_rows(file, page, int(offsets[0]) + (plane or 0) * page.nbytes, start, out)
            return
        if page.is_final and offsets[0] > 0:
            whole = _mapped(file, page, int(offsets[0]) + (plane or 0) * page.nbytes)
        elif plane:
            raise ReadError(
                f"{where}: plane {plane} does not follow the page as the file says; copy it again"
            )
        elif placed is None and out.nbytes >= page.nbytes and page.jpegheader is None:
            whole = page.asarray(squeeze=False, lock=file.lock, maxworkers=1)
        else:
            _read_segments(file, page, offsets, sizes, start, out)
            return
        _place(whole, (0, 0, 0, 0), start, out)


def _mapped(file: TiffHandle, page: tifffile.TiffPage, offset: int) -> NDArray[Any]:
    """Return a page (separate sample, z, y, x, sample) in the file's byte order, without reading it."""
    dtype = np.dtype(page.dtype)
    with file.lock:
        return file.tiff.filehandle.memmap_array(
            page.parent.byteorder + dtype.char, page.shaped, offset=offset
        )


def _read_rows(
    file: TiffHandle, page: tifffile.TiffPage, offset: int, start: Start, out: NDArray[Any]
) -> None:
    """Read a box of a page that is not compressed, and cannot be mapped, some rows at a time."""
    separate, depth, length, width, interleaved = page.shaped
    dtype = np.dtype(page.parent.byteorder + np.dtype(page.dtype).char)
    line = width * interleaved
    at_once = max(1, ROWS_BYTES // (line * dtype.itemsize))
    samples = range(start[0], start[0] + out.shape[0]) if separate > 1 else range(1)
    planes, stop = range(start[1], start[1] + out.shape[1]), start[2] + out.shape[2]
    for sample, z, y in product(samples, planes, range(start[2], stop, at_once)):
        count = min(at_once, stop - y)
        first = ((sample * depth + z) * length + y) * line
        with file.lock:
            rows = file.tiff.filehandle.read_array(dtype, count * line, offset + first * dtype.itemsize)
        _place(rows.reshape(1, 1, count, width, interleaved), (sample, z, y, 0), start, out)


def _read_segments(
    file: TiffHandle,
    page: tifffile.TiffPage,
    offsets: Sequence[int],
    sizes: Sequence[int],
    start: Start,
    out: NDArray[Any],
) -> None:
    """Decode the strips and tiles that reach into a box, one after another."""
    tables: dict[str, Any] = {}
    if page.jpegheader is not None or page.jpegtables is not None:
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    numbers = _numbers(page, start, out.shape)
    stored = file.tiff.filehandle.read_segments(
        [int(offsets[number]) for number in numbers],
        [int(sizes[number]) for number in numbers],
        numbers,
        lock=file.lock,
        buffersize=2**20,
    )
    for data, number in stored:
        segment, corner, shape = page.decode(data, number, **tables)
        if segment is None:
            segment = np.full(shape, page.nodata, out.dtype)
        _place(segment[np.newaxis], corner[:4], start, out)


def _numbers(page: tifffile.TiffPage, start: Start, box: Sequence[int]) -> list[int]:
    """Return the numbers of the strips and tiles that reach into a box."""
    separate, *shape, _ = page.shaped
    tile = (1, min(page.rowsperstrip, shape[1]), shape[2])
    if page.is_tiled:
        tile = (page.tiledepth, page.tilelength, page.tilewidth)
    cells = [range(-(-n // size)) for n, size in zip(shape, tile, strict=True)]
    touched = [
        along[a // size : -(-(a + n) // size)]
        for along, a, n, size in zip(cells, start[1:], box[1:], tile, strict=True)
    ]
    samples = range(start[0], start[0] + box[0]) if separate > 1 else range(1)
    grid = (separate, *map(len, cells))
    return [int(n) for n in np.ravel_multi_index(np.ix_(samples, *touched), grid).flat]


def _place(block: NDArray[Any], corner: Sequence[int], start: Start, out: NDArray[Any]) -> None:
    """Copy what a box has of a block (separate sample, z, y, x, sample) that begins at a corner."""
    as_samples = np.moveaxis(block, -1, 1)
    as_samples = as_samples.reshape(-1, *as_samples.shape[2:])
    inner, outer = [], []
    for a, n, b, m in zip(corner, as_samples.shape, start, out.shape, strict=True):
        low, high = max(a, b), min(a + n, b + m)
        inner.append(slice(low - a, high - a))
        outer.append(slice(low - b, high - b))
    out[tuple(outer)] = as_samples[tuple(inner)]
