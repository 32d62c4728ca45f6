"""An open series of TIFF files that are one image: the first tells what each of them holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from ngff_convert.errors import ReadError
from ngff_convert.model import Channel, Image
from ngff_convert.readers.contract import read_head
from ngff_convert.readers.file_names import channel_names, gaps_in_words
from ngff_convert.readers.ome_tiff_source import alone_in
from ngff_convert.readers.orientation import upright
from ngff_convert.readers.tiff_axes import PageAxes, asked, grids, named, overruled
from ngff_convert.readers.tiff_files import TiffFiles, damage_named, logged
from ngff_convert.readers.tiff_head import holds_ome_xml
from ngff_convert.readers.tiff_metadata import Described, describe
from ngff_convert.readers.tiff_pixels import make_pixels
from ngff_convert.readers.tiff_source import orientation
from ngff_convert.readers.tiff_stacks import Stack, native_levels, stack_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.file_names import Arrangement


@dataclass(frozen=True, eq=False, slots=True)
class FileGrid:
    """How files are counted.

    Attributes
    ----------
    names
        The files.
    axes
        Along what; without those of one step.
    file
        For each place there, C order, the number of the file, or -1 where it is missing.
    channels
        Names of the channels along c, None where a file name tells none; empty where c is not counted.
    notes, missing
        What is odd; what should be there and is not.
    in_order
        Whether the files are counted as they come, and the user says along what.
    """

    names: tuple[str, ...]
    axes: PageAxes
    file: NDArray[np.int32]
    channels: tuple[str | None, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    in_order: bool = False


def by_names(arrangement: Arrangement) -> FileGrid:
    """Count files as their names tell."""
    sizes = arrangement.index.shape
    counted = [(axis.upper(), n) for axis, n in zip("tcz", sizes, strict=True) if n > 1]
    notes = [f"files are counted by their names, which are {arrangement.pattern}"]
    if arrangement.unmatched:
        notes.append(f"{arrangement.unmatched} other files do not match and are left out")
    gaps = int((arrangement.index < 0).sum())
    lost = f"{gaps} of {arrangement.index.size} files are missing: {gaps_in_words(arrangement)}"
    return FileGrid(
        names=arrangement.files,
        axes=PageAxes("".join(axis for axis, _ in counted), tuple(n for _, n in counted)),
        file=arrangement.index.reshape(-1),
        channels=channel_names(arrangement) if "c" in arrangement.axes else (),
        notes=tuple(notes),
        missing=(lost,) if gaps else (),
    )


def by_order(names: Sequence[str]) -> FileGrid:
    """Count files as they come."""
    stems = tuple(Path(name).stem.removesuffix(".ome") for name in names)
    axes = PageAxes("Q", (len(names),)) if len(names) > 1 else PageAxes("", ())
    return FileGrid(tuple(names), axes, np.arange(len(names), dtype=np.int32), stems, in_order=True)


class FileSeriesSource:
    """An open series of files.

    Parameters
    ----------
    name
        What the image is called.
    grid
        How the files are counted.
    reading
        What the user says.
    """

    def __init__(self, name: str, grid: FileGrid, reading: Reading) -> None:
        self.paths = [str(Path(name).absolute()) for name in grid.names]
        self.images: list[Image] = []
        self.warnings = list(grid.notes)
        self.missing = list(grid.missing)
        self._files = TiffFiles()
        try:
            with self._files.using(self.paths[0]):  # refuses what is no TIFF
                pass
            first = _first(self.paths[0], self._files, grid, reading, self.warnings)
            self.images = _images(name, self.paths, grid, first, self._files, self.warnings)
        except BaseException:  # whatever it is, nobody else can close the files
            self._files.close()
            raise

    def __enter__(self) -> FileSeriesSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._files.close()


@dataclass(frozen=True, eq=False, slots=True)
class _First:
    """What the first file holds, and so each of them.

    Attributes
    ----------
    stack, lower
        Its pages, and those of its lower levels.
    axes
        Along what the pages of all files are counted.
    described
        What it says of itself.
    orientation
        Value of the tag.
    n_pages
        Length of its chain of pages.
    """

    stack: Stack
    lower: tuple[Stack, ...]
    axes: PageAxes
    described: Described
    orientation: int
    n_pages: int


def _first(path: str, files: TiffFiles, grid: FileGrid, reading: Reading, warnings: list[str]) -> _First:
    with files.using(path) as file:
        n_pages = file.n_pages()
    if holds_ome_xml(path, read_head(path)):
        ome = alone_in(path, files, warnings)
        if ome is not None:
            axes = _axes(grid, ome.stack.axes, reading, path)
            return _First(ome.stack, ome.lower, axes, ome.described, ome.orientation, n_pages)
    with logged(warnings), damage_named(path), tifffile.TiffFile(path, is_ome=False) as tif:
        every = [series for series in tif.series if prod(series.shape)]
        if not every:
            raise ReadError(f"{path}: a TIFF file without a page that has pixels")
        if len(every) > 1:
            warnings.append(f"only the first of the {len(every)} images of each file is taken")
        series = every[0]
        stack = stack_of(series)
        axes = _axes(grid, stack.axes, reading, path)
        own = PageAxes(axes.letters[len(grid.axes.letters) :], axes.sizes[len(grid.axes.sizes) :])
        [sizes] = {g.shape for g in grids(own)} if not grid.in_order else {(1, 1, 1)}
        samples = series.keyframe.samplesperpixel
        t, c, z = sizes
        described = describe(tif, series, (t, c * samples, z), samples, warnings)
        lower = tuple(stack_of(level) for level in series.levels[1:])
        return _First(stack, lower, axes, described, orientation(series.keyframe), n_pages)


def _axes(grid: FileGrid, own: PageAxes, reading: Reading, path: str) -> PageAxes:
    """Return along what the pages of all files are counted: the files' axes, then those of a file's pages."""
    every = PageAxes(grid.axes.letters + own.letters, grid.axes.sizes + own.sizes)
    if grid.in_order:
        return asked(every, reading, f"{path} and the others")
    if reading.axes is None:
        return named(every, path)
    inner = overruled(own, reading.axes, reading.shape, path)
    return PageAxes(grid.axes.letters + inner.letters, grid.axes.sizes + inner.sizes)


def _images(
    name: str, paths: list[str], files_grid: FileGrid, first: _First, files: TiffFiles, warnings: list[str]
) -> list[Image]:
    every = [stack.repeated(files_grid.axes, files_grid.file) for stack in (first.stack, *first.lower)]
    images = []
    found = grids(first.axes)
    for number, grid in enumerate(found):
        pixels = make_pixels(files, paths, every[0].pages.at(grid), first.n_pages)
        described = first.described
        same_t = len(described.time_stamps) == pixels.shape[0]
        image = Image(
            name=name if len(found) == 1 else f"{name} {number}",
            pixels=pixels,
            channels=_channels(files_grid, described.channels, pixels.shape[1]),
            calibration=described.calibration,
            time_stamps=described.time_stamps if same_t else (),
            native_levels=native_levels(every[1:], grid, files, paths, pixels, warnings),
            original_metadata=described.original_metadata,
        )
        images.append(upright(image, first.orientation, warnings))
    return images


def _channels(grid: FileGrid, own: Sequence[Channel], count: int) -> tuple[Channel, ...]:
    """Return channels named by the files, those of each file among them; else those that a file describes."""
    if len(grid.channels) * len(own) == count and len(grid.channels) > 1:
        return tuple(
            replace(channel, name=" ".join(filter(None, (name, channel.name))) or None)
            for name in grid.channels
            for channel in own
        )
    return tuple(own) if len(own) == count else (Channel(),) * count


def name_of(path: str) -> str:
    """Return what an image is called whose files match a pattern: what stands before the first brace.

    Examples
    --------
    >>> name_of("run/scan_t{t}_c{c}.tif"), name_of("run 3/T{t}/{z}.tif"), name_of("run 3")
    ('scan', 'run 3', 'run 3')
    """
    parts = path.rstrip("/").split("/")
    at = next((i for i, part in enumerate(parts) if "{" in part), len(parts))
    stem = re.sub(r"[^\W_]{0,2}$", "", parts[at].partition("{")[0]) if at < len(parts) else ""
    return stem.strip(" _-.*?") or (parts[at - 1] if at else "")
