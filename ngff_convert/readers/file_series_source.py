"""An open series of TIFF files that are one image: the first tells what each of them holds.

Only as many files are opened as there are channels; what all of them hold is checked as they are read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.model import Channel, Image
from ngff_convert.readers.contract import read_head
from ngff_convert.readers.file_names import channel_names, gaps_in_words, span
from ngff_convert.readers.file_patterns import shown
from ngff_convert.readers.ome_tiff_source import Alone, alone_in
from ngff_convert.readers.open_files import PooledSource
from ngff_convert.readers.orientation import upright
from ngff_convert.readers.tiff_axes import PageAxes, asked, grids, named, overruled
from ngff_convert.readers.tiff_files import TiffFiles, damage_named, logged, own_tiff
from ngff_convert.readers.tiff_head import holds_ome_xml
from ngff_convert.readers.tiff_metadata import describe
from ngff_convert.readers.tiff_pixels import make_pixels, true_colors
from ngff_convert.readers.tiff_source import orientation
from ngff_convert.readers.tiff_stacks import every_series, native_levels, stack_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    of_channel
        Number of a file of each of these.
    notes, missing
        What is odd; what should be there and is not.
    in_order
        Whether the files are counted as they come, and the user says along what.
    """

    names: tuple[str, ...]
    axes: PageAxes
    file: NDArray[np.int32]
    channels: tuple[str | None, ...] = ()
    of_channel: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    in_order: bool = False


def by_names(arrangement: Arrangement) -> FileGrid:
    """Count files as their names tell."""
    index = arrangement.index
    counted = [(axis.upper(), n) for axis, n in zip("tcz", index.shape, strict=True) if n > 1]
    words = ", ".join(span(arrangement.labels))
    notes = [f"file names are read as {shown(arrangement.pattern)}{': ' * bool(words)}{words}"]
    if arrangement.unmatched:
        notes.append(f"{arrangement.unmatched} other files do not match and are left out")
    gaps = int((index < 0).sum())
    are = "is" if gaps == 1 else "are"
    lost = f"{gaps} of {index.size} files {are} missing: {gaps_in_words(arrangement)}"
    first_of_c = np.where(index < 0, index.size, index).min(axis=(0, 2))
    return FileGrid(
        names=arrangement.files,
        axes=PageAxes("".join(axis for axis, _ in counted), tuple(n for _, n in counted)),
        file=index.reshape(-1),
        channels=channel_names(arrangement) if "c" in arrangement.axes else (),
        of_channel=tuple(first_of_c.tolist()) if "c" in arrangement.axes else (),
        notes=tuple(notes),
        missing=(lost,) if gaps else (),
    )


def by_order(names: Sequence[str]) -> FileGrid:
    """Count files as they come; should each be a channel, its name is that of the channel."""
    n = len(names)
    note = f"files are counted as they come, from {shown(names[0])} to {shown(names[-1])}"
    return FileGrid(
        tuple(names),
        axes=PageAxes("Q", (n,)) if n > 1 else PageAxes("", ()),
        file=np.arange(n, dtype=np.int32),
        channels=tuple(Path(name).stem.removesuffix(".ome") for name in names),
        of_channel=tuple(range(n)),
        notes=(note,) if n > 1 else (),
        in_order=True,
    )


class FileSeriesSource(PooledSource[TiffFiles]):
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
        folder = str(Path.cwd())
        paths = (os.path.join(folder, name) for name in grid.names)  # noqa: PTH118 - there are many
        super().__init__(TiffFiles(), paths)
        self.warnings += grid.notes
        self.missing += grid.missing
        with self.opening():
            self.images = opened_series(name, self.paths, grid, reading, self._files, self.warnings)


def opened_series(
    name: str,
    paths: Sequence[str],
    grid: FileGrid,
    reading: Reading,
    files: TiffFiles,
    warnings: list[str],
    own: Sequence[Sequence[Channel]] = (),
) -> list[Image]:
    """Open a series of files.

    Parameters
    ----------
    name, grid, reading
        As `FileSeriesSource` has them.
    paths
        The files of the grid, where they can be opened.
    files, warnings
        Of the source.
    own
        What files say of each channel, where that is known already; empty asks one file for each.
    """
    with files.using(paths[0]):  # refuses what is no TIFF
        pass
    first = _first(paths[0], files, grid, reading, warnings)
    if grid.in_order and (first.axes.letters[:1], first.axes.sizes[:1]) != ("C", grid.axes.sizes):
        grid = replace(grid, channels=(), of_channel=())
    if not own:
        own = channels_in([paths[n] for n in grid.of_channel], files, grid, reading)
    own = own or [first.file.described.channels]
    return _images(name, paths, grid, first, own, files, warnings)


def channels_in(
    paths: Sequence[str], files: TiffFiles, grid: FileGrid, reading: Reading
) -> list[Sequence[Channel]]:
    """Return what each of some files says of its channels."""
    return [_first(path, files, grid, reading, []).file.described.channels for path in paths]


@dataclass(frozen=True, eq=False, slots=True)
class _First:
    """What the first file holds, and so each of them.

    Attributes
    ----------
    file
        Its image.
    axes
        Along what the pages of all files are counted.
    n_pages
        Length of its chain of pages.
    """

    file: Alone
    axes: PageAxes
    n_pages: int


def _first(path: str, files: TiffFiles, grid: FileGrid, reading: Reading, warnings: list[str]) -> _First:
    with files.using(path) as file:
        n_pages = file.n_pages()
    if holds_ome_xml(path, read_head(path)):
        ome = alone_in(path, files, warnings)
        if ome is not None:
            axes = _axes(grid, ome.stack.axes, reading, path)
            return _First(ome, axes, n_pages)
    with logged(warnings), damage_named(path), own_tiff(path) as tif:
        every = every_series(tif)
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
        return _First(Alone(stack, lower, described, orientation(series.keyframe)), axes, n_pages)


def _axes(grid: FileGrid, own: PageAxes, reading: Reading, path: str) -> PageAxes:
    """Return along what the pages of all files are counted: the files' axes, then those of a file's pages."""
    every = PageAxes(grid.axes.letters + own.letters, grid.axes.sizes + own.sizes)
    if grid.in_order:
        return asked(every, reading, f"the series of {len(grid.names)} files from {path} on")
    if reading.axes is None:
        return named(every, path)
    inner = overruled(own, reading.axes, reading.shape, path)
    return PageAxes(grid.axes.letters + inner.letters, grid.axes.sizes + inner.sizes)


def _images(
    name: str,
    paths: Sequence[str],
    files_grid: FileGrid,
    first: _First,
    own: Sequence[Sequence[Channel]],
    files: TiffFiles,
    warnings: list[str],
) -> list[Image]:
    every = [
        stack.repeated(files_grid.axes, files_grid.file, paths[0])
        for stack in (first.file.stack, *first.file.lower)
    ]
    images = []
    found = grids(first.axes)
    for number, grid in enumerate(found):
        pixels = make_pixels(files, paths, every[0].pages.at(grid), first.n_pages)
        described = first.file.described
        same_t = len(described.time_stamps) == pixels.shape[0]
        image = Image(
            name=name if len(found) == 1 else f"{name} {number}",
            pixels=pixels,
            channels=true_colors(_channels(files_grid, own, pixels.shape[1]), pixels),
            calibration=described.calibration,
            time_stamps=described.time_stamps if same_t else (),
            native_levels=native_levels(every[1:], grid, files, paths, pixels, warnings),
            original_metadata=described.original_metadata,
        )
        images.append(upright(image, first.file.orientation, warnings))
    return images


def _channels(grid: FileGrid, own: Sequence[Sequence[Channel]], count: int) -> tuple[Channel, ...]:
    """Return what is known of each channel.

    Parameters
    ----------
    grid
        Which files are a channel, or several, of their own, and how their names call it.
    own
        What each of these says of its channels; where there are none, what the first file says.
    count
        Number of channels.
    """
    each = len(own[0])
    if not grid.channels or len(grid.channels) * each != count or any(len(c) != each for c in own):
        return tuple(own[0]) if each == count else (Channel(),) * count
    if each > 1:
        return tuple(
            replace(channel, name=f"{label} {channel.name or number}" if label else channel.name)
            for label, channels in zip(grid.channels, own, strict=True)
            for number, channel in enumerate(channels)
        )
    return tuple(
        replace(channel, name=(channel.name or label) if grid.in_order else (label or channel.name))
        for label, [channel] in zip(grid.channels, own, strict=True)
    )
