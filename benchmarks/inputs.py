"""The Imaris files that the benchmark converts, made once and kept."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py

HERE = Path(__file__).resolve().parent
SHAPE = (1, 1, 128, 2048, 2048)
"""The image that is converted; t, c, z, y, x."""
PROBE_SHAPE = (1, 1, 16, 256, 256)
"""A small image, to see whether a converter runs at all."""
BIGGER = 4
"""How many times larger the image of the memory row is: twice in y and x, so that its chunks are the same."""


@dataclass(frozen=True)
class Image:
    """An Imaris file made for the benchmark."""

    path: Path
    shape: tuple[int, ...]
    """Axes t, c, z, y, x."""
    dtype: str
    raw_bytes: int
    stored_bytes: int
    """Bytes of level 0 as it is compressed in the file."""

    @property
    def ratio(self) -> float:
        """Compression ratio of level 0."""
        return self.raw_bytes / self.stored_bytes


def make_image(work: Path, shape: tuple[int, ...]) -> Image:
    """Make an image, or find the one made earlier."""
    words = ",".join(map(str, shape))
    path = work / f"input-{words.replace(',', 'x')}.ims"
    if not path.exists():
        part = path.with_suffix(".part")
        command = [sys.executable, str(HERE / "make_ims.py"), str(part), "--shape", words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        part.rename(path)
    return look_at(path, shape)


def look_at(path: Path, shape: tuple[int, ...]) -> Image:
    """Read what the table says of an image."""
    with h5py.File(path) as file:
        times = file["DataSet/ResolutionLevel 0"].values()
        channels = [channel for time in times for channel in time.values()]
        stored = sum(channel["Data"].id.get_storage_size() for channel in channels)
        dtype = channels[0]["Data"].dtype
    return Image(path, shape, dtype.name, math.prod(shape) * dtype.itemsize, stored)


def enlarged(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Make a shape `BIGGER` times as large."""
    return (*shape[:3], 2 * shape[3], 2 * shape[4])


def warm(path: Path) -> None:
    """Read a file once, so that it is in the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
