"""An open BigDataViewer file: each setup is an image, and its resolutions are the levels."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Box, Channel, Image, NativeLevel
from ngff_convert.readers import bdv_xml
from ngff_convert.readers.contract import LazyPixels, is_remote, open_bytes
from ngff_convert.readers.hdf5_chunks import inspect, read_box
from ngff_convert.readers.hdf5_files import Hdf5Files
from ngff_convert.readers.hdf5_plain_source import DatasetPixels, pixels_of
from ngff_convert.readers.hdf5_references import without_any
from ngff_convert.readers.ome_elements import decode
from ngff_convert.readers.open_files import PooledSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Shape, StoredChunks, Triple

MAX_XML_BYTES = 256 * 2**20

MAX_LEVELS = 64


@dataclass(frozen=True, eq=False)
class ViewPixels(LazyPixels):
    """A level of a setup: a dataset for each time point; None where the view is missing, which reads as 0."""

    views: tuple[DatasetPixels | None, ...]
    like: DatasetPixels
    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    compression: str
    index_bytes: int
    library: str

    shared = DatasetPixels.shared

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box, one dataset after the other."""
        return self._read(box, DatasetPixels.read)

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read a box as HDF5 finds it."""
        return self._read(box, DatasetPixels.read_by_library)

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where the chunks of every dataset lie; of views that are missing, that there are none."""
        for t in range(len(self.views)) if within is None else range(within.start[0], within.stop[0]):
            view = self.views[t]
            [stored] = (view or self.like).stored_chunks()
            yield replace(stored if view else without_any(stored, fill=0), t=t)

    def _read(self, box: Box, read: Callable[[DatasetPixels, Box], NDArray[Any]]) -> NDArray[Any]:
        out = np.zeros(box.shape, self.dtype)
        inner = Box((0, *box.start[1:]), (1, *box.stop[1:]))
        for at, view in enumerate(self.views[box.start[0] : box.stop[0]]):
            if view is not None:
                out[at] = read(view, inner)[0]
        return out


class BdvSource(PooledSource[Hdf5Files]):
    """An open BigDataViewer file."""

    def __init__(self, path: str, *, is_xml: bool) -> None:
        super().__init__(Hdf5Files(), [path])
        with self.opening():
            if is_xml:
                views = bdv_xml.views(_text(path), path)
                file = _beside(path, views.file)
                self.paths.append(file)
            else:
                file = path
                xml = _xml_of(path)
                self.paths += [xml] if xml else []
                views = bdv_xml.views(_text(xml), xml) if xml else _without_xml(self._files, path)
                if not xml:
                    self.warnings.append("there is no XML beside it, which would say sizes and places")
            images: list[Image] = []
            for setup in views.setups:
                noted: list[str] = [setup.remark] if setup.remark else []
                images.append(_image(self._files, file, setup, views, noted))
                self.warnings += [f"{setup.name}: {line}" for line in noted]
            self.images = images


def _text(path: str) -> str:
    file = open_bytes(path)
    try:
        if file.size > MAX_XML_BYTES:
            raise UnsupportedInput(f"{path}: an XML of {file.size} bytes, more than the {MAX_XML_BYTES} read")
        data = bytearray(file.size)
        file.read_into(0, data)
    finally:
        file.close()
    return decode(bytes(data), [])


def _beside(path: str, name: str) -> str:
    """Return the HDF5 file that an XML names, in its folder or below."""
    if is_remote(path):
        raise UnsupportedInput(f"{path}: names the file {name}: open that, or download them together")
    folder = Path(path).parent
    spelt = name.replace("\\", "/")
    found = os.path.normpath(folder / spelt)
    if not Path(found).is_relative_to(folder):
        found = str(folder / Path(spelt).name)
    if not Path(found).exists():
        raise ReadError(f"{path}: names the file {name}, but there is no {found}; copy them together")
    return found


def _xml_of(path: str) -> str | None:
    """Return the XML beside an HDF5 file, if it is of it."""
    xml = Path(path).with_suffix(".xml") if not is_remote(path) else None
    if xml is None or not xml.is_file() or bdv_xml.ROOT not in xml.read_bytes()[:4096]:
        return None
    named = bdv_xml.views(_text(str(xml)), str(xml)).file
    return str(xml) if Path(named.replace("\\", "/")).name == Path(path).name else None


def _without_xml(files: Hdf5Files, path: str) -> bdv_xml.Views:
    """Return what the groups of an HDF5 file show by themselves."""
    with files.using(path) as file:
        names = list(file.h5)
    times = sorted(int(name[1:]) for name in names if re.fullmatch(r"t\d{1,9}", name))
    setups = sorted(int(name[1:]) for name in names if re.fullmatch(r"s\d{1,9}", name))
    if not times or not setups:
        raise ReadError(f"{path}: a file of BigDataViewer without a time point or a setup; is it whole?")
    found = tuple(bdv_xml.Setup(number, f"setup {number}") for number in setups)
    return bdv_xml.Views("", tuple(times), found, frozenset())


def _image(
    files: Hdf5Files, path: str, setup: bdv_xml.Setup, views: bdv_xml.Views, noted: list[str]
) -> Image:
    gone = [t for t in views.times if (t, setup.number) in views.missing]
    if gone:
        noted.append(f"never taken, read as 0: time point {', '.join(map(str, gone))}")
    factors = _resolutions(files, path, setup.number)
    full, *lower = [_level(files, path, setup.number, n, views) for n in range(len(factors))]
    ratios = [tuple(a / b for a, b in zip(own, factors[0], strict=True)) for own in factors]
    return Image(
        name=setup.name,
        pixels=full,
        channels=(Channel(),),
        calibration=setup.calibration,
        native_levels=tuple(
            NativeLevel(pixels, ratio, tuple((n - 1) / 2 for n in ratio))
            for pixels, ratio in zip(lower, ratios[1:], strict=True)
        ),
    )


def _resolutions(files: Hdf5Files, path: str, setup: int) -> list[Triple]:
    """Return how large the voxels of each level are, (z, y, x), in voxels of the first."""
    name = f"s{setup:02}/resolutions"
    storage = inspect(files, path, name, with_table=True)
    if storage is None:
        raise ReadError(f"{path}: has no {name}; is it the file that the XML means?")
    n, *width = storage.shape
    if width != [3] or not 0 < n <= MAX_LEVELS or storage.dtype.kind not in "iuf":
        raise ReadError(f"{path}: {name}: is {storage.dtype} {storage.shape}, not three numbers a level")
    values = np.empty(storage.shape, storage.dtype.newbyteorder("="))
    read_box(files, storage, (0, 0), values)
    if not np.isfinite(values).all() or (values <= 0).any():
        raise ReadError(f"{path}: {name}: holds {values.tolist()}; copy it again")
    return [(float(z), float(y), float(x)) for x, y, z in values]


def _level(files: Hdf5Files, path: str, setup: int, level: int, views: bdv_xml.Views) -> ViewPixels:
    found: list[DatasetPixels | None] = []
    for t in views.times:
        if (t, setup) in views.missing:
            found.append(None)
            continue
        name = f"t{t:05}/s{setup:02}/{level}/cells"
        storage = inspect(files, path, name)
        if storage is None:
            raise ReadError(f"{path}: has no {name}, and nothing says that it is missing; copy it again")
        if len(storage.shape) != 3 or 0 in storage.shape or storage.dtype.kind not in "iuf":
            raise UnsupportedInput(
                f"{path}: {name}: is {storage.dtype} {storage.shape}, not a volume of numbers"
            )
        # BigDataViewer's HDF5 has no unsigned numbers, and means them.
        unsigned = np.dtype(np.uint16) if storage.dtype.newbyteorder("=") == np.int16 else None
        found.append(pixels_of(files, path, name, storage, "zyx", unsigned))
    there = [one for one in found if one is not None]
    if not there:
        raise UnsupportedInput(f"{path}: setup {setup}: has no view at any time point")
    like = there[0]
    _check_alike(path, there)
    return ViewPixels(
        views=tuple(found),
        like=like,
        shape=(len(found), *like.shape[1:]),
        dtype=like.dtype,
        chunks=like.chunks,
        compression=like.compression,
        index_bytes=like.index_bytes * len(there),
        library=like.library,
    )


def _check_alike(path: str, there: Sequence[DatasetPixels]) -> None:
    for one in there:
        if one.shape != there[0].shape or one.dtype != there[0].dtype:
            raise UnsupportedInput(
                f"{path}: {one.name}: is {one.dtype.name} {one.stored}, but {there[0].name} is "
                f"{there[0].dtype.name} {there[0].stored}: time points of different sizes are no one image"
            )
