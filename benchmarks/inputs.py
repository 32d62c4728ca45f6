"""The files that the benchmark converts, made once and kept."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import tifffile
from rows import BIGGER, COMMON_ROWS, IMARIS_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rows import Row

HERE = Path(__file__).resolve().parent
PROBE_SHAPE = (1, 1, 16, 256, 256)
"""A small image, to see whether a converter runs at all."""


@dataclass(frozen=True)
class Aims:
    """What is asked of ngff-convert; None where nothing is."""

    cpu: float
    """CPU time over that of the roof, at the most."""
    peer: float | None = None
    """Wall time of the fastest peer over ours, at the least."""
    peak_mb: float | None = None
    """Peak memory, at the most."""


@dataclass(frozen=True)
class Kind:
    """A kind of file, which has a section of its own in the report."""

    key: str
    title: str
    about: str
    """How the pixels are stored."""
    maker: tuple[str, ...]
    """Program beside this one that makes the file, and its options."""
    suffix: str
    """What the names of such files end with; `roof_sources.py` knows what to do by that."""
    shape: tuple[int, ...]
    """The image that is converted; t, c, z, y, x."""
    rows: tuple[Row, ...]
    """What is measured, besides the peers."""
    aims: Aims
    storage: Callable[[Path], tuple[str, int]]
    """Tells dtype and stored bytes of the pixels at full size."""


@dataclass(frozen=True)
class Image:
    """A file made for the benchmark."""

    path: Path
    shape: tuple[int, ...]
    """Axes t, c, z, y, x."""
    dtype: str
    raw_bytes: int
    stored_bytes: int
    """Bytes of level 0 as it is in the file."""


def make_image(work: Path, kind: Kind, shape: tuple[int, ...]) -> Image:
    """Make an image, or find the one made earlier."""
    words = ",".join(map(str, shape))
    path = work / f"input-{words.replace(',', 'x')}{kind.suffix}"
    if not path.exists():
        part = path.with_suffix(".part")
        program, *options = kind.maker
        command = [sys.executable, str(HERE / program), str(part), "--shape", words, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        part.rename(path)
    dtype, stored_bytes = kind.storage(path)
    return Image(path, shape, dtype, math.prod(shape) * np.dtype(dtype).itemsize, stored_bytes)


def imaris_storage(path: Path) -> tuple[str, int]:
    """Look into an Imaris file."""
    with h5py.File(path) as file:
        times = file["DataSet/ResolutionLevel 0"].values()
        data = [channel["Data"] for time in times for channel in time.values()]
        return data[0].dtype.name, sum(one.id.get_storage_size() for one in data)


def tiff_storage(path: Path) -> tuple[str, int]:
    """Look into a TIFF file."""
    with tifffile.TiffFile(path) as file:
        pages = [page for page in file.series[0] if page]
        return str(file.series[0].dtype), sum(sum(page.databytecounts) for page in pages)


def enlarged(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Make a shape `BIGGER` times as large: in y and x, so that its chunks are the same."""
    side = math.isqrt(BIGGER)
    return (*shape[:3], side * shape[3], side * shape[4])


def warm(path: Path) -> None:
    """Read a file once, so that it is in the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def tiff(key: str, title: str, about: str, layout: str, suffix: str) -> Kind:
    """Describe TIFF files, which differ in layout alone."""
    maker = ("make_tiff.py", "--layout", layout)
    aims = Aims(cpu=1.3, peer=2.0, peak_mb=600)
    return Kind(key, title, about, maker, suffix, (1, 2, 32, 2800, 3000), COMMON_ROWS, aims, tiff_storage)


KINDS = (
    Kind(
        "ims",
        "Imaris",
        "chunks with gzip level 2",
        ("make_ims.py",),
        ".ims",
        (1, 1, 128, 2048, 2048),
        IMARIS_ROWS,
        Aims(cpu=1.25),
        imaris_storage,
    ),
    tiff(
        "ome-tiff-deflate",
        "OME-TIFF with deflate",
        "tiles of 256 x 256 with deflate level 6",
        "deflate",
        "-deflate.ome.tiff",
    ),
    tiff(
        "ome-tiff",
        "OME-TIFF, uncompressed",
        "uncompressed tiles of 256 x 256",
        "tiles",
        "-tiles.ome.tiff",
    ),
    tiff("imagej", "ImageJ hyperstack", "uncompressed planes", "imagej", "-imagej.tif"),
)
