"""Make a large TIFF file of made-up cells: an OME-TIFF of tiles, or an ImageJ hyperstack.

The same seed gives the same pixels in every layout. Everything is streamed: one slab of planes per channel is
in memory, whatever the depth of the image.

    python benchmarks/make_tiff.py out.ome.tiff --layout deflate --shape 1,2,32,2800,3000
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from pixels import VOXEL_ZYX_UM, Pixels, shape_of, slabs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from pixels import Shape

DEFAULT_SHAPE = (1, 2, 32, 2800, 3000)
DTYPES = ("uint8", "uint16")
TILE = 256
"""Voxels of a tile along y and x."""
DEFLATE_LEVEL = 6
BLOCK = (8, 256, 256)
"""What one thread makes at a time, z, y, x."""
NAMES = ("GFP", "mCherry", "DAPI", "YFP")
STEP_S = 60.0
"""Seconds from one time point to the next."""


class Layout(Enum):
    """How the pixels are stored."""

    DEFLATE = "deflate"
    """OME-TIFF, tiles, each compressed."""
    TILES = "tiles"
    """OME-TIFF, tiles as they are."""
    IMAGEJ = "imagej"
    """ImageJ hyperstack: planes as they are, one after another, channels before z."""


@dataclass(frozen=True)
class Stack:
    """An image, made when it is asked for."""

    shape: Shape
    dtype: np.dtype[Any]
    seed: int
    pool: Executor

    def slabs(self, t: int, c: int) -> Iterator[Pixels]:
        """Yield a time point and channel, some planes at a time."""
        _, _, z, y, x = self.shape
        return slabs((z, y, x), BLOCK, self.dtype, (self.seed, t, c), self.pool)

    def planes(self) -> Iterator[Pixels]:
        """Yield planes in the order t, c, z."""
        for t in range(self.shape[0]):
            for c in range(self.shape[1]):
                for slab in self.slabs(t, c):
                    yield from slab

    def interleaved(self) -> Iterator[Pixels]:
        """Yield planes in the order t, z, c."""
        for t in range(self.shape[0]):
            for together in zip(*(self.slabs(t, c) for c in range(self.shape[1])), strict=True):
                for channels in zip(*together, strict=True):
                    yield from channels

    def tiles(self) -> Iterator[Pixels]:
        """Yield the tiles of planes in the order t, c, z; those at the edges are what is there."""
        _, _, _, ny, nx = self.shape
        for plane in self.planes():
            for y in range(0, ny, TILE):
                for x in range(0, nx, TILE):
                    yield plane[y : y + TILE, x : x + TILE]


def write_ome_tiff(path: Path, stack: Stack, n_threads: int, *, deflate: bool) -> None:
    """Write tiles, with the metadata in OME-XML."""
    z, y, x = VOXEL_ZYX_UM
    metadata = {
        "axes": "TCZYX",
        "Name": "made-up cells",
        **{f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)},
        **{f"PhysicalSize{axis}Unit": "µm" for axis in "ZYX"},
        "TimeIncrement": STEP_S,
        "TimeIncrementUnit": "s",
        "Channel": {"Name": [NAMES[c % len(NAMES)] for c in range(stack.shape[1])]},
    }
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            stack.tiles(),
            shape=stack.shape,
            dtype=stack.dtype,
            tile=(TILE, TILE),
            photometric="minisblack",
            compression="zlib" if deflate else None,
            compressionargs={"level": DEFLATE_LEVEL} if deflate else None,
            metadata=metadata,
            maxworkers=n_threads,
        )


def write_imagej(path: Path, stack: Stack) -> None:
    """Write planes, with the metadata in ImageJ's description."""
    t, c, z, y, x = stack.shape
    step, *pixel = VOXEL_ZYX_UM
    metadata = {"axes": "TZCYX", "spacing": step, "unit": "um", "finterval": STEP_S}
    with tifffile.TiffWriter(path, imagej=True) as file:
        file.write(
            stack.interleaved(),
            shape=(t, z, c, y, x),
            dtype=stack.dtype,
            photometric="minisblack",
            resolution=(1 / pixel[1], 1 / pixel[0]),
            metadata=metadata,
        )


def write_tiff(path: Path, layout: Layout, stack: Stack, n_threads: int) -> None:
    """Write the whole file."""
    if layout is Layout.IMAGEJ:
        write_imagej(path, stack)
    else:
        write_ome_tiff(path, stack, n_threads, deflate=layout is Layout.DEFLATE)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--layout", choices=[layout.value for layout in Layout], default="deflate")
    parser.add_argument("--shape", type=shape_of, default=DEFAULT_SHAPE, help="t,c,z,y,x, voxels")
    parser.add_argument("--dtype", choices=DTYPES, default="uint16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file and say what it is."""
    options = parse(arguments)
    dtype = np.dtype(options.dtype)
    with ThreadPoolExecutor(options.threads) as pool:
        stack = Stack(options.shape, dtype, options.seed, pool)
        write_tiff(options.out, Layout(options.layout), stack, options.threads)
    raw = np.prod(options.shape, dtype=np.int64) * dtype.itemsize
    ratio = raw / options.out.stat().st_size
    print(f"{options.out}: {raw / 1e9:.3f} GB of {dtype}, ratio {ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
