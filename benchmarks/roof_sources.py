"""What the bare loop reads from: level 0 of a file, by offsets that the library of its format has told.

Pixels that are stored as they are or with deflate, uint8 and little-endian uint16 only.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
from boxes import Triple, box, corners, triple

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import tifffile
    from boxes import Pixels, Steps

Voxel = tuple[float, float, float]
"""Spacing z, y, x in the file's unit."""
Place = tuple[int, int]
"""A time point and a channel."""
Stored = dict[Triple, tuple[int, int]]
"""Offset and size, bytes, of each stored tile, by the place of its first voxel."""

CODECS: Any = imagecodecs  # its annotations know no arrays
DTYPES = (np.dtype("<u2"), np.dtype("u1"))
BAND_ROWS = 16
"""Rows of a contiguous plane that are read at once: few, so that they stay in the cache."""


@dataclass(frozen=True)
class Source:
    """Level 0 of a file whose tiles, be they chunks, tiles or parts of planes, are read by their offsets."""

    descriptor: int
    dtype: np.dtype[Any]
    size: Triple
    tile: Triple
    voxel: Voxel
    channels: dict[Place, Stored]
    deflated: bool

    def read(self, place: Place, corner: Triple, size: Triple, block: Pixels, steps: Steps) -> Pixels:
        """Read and decode whole tiles into a block; returns the box of this size, which is cropped."""
        buffer = np.empty(self.tile, self.dtype)
        for inside in corners(size, self.tile):
            where = triple([a + b for a, b in zip(corner, inside, strict=True)])
            stored = self.channels[place].get(where)
            if stored is None:
                block[box(inside, self.tile)] = 0
                continue
            self.fill(buffer.reshape(-1).view(np.uint8), *stored, steps)
            with steps.time("place"):
                block[box(inside, self.tile)] = buffer
        return block[box((0, 0, 0), size)]

    def fill(self, buffer: Pixels, offset: int, n_bytes: int, steps: Steps) -> None:
        """Read and decode one tile."""
        if not self.deflated:
            with steps.time("read"):
                os.preadv(self.descriptor, [buffer[:n_bytes].data], offset)
            return
        with steps.time("read"):
            encoded = os.pread(self.descriptor, n_bytes, offset)
        with steps.time("decode"):
            CODECS.deflate_decode(encoded, out=buffer)


def open_source(path: Path) -> Source:
    """Read where everything is; the file stays open for reading by offset only."""
    source = open_imaris(path) if path.suffix == ".ims" else open_tiff(path)
    if source.dtype not in DTYPES:
        raise SystemExit(f"{path}: the roof reads uint8 and little-endian uint16 only")
    return source


# --- Imaris ------------------------------------------------------------------------------------------


def open_imaris(path: Path) -> Source:
    """Find the chunks of an Imaris file."""
    import h5py

    with h5py.File(path) as file:
        group = file["DataSet/ResolutionLevel 0"]
        first = group["TimePoint 0/Channel 0"]
        data = first["Data"]
        if data.compression != "gzip" or data.shuffle:
            raise SystemExit(f"{path}: the roof reads gzip without shuffle only")
        size = triple([int(text(first, f"ImageSize{axis}")) for axis in "ZYX"])
        channels = {
            (t, c): stored_chunks(group[f"TimePoint {t}/Channel {c}/Data"])
            for t in range(len(group))
            for c in range(len(group["TimePoint 0"]))
        }
        voxel = imaris_voxel(file["DataSetInfo/Image"], size)
        descriptor = os.open(path, os.O_RDONLY)
        return Source(descriptor, data.dtype, size, triple(data.chunks), voxel, channels, deflated=True)


def stored_chunks(data: h5py.Dataset) -> Stored:
    """Offsets and sizes of the chunks of a dataset."""
    found: Stored = {}

    def note(info: Any) -> None:  # noqa: ANN401 - h5py has no types
        found[triple(info.chunk_offset)] = (info.byte_offset, info.size)

    data.id.chunk_iter(note)
    return found


def text(group: h5py.Group, name: str) -> str:
    """Read an attribute of one-character strings."""
    return b"".join(group.attrs[name]).decode()


def imaris_voxel(image: h5py.Group, size: Triple) -> Voxel:
    """Voxel size from the extents."""
    z, y, x = (
        (float(text(image, f"ExtMax{axis}")) - float(text(image, f"ExtMin{axis}"))) / n
        for axis, n in zip((2, 1, 0), size, strict=True)
    )
    return z, y, x


# --- TIFF --------------------------------------------------------------------------------------------


def open_tiff(path: Path) -> Source:
    """Find the tiles of an OME-TIFF, or the rows of the planes of an ImageJ hyperstack."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page = series.keyframe
        deflated = page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        plain = page.compression == tifffile.COMPRESSION.NONE
        known = (plain or deflated) if page.is_tiled else (plain and len(page.dataoffsets) == 1)
        if not known or page.predictor != tifffile.PREDICTOR.NONE:
            raise SystemExit(f"{path}: the roof reads tiles, deflate or not, and plain planes only")
        lengths = dict(zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True))
        size = triple([lengths[axis] for axis in "ZYX"])
        tile = (1, page.tilelength, page.tilewidth) if page.is_tiled else (1, BAND_ROWS, size[2])
        channels = stored_tiles(series, lengths, tile)
        dtype = np.dtype(page.dtype).newbyteorder(file.byteorder)
        return Source(os.open(path, os.O_RDONLY), dtype, size, tile, tiff_voxel(file), channels, deflated)


def stored_tiles(
    series: tifffile.TiffPageSeries, lengths: dict[str, int], tile: Triple
) -> dict[Place, Stored]:
    """Offsets and sizes of the tiles of all planes, which are in the order of the outer axes."""
    outer = [axis for axis in lengths if axis in "TCZ"]
    found: dict[Place, Stored] = {}
    for number, index in enumerate(itertools.product(*(range(lengths[axis]) for axis in outer))):
        at = dict(zip(outer, index, strict=True))
        page = series[number]
        assert page is not None, f"plane {number} is not in the file"
        offsets, sizes = page.dataoffsets, page.databytecounts
        if not series.keyframe.is_tiled:
            offsets, sizes = bands(offsets[0], sizes[0], sizes[0] // lengths["Y"] * tile[1])
        places = itertools.product(
            [at["Z"]], range(0, lengths["Y"], tile[1]), range(0, lengths["X"], tile[2])
        )
        where = zip(places, zip(offsets, sizes, strict=True), strict=True)
        found.setdefault((at["T"], at["C"]), {}).update(where)
    return found


def bands(offset: int, n_bytes: int, band: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut contiguous bytes: offsets and sizes of the parts."""
    starts = range(0, n_bytes, band)
    return tuple(offset + start for start in starts), tuple(min(band, n_bytes - start) for start in starts)


def tiff_voxel(file: tifffile.TiffFile) -> Voxel:
    """Voxel size from OME-XML, or from ImageJ's description and the resolution."""
    if file.ome_metadata:
        pixels = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
        assert pixels is not None
        z, y, x = (float(pixels.attrib[f"PhysicalSize{axis}"]) for axis in "ZYX")
        return z, y, x
    assert file.imagej_metadata is not None
    per_y, per_x = (file.pages.first.tags[f"{axis}Resolution"].value for axis in "YX")
    return float(file.imagej_metadata["spacing"]), per_y[1] / per_y[0], per_x[1] / per_x[0]
