"""An open Imaris file: its images, put together from what the other ``imaris_`` modules find."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby, product
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Image
from ngff_convert.readers.contract import MAX_NAMED, LazyPixels, is_remote
from ngff_convert.readers.hdf5_chunks import Storage, index_bytes, inspect, ranges, read_box, storage_of
from ngff_convert.readers.hdf5_files import Hdf5Files
from ngff_convert.readers.hdf5_library import read_box_by_library
from ngff_convert.readers.hdf5_references import stored_chunks, without_any
from ngff_convert.readers.imaris_layout import (
    ImageGroup,
    LevelGroup,
    grid,
    list_images,
    missing,
    sections,
    stated_size,
    window,
)
from ngff_convert.readers.imaris_metadata import (
    by,
    calibration,
    channels,
    fits,
    given_name,
    size_zyx,
    time_stamps,
    true_size,
)
from ngff_convert.readers.native_levels import native_level
from ngff_convert.readers.open_files import PooledSource
from ngff_convert.readers.read_ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from ngff_convert.model import Box, NativeLevel, Shape, StoredChunks
    from ngff_convert.readers.read_ahead import Wanted


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
    index_bytes: int
    library: str

    shared = (
        "which chunks there are, and what datasets hold that only HDF5 can read, is as it says both times"
    )

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box, one dataset after the other."""
        with self._ahead(box):
            return self._read(box, read_box)

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read a box as HDF5 finds it."""
        with self._ahead(box):
            return self._read(box, read_box_by_library)

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where the chunks of every dataset lie; of groups that are missing, that there are none."""
        start, stop = within or ((0, 0), self.shape)
        every = product(range(self.shape[0]), range(self.shape[1]))
        some = next(pair for pair in every if pair not in self.missing)
        for t, c in product(range(start[0], stop[0]), range(start[1], stop[1])):
            if (t, c) not in self.missing:
                yield stored_chunks(self.files, self._storage(t, c), t, c, self.shape[2:])
            else:
                like = stored_chunks(self.files, self._storage(*some), t, c, self.shape[2:])
                yield without_any(like, fill=0)

    def _read(self, box: Box, read_dataset: Callable[..., None]) -> NDArray[Any]:
        out = np.empty(box.shape, self.dtype)
        for t in range(box.start[0], box.stop[0]):
            for c in range(box.start[1], box.stop[1]):
                target = out[t - box.start[0], c - box.start[1]]
                if (t, c) in self.missing:
                    target[...] = 0
                else:
                    read_dataset(self.files, self._storage(t, c), box.start[2:], target)
        return out

    def _ahead(self, box: Box) -> AbstractContextManager[None]:
        """Ask the server ahead for what a box takes, where the file lies on one."""
        return ahead(self._wanted(box)) if is_remote(self.path) else nullcontext()

    def _wanted(self, box: Box) -> Iterator[Wanted]:
        for t in range(box.start[0], box.stop[0]):
            for c in range(box.start[1], box.stop[1]):
                if (t, c) in self.missing:
                    continue
                storage = self._storage(t, c)
                with self.files.using(storage.place.path) as file:
                    wanted = file.wanted(ranges(storage, box.start[2:], box.shape[2:]))
                yield from wanted

    def _storage(self, t: int, c: int) -> Storage:
        group = f"{self.level}/TimePoint {t}/Channel {c}"
        storage = storage_of(self.files, self.path, f"{group}/Data")
        where = f"{self.path}: {group}"
        if storage is None:
            raise ReadError(f"{where} has no dataset Data")
        if storage.dtype.newbyteorder("=") != self.dtype:
            raise ReadError(f"{where} holds {storage.dtype.name}, the image is {self.dtype.name}")
        if len(storage.shape) != len(self.stored_zyx):
            raise ReadError(f"{where} holds a dataset of shape {storage.shape}, not of three axes z, y, x")
        if storage.shape != self.stored_zyx:
            stated = stated_size(self.files, self.path, group) or storage.shape
            if stated != self.shape[2:] or not fits(stated, storage.shape):
                raise ReadError(
                    f"{where} is of size {by(stated)}, the image of {by(self.shape[2:])} (z, y, x)"
                )
        return storage


class ImarisSource(PooledSource[Hdf5Files]):
    """An open Imaris file."""

    def __init__(self, path: str) -> None:
        super().__init__(Hdf5Files(), [path])
        with self.opening():
            groups = list_images(self._files, path)
            if not groups:
                raise UnsupportedInput(
                    f"{path}: an HDF5 file, but with no pixels in the layout of Imaris 5.5; "
                    "check that it is the file with the image"
                )
            images: list[Image] = []
            for group in groups:
                self.paths += [target for target in sorted(group.targets) if target not in self.paths]
                noted: list[str] = []
                images.append(_image(self._files, path, group, noted))
                prefix = f"{group.name}: " if len(groups) > 1 else ""
                self.warnings += [prefix + line for line in noted]
            self.images = images


def _image(files: Hdf5Files, path: str, group: ImageGroup, warnings: list[str]) -> Image:
    described = sections(files, path, group.info, warnings)
    n_t, n_c = grid(group.levels[0], path)
    gaps = missing(group.levels[0], n_t, n_c)
    if gaps:
        warnings.append(f"never written, read as 0: {missing_in_words(gaps, n_c)}")
    image_size = size_zyx(described.get("Image", {}), "")
    pixels = _pixels(files, path, group.levels[0], (n_t, n_c), image_size, warnings)
    if pixels is None:
        raise ReadError(f"{path}: {group.levels[0].name}: no group has a dataset Data")
    stamps, t_s = time_stamps(described.get("TimeInfo", {}), n_t, warnings)
    return Image(
        name=given_name(described.get("Image", {})) or "",
        pixels=pixels,
        channels=channels(described, n_c, lambda c: window(files, path, group.levels[0], c), warnings),
        calibration=calibration(described, pixels.shape[2:], t_s, warnings),
        time_stamps=stamps,
        native_levels=_native_levels(files, path, group, pixels, warnings),
        original_metadata=described,
    )


def missing_in_words(gaps: frozenset[tuple[int, int]], n_c: int) -> str:
    """Name missing groups compactly.

    Examples
    --------
    >>> missing_in_words(frozenset({(2, 0), (2, 1), (3, 0), (3, 1), (7, 1)}), 2)
    'TimePoint 2-3, TimePoint 7/Channel 1'
    """
    n_missing = Counter(t for t, _ in gaps)
    whole = sorted(t for t, n in n_missing.items() if n == n_c)
    named: list[str] = []
    for _, run in groupby(enumerate(whole), lambda item: item[1] - item[0]):
        times = [t for _, t in run]
        named.append(f"TimePoint {times[0]}" + (f"-{times[-1]}" if len(times) > 1 else ""))
    return _some(named + [f"TimePoint {t}/Channel {c}" for t, c in sorted(gaps) if n_missing[t] < n_c])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _pixels(
    files: Hdf5Files,
    path: str,
    level: LevelGroup,
    n_tc: tuple[int, int],
    image_size: tuple[int, int, int] | None,
    warnings: list[str],
) -> ImarisPixels | None:
    """Describe a level by the first of its datasets; the others are held against it when they are read."""
    for channel in (level.channel(t, c) for t, c in sorted(level.pairs)):
        storage = inspect(files, path, f"{channel}/Data")
        if storage is not None:
            break
    else:
        return None
    with files.using(storage.place.path) as file:
        file_bytes, kept_bytes = file.size, file.bytes.kept_bytes
    where = f"{path}: {channel}/Data"
    kind, itemsize = storage.dtype.kind, storage.dtype.itemsize
    if kind not in "iuf" or itemsize > 8:
        raise UnsupportedInput(f"{where}: voxels of type {storage.dtype} are not supported")
    if len(storage.shape) != 3 or 0 in storage.shape:
        raise UnsupportedInput(f"{where}: a dataset of shape {storage.shape}, not of three axes z, y, x")
    z, y, x = storage.shape
    size = true_size(level.name, (z, y, x), stated_size(files, path, channel), image_size, warnings)
    decoded = storage.chunks or (1, 1, x)  # without chunks, any row is read by itself
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
        index_bytes=index_bytes(storage, file_bytes, len(level.pairs)) + kept_bytes,
        library="" if storage.layout == "library" else "h5py",  # else both ways are HDF5's own
    )


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
        levels.append(native_level(full.shape, pixels))
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
    if not fits(pixels.shape[2:], above.shape[2:]):
        return None, "is larger than the level above it"
    return pixels, ""
