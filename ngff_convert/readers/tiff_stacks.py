"""The pages of an image in the order in which its files count them, and the levels that are made of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.contract import open_file
from ngff_convert.readers.native_levels import native_level
from ngff_convert.readers.tiff_axes import PageAxes
from ngff_convert.readers.tiff_pixels import MISSING, Pages, Placed, make_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import NativeLevel
    from ngff_convert.readers.tiff_files import TiffFiles
    from ngff_convert.readers.tiff_pixels import TiffPixels

PLACED_KINDS = ("lsm", "stk", "mmstack", "ndtiff")
"""Formats whose pages may not tell where their pixels are; tifffile knows."""

NDTIFF_INDEX = "NDTiff.index"
"""Where Micro-Manager's NDTiff lists planes and the names of their files."""

MOST_PLANES = 10**7
"""Planes that a summary of Micro-Manager may state; a list of more would fill the memory."""

LARGEST_OFFSET = 2**32
"""Files up to here have offsets that need no correction."""


@dataclass(frozen=True, eq=False, slots=True)
class Stack:
    """Pages in the order in which they are counted.

    Attributes
    ----------
    axes
        Along what they are counted.
    pages
        Where each of them is.
    paths
        The files, where tifffile found pages in others than the one that was opened; else empty.
    """

    axes: PageAxes
    pages: Pages
    paths: tuple[str, ...] = ()

    def repeated(self, outer: PageAxes, file: NDArray[np.int32], where: str) -> Stack:
        """Return the pages of many files that are all like this one's.

        Parameters
        ----------
        outer
            Along what the files are counted.
        file
            For each place there, C order, the number of the file, or `MISSING`.
        where
            This file, for errors.

        Raises
        ------
        UnsupportedInput
            The places of its pixels are its own, or it is one of several files already.
        """
        if self.pages.placed is not None or self.paths:
            raise UnsupportedInput(
                f"{where}: many files of its kind cannot be one image; convert each of them by itself"
            )
        each = prod(self.axes.sizes)
        axes = PageAxes(outer.letters + self.axes.letters, outer.sizes + self.axes.sizes)
        page = np.tile(self.pages.page, file.size)
        page[np.repeat(file == MISSING, each)] = MISSING
        plane = None if self.pages.plane is None else np.tile(self.pages.plane, file.size)
        return Stack(axes, Pages(np.repeat(file, each), page, self.pages.sub, plane))


def every_series(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the series of pages that tifffile finds in a file, but for those without pixels."""
    _refuse_traps(tif)
    # Counting the pages finds a chain that leads back into itself, which tifffile would follow for ever.
    len(tif.pages)
    return [series for series in tif.series if prod(series.shape)]


def _refuse_traps(tif: tifffile.TiffFile) -> None:
    """Refuse what would make tifffile, on its own, open what is no file of the set, or list endless planes.

    Raises
    ------
    ReadError
        A set of Micro-Manager leads out of its folder, to what is no regular file, or states absurd numbers.
    UnsupportedInput
        It is one on a server.
    """
    if (tif.is_ndtiff or tif.is_mmstack) and not tif.filehandle.is_file:
        raise UnsupportedInput(
            f"{tif.filehandle.path}: one of a set of Micro-Manager, whose files are found by listing a "
            "folder; download them all"
        )
    folder = Path(tif.filehandle.dirname)
    members: set[str] = set()
    if tif.is_ndtiff and os.path.lexists(folder / NDTIFF_INDEX):
        os.close(open_file(str(folder / NDTIFF_INDEX)))
        members = {entry[1] for entry in tifffile.tifffile.read_ndtiff_index(folder / NDTIFF_INDEX)}
    elif tif.is_mmstack:
        summary = (tif.micromanager_metadata or {}).get("Summary", {})
        planes = prod(int(summary.get(key, 1)) for key in ("Frames", "Slices", "Channels", "Positions"))
        if planes > MOST_PLANES:
            raise ReadError(
                f"{tif.filehandle.path}: Micro-Manager's summary states {planes} planes; copy it again"
            )
        members = {path.name for path in folder.glob("*_MMStack*.tif")}
    for name in members:
        if Path(name).name != name or "\\" in name:
            raise ReadError(
                f"{tif.filehandle.path}: its index leads out of its folder, to {name!r}; copy it again"
            )
        if os.path.lexists(folder / name):
            os.close(open_file(str(folder / name)))


def stack_of(series: tifffile.TiffPageSeries) -> Stack:
    """Return the pages of a series that tifffile found in one file."""
    axes, shape = series.get_axes(squeeze=True), series.get_shape(squeeze=True)
    key = series.keyframe
    outer = len(shape) - len(key.shape)
    n_pages = prod(shape) // prod(key.shape)
    one_piece = n_pages > 1 and series.dataoffset is not None
    apart = _imagej_pages_apart(series, key) if one_piece else 0
    if apart and apart != n_pages:
        return Stack(PageAxes("Q", (apart,)), Pages(np.zeros(apart, np.int32), np.arange(apart)))
    if outer < 0 or shape[outer:] != key.shape or not (one_piece or len(series) == n_pages):
        # The file claims other numbers than its pages have: the pages are what is there.
        return _listed(series, PageAxes("Q", (len(series),)))
    page_axes = PageAxes(axes[:outer], shape[:outer])
    if not one_piece:
        return _listed(series, page_axes)
    first, file = key.treeindex[0], np.zeros(n_pages, np.int32)
    if not series.is_truncated and not key.is_subifd and len(key.parent.pages) >= first + n_pages:
        return Stack(page_axes, Pages(file, first + np.arange(n_pages)))
    # One page for all planes, as in ImageJ's files of over 4 GB.
    sub = key.treeindex[1] if key.is_subifd else None
    return Stack(page_axes, Pages(file, np.full(n_pages, first), sub, np.arange(n_pages)))


def _imagej_pages_apart(series: tifffile.TiffPageSeries, key: tifffile.TiffPage) -> int:
    """Return how many pages there are where they do not follow one another as ImageJ's do; else 0.

    tifffile takes them to, if only there is room for all before the second page's tags. Of two pages that
    another program copied there always is: the second one's own pixels are there.
    """
    chain = key.parent.pages
    if series.kind != "imagej" or not chain.is_multipage:
        return 0
    second = chain.get(1, aspage=True)
    if second.shaped != key.shaped or second.dtype != key.dtype:
        return 0
    follows = second.dataoffsets[0] == key.dataoffsets[0] + key.nbytes
    return 0 if follows else len(chain)


def _listed(series: tifffile.TiffPageSeries, axes: PageAxes) -> Stack:
    """Return a stack of pages that tifffile lists one by one."""
    key = series.keyframe
    pages = [series[number] for number in range(prod(axes.sizes))]
    there = [page is not None and any(page.dataoffsets) for page in pages]
    if not _is_placed(series):
        numbers = [MISSING if page is None else page.treeindex[0] for page in pages]
        sub = key.treeindex[1] if key.is_subifd else None
        return Stack(axes, Pages(np.zeros(len(pages), np.int32), np.array(numbers, np.int64), sub))
    own = Path(key.parent.filehandle.path)
    homes = [own if page is None else Path(page.parent.filehandle.path) for page in pages]
    paths = list(dict.fromkeys([own, *homes]))
    first = {own: key.treeindex[0]}  # the pages of each file are stored alike
    numbers = [first.get(home, 0) if known else MISSING for home, known in zip(homes, there, strict=True)]
    file = np.array([paths.index(home) for home in homes], np.int32)
    return Stack(
        axes,
        Pages(file, np.array(numbers, np.int64), placed=_placed(pages, len(key.dataoffsets))),
        tuple(map(str, paths)) if len(paths) > 1 else (),
    )


def _is_placed(series: tifffile.TiffPageSeries) -> bool:
    if series.kind == "lsm":  # only then tifffile corrects anything
        return series.keyframe.compression != 1 or series.keyframe.parent.filehandle.size >= LARGEST_OFFSET
    return series.kind in PLACED_KINDS


def _placed(pages: Sequence[tifffile.TiffPage | tifffile.TiffFrame | None], count: int) -> Placed:
    """Return where the strips or tiles of each page are, `count` of them; 0 for a page that is not there."""
    columns = []
    for name in ("dataoffsets", "databytecounts"):
        rows = [(0,) * count if page is None else getattr(page, name) for page in pages]
        columns.append(np.array([row if len(row) == count else (0,) * count for row in rows], np.int64))
    return Placed(*columns)


def native_levels(
    stacks: Sequence[Stack],
    grid: NDArray[np.int64],
    files: TiffFiles,
    paths: Sequence[str],
    full: TiffPixels,
    warnings: list[str],
) -> tuple[NativeLevel, ...]:
    """Return the lower levels, if all of them have the pages of level 0 and each is smaller than the last.

    Parameters
    ----------
    stacks
        The pages of each lower level, largest first.
    grid
        Which of them, by their numbers, are at t, c, z: array (t, c, z).
    files, paths
        Where the pages are.
    full
        Level 0.
    warnings
        Gets a line where the levels are not used.
    """
    levels: list[NativeLevel] = []
    above = full
    for number, stack in enumerate(stacks, 1):
        if stack.pages.page.size <= grid.max():
            reason = f"has {stack.pages.page.size} pages, the image more"
        else:
            try:
                pixels = make_pixels(files, paths, stack.pages.at(grid))
                reason = _unfit(pixels, above)
            except (ReadError, UnsupportedInput) as error:  # nobody has asked for them yet
                reason = f"cannot be read: {error}"
        if reason:
            warnings.append(f"lower levels are not used: level {number} {reason}")
            return ()
        levels.append(native_level(full.shape, pixels))
        above = pixels
    return tuple(levels)


def _unfit(pixels: TiffPixels, above: TiffPixels) -> str:
    """Return why a level cannot be the one below another, empty where it can."""
    if pixels.dtype != above.dtype:
        return f"is of type {pixels.dtype.name}, the image of {above.dtype.name}"
    if pixels.shape[:2] != above.shape[:2]:
        return "has other time points or channels"
    if any(a > b for a, b in zip(pixels.shape, above.shape, strict=True)):
        return "is larger than the level above it"
    return ""
