"""An open HDF5 file of plain datasets: each is an image, whatever the order of its axes."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.model import AXES, Channel, Image
from ngff_convert.readers.contract import LazyPixels, is_remote
from ngff_convert.readers.hdf5_axes import calibration, dimensions, is_label
from ngff_convert.readers.hdf5_chunks import Storage, index_bytes, ranges, read_box, storage_of
from ngff_convert.readers.hdf5_datasets import Found, chosen, listed, some
from ngff_convert.readers.hdf5_files import Hdf5Files
from ngff_convert.readers.hdf5_library import read_box_by_library
from ngff_convert.readers.hdf5_references import one_by_one, stored_array
from ngff_convert.readers.open_files import PooledSource
from ngff_convert.readers.read_ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from ngff_convert.model import Box, Shape, StoredChunks
    from ngff_convert.readers.contract import Reading

LONGEST_KEPT = 10_000
"""Characters of an attribute that is carried on."""

_BIGDATAVIEWER = re.compile(r"t\d{5,}/s\d{2,}/\d+/cells")
"""What BigDataViewer calls its datasets: time point, setup, level."""

_NOT_KEPT = ("DIMENSION_LIST", "REFERENCE_LIST")
"""Attributes that are nothing but addresses."""


@dataclass(frozen=True, eq=False)
class DatasetPixels(LazyPixels):
    """A dataset, seen along t, c, z, y, x.

    Attributes
    ----------
    files, path, name
        Where to read.
    axes
        What its dimensions are: a letter each, of t, c, z, y, x.
    stored
        Its size along each dimension.
    stored_dtype
        The type of its numbers, which are seen as `dtype`.
    """

    files: Hdf5Files
    path: str
    name: str
    axes: str
    stored: tuple[int, ...]
    stored_dtype: np.dtype[Any]
    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    compression: str
    index_bytes: int
    library: str

    shared = (
        "which chunks there are, and what datasets hold that only HDF5 can read, is as it says both times"
    )

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box."""
        return self._read(box, read_box)

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read a box as HDF5 finds it."""
        return self._read(box, read_box_by_library)

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where the chunks lie, if their axes are in the order in which an array has them.

        Of a box, time point by time point and channel by channel; else of all at once.
        """

        def make() -> tuple[StoredChunks, int]:
            found = stored_array(self.files, self._storage(), self.axes, self.shape, self.dtype)
            return found, found.number.nbytes + found.offset.nbytes + found.size.nbytes

        every: StoredChunks = self.files.cache.get(("array", self.path, self.name, self.axes), make)
        return iter([every]) if within is None else one_by_one(every, self.shape, within)

    def _read(self, box: Box, read_dataset: Callable[..., None]) -> NDArray[Any]:
        storage = self._storage()
        out = np.empty(box.shape, self.dtype)
        start = self._as_stored(box.start)
        target = as_stored(out, self.axes).view(storage.dtype.newbyteorder("="))
        with self._ahead(storage, start, target.shape):
            read_dataset(self.files, storage, start, target)
        return out

    def _ahead(
        self, storage: Storage, start: Sequence[int], shape: Sequence[int]
    ) -> AbstractContextManager[None]:
        """Ask the server ahead for what a box takes, where the file lies on one."""
        if not is_remote(self.path):
            return nullcontext()
        with self.files.using(storage.place.path) as file:
            wanted = list(file.wanted(ranges(storage, start, shape)))
        return ahead(iter(wanted))

    def _as_stored(self, numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(numbers[AXES.index(axis)] for axis in self.axes)

    def _storage(self) -> Storage:
        storage = storage_of(self.files, self.path, self.name)
        if storage is None:
            raise ReadError(f"{self.path}: {self.name}: is not there any more")
        if storage.shape != self.stored or storage.dtype.newbyteorder("=") != self.stored_dtype:
            raise ReadError(f"{self.path}: {self.name}: is {storage.dtype.name} {storage.shape}, and was not")
        return storage


def as_stored(block: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return a block of t, c, z, y, x, seen along the axes of a dataset; those it lacks are of one voxel."""
    present = [axis for axis in AXES if axis in axes]
    seen = block[tuple(slice(None) if axis in axes else 0 for axis in AXES)]
    return seen.transpose([present.index(axis) for axis in axes])


def seen_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of voxels, in native byte order; true and false are 1 and 0.

    Examples
    --------
    >>> seen_as(np.dtype(">u2")).name, seen_as(np.dtype(bool)).name
    ('uint16', 'uint8')
    """
    return np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(dtype.newbyteorder("=").str)


def decoded_at_once(storage: Storage, axes: str) -> tuple[int, ...]:
    """Return the size of what a dataset is decoded in, along each dimension.

    Without chunks, that is what lies together from the row or column that its last axes make up.
    """
    if storage.chunks is not None:
        return tuple(map(min, storage.chunks, storage.shape))
    last = max(axes.index("y"), axes.index("x"))
    return (1,) * last + storage.shape[last:]


def pixels_of(
    files: Hdf5Files,
    path: str,
    name: str,
    storage: Storage,
    axes: str,
    dtype: np.dtype[Any] | None = None,
) -> DatasetPixels:
    """Describe a dataset as pixels, whose numbers may be seen as another type of as many bytes."""
    with files.using(storage.place.path) as file:
        file_bytes, kept_bytes = file.size, file.bytes.kept_bytes
    return DatasetPixels(
        files=files,
        path=path,
        name=name,
        axes=axes,
        stored=storage.shape,
        stored_dtype=storage.dtype.newbyteorder("="),
        shape=_five(storage.shape, axes),
        dtype=dtype or seen_as(storage.dtype),
        chunks=_five(decoded_at_once(storage, axes), axes),
        compression=storage.compression,
        index_bytes=index_bytes(storage, file_bytes, 1) + kept_bytes,
        library="" if storage.layout == "library" else "h5py",  # else both ways are HDF5's own
    )


def _five(sizes: Sequence[int], axes: str) -> Shape:
    known = dict(zip(axes, map(int, sizes), strict=True))
    return tuple(known.get(axis, 1) for axis in AXES)


class PlainSource(PooledSource[Hdf5Files]):
    """An open HDF5 file."""

    def __init__(self, path: str, reading: Reading) -> None:
        super().__init__(Hdf5Files(), [path])
        with self.opening():
            found = chosen(self._files, path, reading.dataset) if reading.dataset else self._all(path)
            wanted = _wanted(reading, found, path)
            assumed: dict[str, list[str]] = {}
            images = [self._image(path, one, wanted, assumed) for one in found]
            self.images = [image for image in images if image is not None]
            if not self.images:
                raise UnsupportedInput(f"{path}: {'; '.join(self.warnings)}: say with --axes what they are")
            for axes, names in assumed.items():
                self.warnings.append(
                    f"{some(names)}: what the axes are is not written; taken as {axes}, by their number and "
                    f"sizes: --axes {axes.upper()} says so, or another order"
                )

    def _all(self, path: str) -> list[Found]:
        listing = listed(self._files, path)
        if not listing.images:
            held = some(listing.others) or "nothing"
            raise UnsupportedInput(
                f"{path}: an HDF5 file, but with no dataset of numbers of 2 to 5 dimensions; it holds {held}"
            )
        cells = next((one.name for one in listing.images if _BIGDATAVIEWER.fullmatch(one.name)), None)
        if cells is not None:
            raise UnsupportedInput(
                f"{path}: a file of BigDataViewer, which has a reader of its own; here one dataset of it is "
                f"read with --dataset, such as {cells}, whose int16 means uint16"
            )
        return listing.images

    def _image(
        self, path: str, one: Found, wanted: str | None, assumed: dict[str, list[str]]
    ) -> Image | None:
        fits = wanted is not None and len(wanted) == len(one.storage.shape)
        known = dimensions(one.said, wanted if fits else None)
        self.warnings += [f"{one.name}: {line}" for line in known.odd]
        if not {"y", "x"} <= set(known.axes):
            self.warnings.append(
                f"{one.name}: left out: its {known.source} are {known.axes}, without y and x"
            )
            return None
        if not known.source and len(known.axes) > 2:
            assumed.setdefault(known.axes, []).append(one.name)
        if one.storage.place.path not in self.paths:
            self.paths.append(one.storage.place.path)
        return _image(self._files, path, one, known.axes)


def _wanted(reading: Reading, found: Sequence[Found], path: str) -> str | None:
    """Return the axes that the user says datasets have; those of another number of dimensions are not meant.

    Raises
    ------
    OptionError
        None has so many.
    """
    if reading.axes is None:
        return None
    axes = reading.axes if "y" in reading.axes else f"{reading.axes}yx"
    if not any(len(one.storage.shape) == len(axes) for one in found):
        sizes = some([f"{one.name} {one.storage.shape}" for one in found])
        raise OptionError(
            f"--axes {axes.upper()}: {path} has no dataset of {len(axes)} dimensions, but {sizes}"
        )
    return axes


def _image(files: Hdf5Files, path: str, one: Found, axes: str) -> Image:
    pixels = pixels_of(files, path, one.name, one.storage, axes)
    kept = {
        key: text
        for key, text in one.said.texts.items()
        if len(text) <= LONGEST_KEPT and key not in _NOT_KEPT
    }
    label = is_label(one.said, path, one.storage.dtype.kind) and pixels.shape[1] == 1
    return Image(
        name=one.name,
        pixels=pixels,
        channels=(Channel(),) * pixels.shape[1],
        calibration=calibration(one.said, axes),
        is_label=label,
        original_metadata={one.name: kept} if kept else {},
    )
