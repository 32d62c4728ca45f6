"""Where the strips and tiles of TIFF pages lie, for others that read them.

How they are decoded says tifffile's own writer of references, which also refuses what Zarr v2 has no words
for; where they are is known of every page already. One of them is decoded as it says, and held against what
the reader makes of it.
"""

from __future__ import annotations

import json
import zlib
from io import StringIO
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ngff_convert.errors import UnsupportedInput
from ngff_convert.model import Box, StoredChunks
from ngff_convert.readers.tiff_files import damage_named, logged, page_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from ngff_convert.readers.contract import LazyPixels
    from ngff_convert.readers.tiff_files import TiffHandle
    from ngff_convert.readers.tiff_planes import Page

DEFLATE = (8, 32946)
"""Numbers of the compression."""

WHOLE_PAGE = 2
"""The `CHUNKMODE` of tifffile where a page is a chunk."""


class Located(NamedTuple):
    """A page, the file it is in, and its number there; no page where it is missing."""

    path: str
    page: Page | None


class Decoding(NamedTuple):
    """How the chunks of a page are decoded."""

    chunks: tuple[int, int, int]
    dtype: np.dtype[Any]
    codecs: tuple[str, ...]


def decoding(file: TiffHandle, number: int, sub: int | None, page: Page) -> Decoding:
    """Return how the chunks of a page are decoded, as tifffile says.

    Raises
    ------
    UnsupportedInput
        Zarr v2 cannot decode them.
    """
    where = f"{file.path}: {page_words(number, sub)}"
    plain = _plain(file.page(number, sub), page)
    if plain is not None:
        return plain
    if page.interleaved > 1:
        raise UnsupportedInput(
            f"{where}: the {page.interleaved} samples of a pixel are stored side by side, but channels of "
            "OME-Zarr are not: convert it instead"
        )
    try:
        from tifffile.zarr import ZarrTiffStore
    except ImportError as error:
        raise UnsupportedInput(
            f"{file.path}: references to TIFF with compression {page.compression} need zarr, which is "
            "not installed: pip install 'ngff-convert[virtual]'"
        ) from error
    text = StringIO()
    with logged([]), damage_named(where), file.lock:
        store = ZarrTiffStore(file.page(number, sub), chunkmode=WHOLE_PAGE if page.rows else 0)
        try:
            store.write_fsspec(text, "")
        except ValueError as error:
            raise UnsupportedInput(f"{where}: {error}: convert it instead") from error
    described = json.loads(json.loads(text.getvalue())[".zarray"])
    _, depth, length, width = page.shape
    chunks = (depth, length, width) if page.rows else page.tile
    steps = [*(described["filters"] or ()), *filter(None, [described["compressor"]])]
    for step in steps:
        if step["id"] in ("imagecodecs_delta", "imagecodecs_floatpred"):
            step["shape"] = [1, 1, *chunks]
    return Decoding(chunks, np.dtype(described["dtype"]), tuple(map(json.dumps, steps)))


def _plain(described: Any, page: Page) -> Decoding | None:  # noqa: ANN401 - tifffile's page
    """Return how chunks are decoded that are deflated whole tiles or strips and no more, or bare rows."""
    if page.interleaved > 1:
        return None
    dtype = np.dtype(described.parent.byteorder + np.dtype(described.dtype).char)
    if page.rows is not None:
        _, depth, length, width = page.shape
        return Decoding((depth, length, width), dtype, ())
    is_plain = (
        described.compression in DEFLATE
        and described.predictor == 1
        and described.fillorder == 1
        and not described.is_subsampled
        and dtype.kind in "iuf"
        and described.bitspersample == 8 * dtype.itemsize
        and (described.is_tiled or page.shape[2] % page.tile[1] == 0)
    )
    return Decoding(page.tile, dtype, ('{"id": "zlib", "level": 1}',)) if is_plain else None


def stored_chunks(
    pages: Iterable[Located], how: Decoding, like: Page, sample: int, t: int, c: int, first: int = 0
) -> Iterator[StoredChunks]:
    """Say where the chunks of one time point and channel lie, file by file.

    Parameters
    ----------
    pages
        Its pages, z after z.
    how, like
        How one of the image's pages is decoded, and that page; the others have to be like it.
    sample
        Which sample of a page the channel is.
    t, c
        Time point and channel.
    first
        Which plane of pages the first of them is.

    Raises
    ------
    UnsupportedInput
        Pages are not all stored alike.
    """
    grid = [-(-n // size) for n, size in zip(like.shape[1:], how.chunks, strict=True)]
    a_page = int(np.prod(grid))
    for path, run in groupby(enumerate(pages, first), lambda item: item[1].path):
        numbers, offsets, sizes = [], [], []
        told = 0
        fills = set()
        for z, (_, page) in run:
            told += a_page
            if page is None:
                fills.add(0.0)
                continue
            offset, size = _chunks_of(page, like, sample)
            there = np.flatnonzero(size > 0)
            fills.update([page.fill] if there.size < a_page else [])
            numbers.append(z * a_page + there)
            offsets.append(offset[there])
            sizes.append(size[there])
        number, offset, size = (_joined(column) for column in (numbers, offsets, sizes))
        if len(fills) > 1:
            raise UnsupportedInput(
                f"{path}: pages that are missing are 0, strips or tiles that are {max(fills)}; an array has "
                "one fill value: convert it instead"
            )
        yield StoredChunks(t, c, path, *how, next(iter(fills), 0), told, number, offset, size)


def check(pixels: LazyPixels, how: Decoding, stored: StoredChunks, file: TiffHandle) -> None:
    """Decode one chunk as others will, and hold it against what is read here.

    Raises
    ------
    UnsupportedInput
        It is not the same, or cannot be decoded so.
    """
    if not how.codecs or not stored.number.size:
        return
    grid = [-(-n // size) for n, size in zip(pixels.shape[2:], how.chunks, strict=True)]
    cell = np.array(np.unravel_index(stored.number[0], grid))
    start = (cell * how.chunks).tolist()
    stop = np.minimum((cell + 1) * how.chunks, pixels.shape[2:]).tolist()
    here = pixels.read(Box((stored.t, stored.c, *start), (stored.t + 1, stored.c + 1, *stop)))[0, 0]
    data: Any = file.bytes.pread(int(stored.size[0]), int(stored.offset[0]))
    try:
        for codec in map(json.loads, reversed(how.codecs)):
            data = zlib.decompress(data) if codec["id"] == "zlib" else _decoded(codec, data)
        block = np.frombuffer(np.ascontiguousarray(data), how.dtype).reshape(how.chunks)
        same = np.array_equal(block[tuple(map(slice, here.shape))], here, equal_nan=here.dtype.kind == "f")
    except Exception as error:
        raise UnsupportedInput(f"{stored.path}: Zarr cannot decode it: {error}: convert it") from error
    if not same:
        raise UnsupportedInput(f"{stored.path}: Zarr would decode other pixels: convert it instead")


def _decoded(codec: dict[str, Any], data: Any) -> Any:  # noqa: ANN401 - anything with bytes
    from imagecodecs.numcodecs import register_codecs
    from numcodecs import get_codec

    register_codecs(verbose=False)
    return get_codec(codec).decode(data)


def _chunks_of(page: Page, like: Page, sample: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return offset and stored bytes of the chunks of a sample of a page."""
    alike = (
        page.compression == like.compression
        and page.tile == like.tile
        and page.interleaved == like.interleaved
        and page.separate == like.separate
        and page.tables == like.tables
        and (page.rows and page.rows.dtype) == (like.rows and like.rows.dtype)
    )
    if not alike:
        raise UnsupportedInput(f"{page.where}: is not stored as the first page is: convert it instead")
    if page.rows is not None:
        size = int(np.prod(page.shape[1:])) * page.rows.dtype.itemsize
        return np.array([page.rows.offset + sample * size]), np.array([size])
    return page.offsets.reshape(page.separate, -1)[sample], page.sizes.reshape(page.separate, -1)[sample]


def _joined(columns: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(columns) if columns else np.empty(0, np.int64)
