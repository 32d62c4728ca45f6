"""An open TIFF file that is no OME-TIFF: its images, put together from what tifffile finds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Image
from ngff_convert.readers.open_files import PooledSource
from ngff_convert.readers.orientation import upright
from ngff_convert.readers.tiff_axes import asked, grids, kept_sizes
from ngff_convert.readers.tiff_files import TiffFiles, damage_named, logged, own_tiff
from ngff_convert.readers.tiff_metadata import describe
from ngff_convert.readers.tiff_pixels import make_pixels, true_colors
from ngff_convert.readers.tiff_stacks import every_series, native_levels, stack_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile

    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.tiff_axes import PageAxes
    from ngff_convert.readers.tiff_stacks import Stack

ORIENTATION = 274

_TRUNCATED = re.compile(r"invalid page offset|Tag 270 invalid value offset")
"""What tifffile says of pages, and of a description, that should be beyond the end of the file."""


class TiffSource(PooledSource[TiffFiles]):
    """An open TIFF file.

    Attributes
    ----------
    images
        One for each series of pages that tifffile finds, or for each position in one.
    """

    def __init__(self, path: str, reading: Reading) -> None:
        super().__init__(TiffFiles(), [path])
        with self.opening():
            with self._files.using(path):  # refuses what is no TIFF
                pass
            self.images, self.paths = read_images(path, self._files, reading, self.warnings)
            self.missing += truncation(self.warnings)


def truncation(warnings: Sequence[str]) -> tuple[str, ...]:
    """Return a line where what was said of a file, on reading its structure, tells that its end is gone."""
    if any(map(_TRUNCATED.search, warnings)):
        return ("the file ends before all of its pages, as if truncated",)
    return ()


def read_images(
    path: str, files: TiffFiles, reading: Reading, warnings: list[str]
) -> tuple[list[Image], list[str]]:
    """Put the images of a TIFF file together from its own structure; returns them, and their files.

    Raises
    ------
    ReadError
        It is damaged.
    UnsupportedInput
        None of its images is of a kind that can be read.
    OptionError
        The axes that the user states do not fit.
    """
    images: list[Image] = []
    paths = {path: None}
    refused: list[UnsupportedInput] = []
    with logged(warnings), damage_named(path), own_tiff(path) as tif:
        every = every_series(tif)
        if len(every) < len(tif.series):
            warnings.append("pages without pixels are left out")
        for number, series in enumerate(every):
            where = path if len(every) == 1 else f"{path}: image {number}"
            try:
                stack = stack_of(series)
                axes = asked(stack.axes, reading, where)
                if reading.axes is None and not set(stack.axes.letters).isdisjoint("YX"):
                    stated = series.get_axes(squeeze=True)
                    warnings.append(
                        f"axes {stated}, as the file has them, are not those of pages: rows are y"
                    )
                images += _series_images(path, files, tif, series, stack, axes, warnings)
                paths |= dict.fromkeys(stack.paths)
            except UnsupportedInput as error:
                refused.append(error)
    if not images:
        raise (
            refused[0]
            if refused
            else ReadError(
                f"{path}: a TIFF file without a page that has pixels, as a truncated one is; copy it again"
            )
        )
    warnings += [f"left out: {error}" for error in refused]
    return images, list(paths)


def _series_images(
    path: str,
    files: TiffFiles,
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    stack: Stack,
    axes: PageAxes,
    warnings: list[str],
) -> list[Image]:
    lower = [stack_of(level) for level in series.levels[1:]]
    if series.transform is not None:
        warnings.append("pixels are the stored values, not on the scale that the file states for display")
    paths = stack.paths or (path,)
    every = grids(axes)
    images = []
    for number, grid in enumerate(every):
        pixels = make_pixels(files, paths, stack.pages.at(grid))
        t, c, z = pixels.shape[:3]
        described = describe(tif, series, (t, c, z), pixels.samples, warnings)
        image = Image(
            name=described.name if len(every) == 1 else f"{described.name} {number}".strip(),
            pixels=pixels,
            channels=true_colors(described.channels, pixels),
            calibration=kept_sizes(described.calibration, stack.axes, axes, warnings),
            time_stamps=described.time_stamps,
            native_levels=native_levels(lower, grid, files, paths, pixels, warnings),
            original_metadata=described.original_metadata,
        )
        images.append(upright(image, orientation(series.keyframe), warnings))
    return images


def orientation(page: tifffile.TiffPage) -> int:
    """Return the value of a page's tag Orientation; 1, as it is seen, where it has none, or no number."""
    value = page.tags.valueof(ORIENTATION, 1)
    return int(value) if isinstance(value, int) else 1
