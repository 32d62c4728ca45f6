"""One level of an image that is made of TIFF pages."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.contract import LazyPixels, is_remote
from ngff_convert.readers.open_files import CACHE_BYTES
from ngff_convert.readers.read_ahead import ahead
from ngff_convert.readers.tiff_files import damage_named, logged, page_words
from ngff_convert.readers.tiff_library import read_page_by_library
from ngff_convert.readers.tiff_planes import Page, describe_page, ranges, read_page
from ngff_convert.readers.tiff_references import Decoding, Located, check, decoding, stored_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from ngff_convert.model import Box, Channel, Shape, StoredChunks
    from ngff_convert.readers.read_ahead import Wanted
    from ngff_convert.readers.tiff_files import TiffFiles, TiffHandle

PRIMARIES = ("FF0000", "00FF00", "0000FF")

_Three: TypeAlias = tuple[int, int, int]
_Four: TypeAlias = tuple[int, int, int, int]

MISSING = -1
"""In place of a page's number: the page is not there, and reads as 0."""


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """Strips or tiles of pages that are not where the file says; each array (page, strip or tile).

    Some formats have offsets that tifffile has to correct.
    """

    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Pages:
    """Where pages are; arrays of one shape, with an entry for each page.

    Attributes
    ----------
    file
        Number of the file.
    page
        Number of the page in that file, or `MISSING`.
    sub
        Number among the sub-pages of that page; None for the page itself.
    plane
        Where planes follow one another in one piece from the page on: which of them; else None.
    placed
        Where strips and tiles are, in place of where the pages say, which then only tell how they are stored.
    """

    file: NDArray[np.int32]
    page: NDArray[np.int64]
    sub: int | None = None
    plane: NDArray[np.int64] | None = None
    placed: Placed | None = None

    def place(self, at: tuple[int, int, int]) -> tuple[int | None, Placed | None]:
        """Return which of the planes a page is, and where its strips are, where the page does not say."""
        i = int(np.ravel_multi_index(at, self.page.shape))
        plane = None if self.plane is None else int(self.plane[at])
        return plane, self.placed and Placed(self.placed.offsets[i], self.placed.sizes[i])

    def at(self, numbers: NDArray[np.int64]) -> Pages:
        """Return those of some numbers, in the shape of the numbers."""
        flat = numbers.reshape(-1)
        placed = self.placed and Placed(self.placed.offsets[flat], self.placed.sizes[flat])
        plane = None if self.plane is None else self.plane[numbers]
        return Pages(self.file[numbers], self.page[numbers], self.sub, plane, placed)


@dataclass(frozen=True, eq=False)
class TiffPixels(LazyPixels):
    """One level: a grid of pages (t, c, z), each of so many samples and planes z.

    Attributes
    ----------
    files
        Where files are opened.
    paths
        The files.
    pages
        The grid, (t, c, z).
    pages_each
        How many pages each file has; None where that may differ.
    samples, depth
        Samples and planes z of a page: channel c is sample ``c % samples`` of page ``c // samples``.
    """

    files: TiffFiles
    paths: Sequence[str]
    pages: Pages
    pages_each: int | None
    samples: int
    depth: int
    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    compression: str
    index_bytes: int

    library = "tifffile"
    shared = "where pages, strips and tiles are, and what they decode to, is as tifffile says both times"

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box, page after page."""
        with self._ahead(box):
            return self._read(box, self._read_page)

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read a box as tifffile reads it."""
        with self._ahead(box):
            return self._read(box, self._read_page_by_library)

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where the strips and tiles of every page lie."""
        start, stop = within or ((0, 0, 0), self.shape)
        like, how = self._decoding
        pages = range(start[2] // self.depth, -(-stop[2] // self.depth))
        for t, c in product(range(start[0], stop[0]), range(start[1], stop[1])):
            at_c, sample = divmod(c, self.samples)
            yield from stored_chunks(self._located(t, at_c, pages), how, like, sample, t, c, pages.start)

    @property
    def _decoding(self) -> tuple[Page, Decoding]:
        """The first page that is there, and how others decode it, which was tried."""
        first = tuple(np.argwhere(self.pages.page != MISSING)[0].tolist())
        t, c, z = first
        path, number = self.paths[self.pages.file[first]], int(self.pages.page[first])

        def look() -> tuple[tuple[Page, Decoding], int]:
            with self.files.using(path) as file:
                like = self._page(file, number, first)
                how = decoding(file, number, self.pages.sub, like)
                if self.depth % how.chunks[0] and self.pages.page.shape[2] > 1:
                    raise UnsupportedInput(
                        f"{like.where}: its planes are not whole chunks: convert it instead"
                    )
                located = [Located(path, like)]
                for stored in stored_chunks(located, how, like, 0, t, c * self.samples, z):
                    check(self, how, stored, file)
            return (like, how), like.nbytes

        key = ("decoding", path, number, self.pages.sub)
        found: tuple[Page, Decoding] = self.files.cache.get(key, look)
        return found

    def _located(self, t: int, c: int, pages: range) -> Iterator[Located]:
        path = self.paths[self.pages.file[t, c, pages.start]]
        for z in pages:
            number = int(self.pages.page[t, c, z])
            if number == MISSING:
                yield Located(path, None)
                continue
            path = self.paths[self.pages.file[t, c, z]]
            with self.files.using(path) as file:
                yield Located(path, self._page(file, number, (t, c, z)))

    def _read(self, box: Box, read_part: Callable[..., None]) -> NDArray[Any]:
        out = np.empty(box.shape, self.dtype)
        for at, start, shape, corner in self._parts(box):
            t, c, z = corner
            part = out[t, c : c + shape[0], z : z + shape[1]]
            number = int(self.pages.page[at])
            if number == MISSING:
                part[...] = 0
                continue
            with self.files.using(self.paths[self.pages.file[at]]) as file:
                read_part(file, number, at, start, part)
        return out

    def _parts(self, box: Box) -> Iterator[tuple[_Three, _Four, _Four, _Three]]:
        """Yield every page that a box touches, what of it - (sample, z, y, x) - and where in the box that is.

        What of it is where that begins, and its shape; where in the box is t, c, z.
        """
        for t in range(box.start[0], box.stop[0]):
            for c, first_c, n_c in _parts(box.start[1], box.stop[1], self.samples):
                for z, first_z, n_z in _parts(box.start[2], box.stop[2], self.depth):
                    at_c = c * self.samples + first_c - box.start[1]
                    at_z = z * self.depth + first_z - box.start[2]
                    y, x = box.start[3:]
                    shape = (n_c, n_z, box.shape[3], box.shape[4])
                    yield (t, c, z), (first_c, first_z, y, x), shape, (t - box.start[0], at_c, at_z)

    def _ahead(self, box: Box) -> AbstractContextManager[None]:
        """Ask servers ahead for what a box takes, where the files are on such."""
        return ahead(self._wanted(box)) if is_remote(self.paths[0]) else nullcontext()

    def _wanted(self, box: Box) -> Iterator[Wanted]:
        for at, start, shape, _ in self._parts(box):
            number = int(self.pages.page[at])
            if number == MISSING:
                continue
            with self.files.using(self.paths[self.pages.file[at]]) as file:
                wanted = file.wanted(ranges(self._page(file, number, at), start, shape))
            yield from wanted

    def _read_page(
        self,
        file: TiffHandle,
        number: int,
        at: tuple[int, int, int],
        start: tuple[int, int, int, int],
        out: NDArray[Any],
    ) -> None:
        read_page(file, self._page(file, number, at), start, out)

    def _page(self, file: TiffHandle, number: int, at: tuple[int, int, int]) -> Page:
        """Return how a page is stored, by its number in a file and its place in the image."""
        sub = self.pages.sub

        def describe() -> tuple[Page, int]:
            self._check_count(file)
            page = described_page(file, number, sub)
            return page, page.nbytes

        page: Page = self.files.cache.get((file.path, number, sub), describe)
        plane, placed = self.pages.place(at)
        if plane is not None:
            page = page.moved(plane)
        if placed is not None:
            page = page.placed(placed.offsets, placed.sizes)
        self._check(page)
        return page

    def _read_page_by_library(
        self,
        file: TiffHandle,
        number: int,
        at: tuple[int, int, int],
        start: tuple[int, int, int, int],
        out: NDArray[Any],
    ) -> None:
        plane, placed = self.pages.place(at)
        tables = (placed.offsets.tolist(), placed.sizes.tolist()) if placed else None
        self._check_count(file)
        read_page_by_library(file, (number, self.pages.sub), plane, tables, start, out)

    def _check_count(self, file: TiffHandle) -> None:
        if self.pages_each is not None and file.n_pages() != self.pages_each:
            raise ReadError(
                f"{file.path}: has {file.n_pages()} pages, the first file {self.pages_each}; "
                "is it one of another image?"
            )

    def _check(self, page: Page) -> None:
        expected = (self.samples, self.depth, *self.shape[3:])
        if page.shape != expected or page.dtype != self.dtype:
            raise ReadError(
                f"{page.where} is {page.dtype.name} of {_by(page.shape)} (sample, z, y, x), "
                f"the image is {self.dtype.name} of {_by(expected)}; is the file one of another image?"
            )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _parts(start: int, stop: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range at multiples of `size`; yields which multiple, where in it, and how many.

    Examples
    --------
    >>> list(_parts(2, 7, 3))
    [(0, 2, 1), (1, 0, 3), (2, 0, 1)]
    """
    while start < stop:
        number, first = divmod(start, size)
        count = min(size - first, stop - start)
        yield number, first, count
        start += count


def true_colors(channels: Sequence[Channel], pixels: TiffPixels) -> tuple[Channel, ...]:
    """Return the channels of a photograph, red, green and blue of 8 bits, to be shown over all their range.

    Windows that fit each channel by itself would tint what is white.
    """
    if pixels.samples < len(PRIMARIES) or pixels.dtype != np.uint8:
        return tuple(channels)
    return tuple(replace(c, window=(0, 255)) if c.color in PRIMARIES else c for c in channels)


def make_pixels(
    files: TiffFiles, paths: Sequence[str], pages: Pages, pages_each: int | None = None
) -> TiffPixels:
    """Put a level together; its first page that is there tells the type and size of all.

    Parameters
    ----------
    files, paths, pages, pages_each
        As `TiffPixels` has them.

    Raises
    ------
    ReadError
        No page is there, or the first is damaged.
    UnsupportedInput
        Pixels are of a type or a compression that nothing here decodes.
    """
    there = np.flatnonzero(pages.page != MISSING)
    if not there.size:
        raise ReadError(f"{paths[0] if paths else 'the image'}: none of the pages of the image is there")
    path = paths[pages.file.reshape(-1)[there[0]]]
    with files.using(path) as file:
        first = described_page(file, int(pages.page.reshape(-1)[there[0]]), pages.sub)
        kept_bytes = file.bytes.kept_bytes
    samples, depth, y, x = first.shape
    n_t, n_c, n_z = pages.page.shape
    by_sample, by_z, by_y, by_x = first.chunks
    return TiffPixels(
        files=files,
        paths=paths,
        pages=pages,
        pages_each=pages_each,
        samples=samples,
        depth=depth,
        shape=(n_t, n_c * samples, n_z * depth, y, x),
        dtype=first.dtype,
        chunks=(1, by_sample, by_z, by_y, by_x),
        compression=first.compression,
        index_bytes=min(there.size * first.nbytes, CACHE_BYTES + first.nbytes)
        + min(there.size, 2) * first.listing_bytes
        + kept_bytes,
    )


def described_page(file: TiffHandle, number: int, sub: int | None) -> Page:
    """Return how a page of an open file is stored; raises what `describe_page` does."""
    where = f"{file.path}: {page_words(number, sub)}"
    page = file.page(number, sub)
    with logged([]), damage_named(where):  # tifffile says again what it said when the file was opened
        return describe_page(page, where)
