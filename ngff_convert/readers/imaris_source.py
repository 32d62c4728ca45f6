"""An open Imaris file: its images, put together from what the other ``imaris_`` modules find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Image, NativeLevel
from ngff_convert.readers.contract import LazyPixels
from ngff_convert.readers.hdf5_chunks import Storage, inspect, read_box, storage_of
from ngff_convert.readers.hdf5_files import HDF5_ERRORS, Hdf5Files, damage_named, locate
from ngff_convert.readers.imaris_attributes import attributes, number, sections, size_zyx
from ngff_convert.readers.imaris_layout import (
    ImageGroup,
    LevelGroup,
    describe_missing,
    grid,
    list_images,
    missing,
    outside,
)
from ngff_convert.readers.imaris_metadata import (
    calibration,
    channels,
    given_name,
    histogram_window,
    time_stamps,
)

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from ngff_convert.model import Box, Shape
    from ngff_convert.readers.imaris_attributes import Section

MAX_HISTOGRAM_BINS = 2**16

MAX_NAMED_FILES = 3


@dataclass(frozen=True, eq=False)
class ImarisPixels(LazyPixels):
    """One level of an image: a 3-D dataset for each time point and channel.

    Attributes
    ----------
    files, path
        Where to read.
    level
        Path of the level's group.
    stored_zyx
        Size of the first dataset, padding included, voxels.
    missing
        (t, c) that have no group and read as 0.
    """

    files: Hdf5Files
    path: str
    level: str
    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    compression: str
    stored_zyx: tuple[int, ...]
    missing: frozenset[tuple[int, int]]

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box, one dataset after the other."""
        out = np.empty(box.shape, self.dtype)
        for t in range(box.start[0], box.stop[0]):
            for c in range(box.start[1], box.stop[1]):
                target = out[t - box.start[0], c - box.start[1]]
                if (t, c) in self.missing:
                    target[...] = 0
                else:
                    read_box(self.files, self._storage(t, c), box.start[2:], target)
        return out

    def _storage(self, t: int, c: int) -> Storage:
        group = f"{self.level}/TimePoint {t}/Channel {c}"
        storage = storage_of(self.files, self.path, f"{group}/Data")
        where = f"{self.path}: {group}"
        if storage is None:
            raise ReadError(f"{where} has no dataset Data")
        if storage.dtype.newbyteorder("=") != self.dtype:
            raise ReadError(f"{where} holds {storage.dtype.name}, the image is {self.dtype.name}")
        if storage.shape != self.stored_zyx:
            stated = _stated_size(self.files, self.path, group) or storage.shape
            if stated != self.shape[2:] or not _fits(stated, storage.shape):
                raise ReadError(
                    f"{where} is of size {_by(stated)}, the image of {_by(self.shape[2:])} (z, y, x)"
                )
        return storage


class ImarisSource:
    """An open Imaris file."""

    def __init__(self, path: str) -> None:
        self._files = Hdf5Files()
        self._images: list[Image] = []
        self._warnings: list[str] = []
        try:
            groups = list_images(self._files, path)
            if not groups:
                raise UnsupportedInput(
                    f"{path}: an HDF5 file, but with no pixels in the layout of Imaris 5.5"
                )
            for group in groups:
                noted: list[str] = []
                self._images.append(_image(self._files, path, group, noted))
                prefix = f"{group.name}: " if len(groups) > 1 else ""
                self._warnings += [prefix + line for line in noted]
        except BaseException:
            self._files.close()
            raise

    @property
    def images(self) -> tuple[Image, ...]:
        """Every image of the file."""
        return tuple(self._images)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the file."""
        return tuple(self._warnings)

    def __enter__(self) -> ImarisSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._files.close()


def _image(files: Hdf5Files, path: str, group: ImageGroup, warnings: list[str]) -> Image:
    described = sections(files, path, group.info, warnings)
    if far := outside(path, group.targets):
        more = f" and {len(far) - MAX_NAMED_FILES} more" if len(far) > MAX_NAMED_FILES else ""
        warnings.append(
            "pixels come from outside the file's folder: " + ", ".join(far[:MAX_NAMED_FILES]) + more
        )
    n_t, n_c = grid(group.levels[0], path)
    gaps = missing(group.levels[0], n_t, n_c)
    if gaps:
        warnings.append(f"never written, read as 0: {describe_missing(gaps, n_c)}")
    image_size = size_zyx(described.get("Image", {}), "")
    pixels = _pixels(files, path, group.levels[0], (n_t, n_c), image_size, warnings)
    if pixels is None:
        raise ReadError(f"{path}: {group.levels[0].name}: no group has a dataset Data")
    stamps, t_s = time_stamps(described.get("TimeInfo", {}), n_t, warnings)
    return Image(
        name=given_name(described.get("Image", {})) or "",
        pixels=pixels,
        channels=channels(described, n_c, lambda c: _window(files, path, group.levels[0], c), warnings),
        calibration=calibration(
            described, (pixels.shape[2], pixels.shape[3], pixels.shape[4]), t_s, warnings
        ),
        time_stamps=stamps,
        native_levels=_native_levels(files, path, group, pixels, warnings),
        original_metadata=described,
    )


def _pixels(
    files: Hdf5Files,
    path: str,
    level: LevelGroup,
    n_tc: tuple[int, int],
    image_size: tuple[int, int, int] | None,
    warnings: list[str],
) -> ImarisPixels | None:
    """Describe a level by the first of its datasets; the others are held against it when they are read."""
    for t, c in sorted(level.pairs):
        storage = inspect(files, path, level.data(t, c))
        if storage is not None:
            break
    else:
        return None
    where = f"{path}: {level.data(t, c)}"
    kind, itemsize = storage.dtype.kind, storage.dtype.itemsize
    if kind not in "iuf" or itemsize > 8:
        raise UnsupportedInput(f"{where}: voxels of type {storage.dtype} are not supported")
    if len(storage.shape) != 3 or 0 in storage.shape:
        raise UnsupportedInput(f"{where}: a dataset of shape {storage.shape}, not of three axes z, y, x")
    stated = _stated_size(files, path, f"{level.name}/TimePoint {t}/Channel {c}")
    size = _true_size(level, storage, stated, image_size, warnings)
    decoded = storage.chunks or (1, 1, size[2])  # without chunks, any row is read by itself
    chunks = [min(n, chunk) for n, chunk in zip(size, decoded, strict=True)]
    return ImarisPixels(
        files=files,
        path=path,
        level=level.name,
        shape=(*n_tc, *size),
        dtype=storage.dtype.newbyteorder("="),
        chunks=(1, 1, chunks[0], chunks[1], chunks[2]),
        compression=storage.compression,
        stored_zyx=storage.shape,
        missing=missing(level, *n_tc),
    )


def _stated_size(files: Hdf5Files, path: str, group: str) -> tuple[int, int, int] | None:
    """Return ``ImageSizeZ``, Y and X of a channel group, voxels."""
    place = locate(files, path, group)
    if place is None:
        return None
    with files.using(place.path) as file, damage_named(f"{place.path}: {place.name}"):
        return size_zyx(attributes(file.h5[place.name]), "ImageSize")


def _true_size(
    level: LevelGroup,
    storage: Storage,
    stated: tuple[int, int, int] | None,
    image_size: tuple[int, int, int] | None,
    warnings: list[str],
) -> tuple[int, int, int]:
    """Choose the size without padding: of the channel group, else of the image, else the stored one."""
    for source, size in (
        (f"ImageSize of {level.name}", stated),
        ("X, Y, Z of DataSetInfo/Image", image_size),
    ):
        if size is None:
            continue
        if _fits(size, storage.shape):
            return size
        warnings.append(
            f"{source} states {_by(size)} voxels (z, y, x), only {_by(storage.shape)} are stored; ignored"
        )
    z, y, x = storage.shape
    warnings.append(
        f"{level.name} does not state its size: all {_by(storage.shape)} stored voxels (z, y, x) are taken, "
        "padding included, if there is any, and the voxel size is too small then"
    )
    return z, y, x


def _fits(size: tuple[int, ...], stored: tuple[int, ...]) -> bool:
    return all(n <= s for n, s in zip(size, stored, strict=True))


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _window(files: Hdf5Files, path: str, level: LevelGroup, c: int) -> tuple[float, float] | None:
    """Return the display window of a channel by the histogram of its first time point."""
    t = next((t for t in sorted(level.channels) if c in level.channels[t]), None)
    place = None if t is None else locate(files, path, f"{level.name}/TimePoint {t}/Channel {c}")
    if place is None:
        return None
    with files.using(place.path) as file:
        try:
            group = file.h5[place.name]
            histogram = group["Histogram"]
            if len(histogram.shape) != 1 or not 2 <= histogram.shape[0] <= MAX_HISTOGRAM_BINS:
                return None
            counts = histogram[()].astype(float).tolist()
        except HDF5_ERRORS:  # a histogram is a convenience
            return None
        limits: Section = attributes(group)
    return histogram_window(counts, number(limits.get("HistogramMin")), number(limits.get("HistogramMax")))


def _native_levels(
    files: Hdf5Files, path: str, group: ImageGroup, full: ImarisPixels, warnings: list[str]
) -> tuple[NativeLevel, ...]:
    """Return the lower levels, if they are without a gap in number, time and channels."""
    numbers = sorted(group.levels)
    if numbers != list(range(len(numbers))):
        warnings.append(f"lower levels are not used: they are numbered {', '.join(map(str, numbers))}")
        return ()
    levels: list[NativeLevel] = []
    above = full
    for n in numbers[1:]:
        pixels, reason = _lower_level(files, path, group, n, above)
        if pixels is None:
            warnings.append(f"lower levels are not used: {group.levels[n].name} {reason}")
            return ()
        z, y, x = (factor(a, b) for a, b in zip(full.shape[2:], pixels.shape[2:], strict=True))
        # A voxel of a lower level is the mean of those it covers, so its centre is theirs.
        levels.append(NativeLevel(pixels, (z, y, x), ((z - 1) / 2, (y - 1) / 2, (x - 1) / 2)))
        above = pixels
    return tuple(levels)


def _lower_level(
    files: Hdf5Files, path: str, group: ImageGroup, n: int, above: ImarisPixels
) -> tuple[ImarisPixels | None, str]:
    """Return a lower level, or the reason why it cannot be used."""
    level = group.levels[n]
    if level.channels != group.levels[0].channels:
        return None, "lacks time points or channels that level 0 has, or has others"
    noted: list[str] = []
    pixels = _pixels(files, path, level, (above.shape[0], above.shape[1]), None, noted)
    if pixels is None:
        return None, "has no dataset Data"
    if noted:
        return None, "does not state its size"
    if pixels.dtype != above.dtype:
        return None, f"is of type {pixels.dtype.name}, level 0 of {above.dtype.name}"
    if not _fits(pixels.shape[2:], above.shape[2:]):
        return None, "is larger than the level above it"
    return pixels, ""


def factor(full: int, reduced: int) -> float:
    """Return how many voxels of level 0 one voxel of a lower level covers along an axis.

    Imaris halves rounding down and drops what is left over, so its factors are powers of two although the
    sizes are not; others divide the whole extent.

    Examples
    --------
    >>> factor(333, 166), factor(333, 83), factor(300, 200), factor(5, 5)
    (2.0, 4.0, 1.5, 1.0)
    """
    halvings = next((k for k in range(full.bit_length()) if full >> k == reduced), None)
    return full / reduced if halvings is None else float(2**halvings)
