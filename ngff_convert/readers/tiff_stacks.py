"""The pages of an image in the order in which its files count them, and the levels that are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.readers.native_levels import native_level
from ngff_convert.readers.tiff_axes import PageAxes
from ngff_convert.readers.tiff_pixels import MISSING, Pages, Placed, make_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile
    from numpy.typing import NDArray

    from ngff_convert.model import NativeLevel
    from ngff_convert.readers.tiff_files import TiffFiles
    from ngff_convert.readers.tiff_pixels import TiffPixels

PLACED_KINDS = ("lsm", "stk")
"""Formats whose pages do not tell where their pixels are; tifffile knows."""


@dataclass(frozen=True, eq=False, slots=True)
class Stack:
    """Pages in the order in which they are counted.

    Attributes
    ----------
    axes
        Along what they are counted.
    pages
        Where each of them is.
    """

    axes: PageAxes
    pages: Pages

    def repeated(self, outer: PageAxes, file: NDArray[np.int32]) -> Stack:
        """Return the pages of many files that are all like this one's.

        Parameters
        ----------
        outer
            Along what the files are counted.
        file
            For each place there, C order, the number of the file, or `MISSING`.
        """
        each = prod(self.axes.sizes)
        axes = PageAxes(outer.letters + self.axes.letters, outer.sizes + self.axes.sizes)
        page = np.tile(self.pages.page, file.size)
        page[np.repeat(file == MISSING, each)] = MISSING
        plane = None if self.pages.plane is None else np.tile(self.pages.plane, file.size)
        return Stack(axes, Pages(np.repeat(file, each), page, self.pages.sub, plane))


def every_series(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the series of pages that tifffile finds in a file, but for those without pixels."""
    # Counting the pages finds a chain that leads back into itself, which tifffile would follow for ever.
    len(tif.pages)
    return [series for series in tif.series if prod(series.shape)]


def stack_of(series: tifffile.TiffPageSeries) -> Stack:
    """Return the pages of a series that tifffile found in one file."""
    axes, shape = series.get_axes(squeeze=True), series.get_shape(squeeze=True)
    key = series.keyframe
    outer = len(shape) - len(key.shape)
    n_pages = prod(shape) // prod(key.shape)
    one_piece = n_pages > 1 and series.dataoffset is not None
    apart = _imagej_pages_apart(series, key) if one_piece else 0
    if apart:
        page_axes = PageAxes(axes[:outer], shape[:outer]) if apart == n_pages else PageAxes("Q", (apart,))
        return Stack(page_axes, Pages(np.zeros(apart, np.int32), np.arange(apart)))
    if outer >= 0 and shape[outer:] == key.shape and (one_piece or len(series) == n_pages):
        page_axes = PageAxes(axes[:outer], shape[:outer])
    else:  # the file claims other numbers than its pages have: the pages are what is there
        page_axes = PageAxes("Q", (len(series),))
        one_piece = False
        n_pages = len(series)
    sub = key.treeindex[1] if key.is_subifd else None
    file = np.zeros(n_pages, np.int32)
    if one_piece:
        # ImageJ's files of over 4 GB have one page for all planes; for others it saves reading the pages.
        return Stack(page_axes, Pages(file, np.full(n_pages, key.treeindex[0]), sub, np.arange(n_pages)))
    pages = [series[number] for number in range(n_pages)]
    page = np.array([MISSING if page is None else page.treeindex[0] for page in pages], np.int64)
    return Stack(page_axes, Pages(file, page, sub, placed=_placed(series, pages)))


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


def _placed(
    series: tifffile.TiffPageSeries, pages: Sequence[tifffile.TiffPage | tifffile.TiffFrame | None]
) -> Placed | None:
    if series.kind not in PLACED_KINDS:
        return None
    there = [page for page in pages if page is not None]
    offsets, sizes = ([getattr(page, name) for page in there] for name in ("dataoffsets", "databytecounts"))
    return Placed(np.array(offsets, np.int64), np.array(sizes, np.int64))


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
            pixels = make_pixels(files, paths, stack.pages.at(grid))
            reason = _unfit(pixels, above)
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
