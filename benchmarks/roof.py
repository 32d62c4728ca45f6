"""The roof: what converting a file costs one thread that does nothing else.

Reads, decodes, shrinks, encodes and writes the same pixels as `ngff-convert`, in the same chunks, one after
another and by hand: no scheduler, no checks, no metadata but one `zarr.json` a level, no resume, no bounded
memory for the smallest levels. The converter's CPU time is compared with this, and its wall time with this
divided by the number of cores.

    python benchmarks/roof.py in.ims out.zarr
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from boxes import Pixels, Steps, Triple, box, corners, shrunk, triple
from roof_sources import Source, open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from roof_sources import Place, Voxel

KEPT_BYTES = (256 << 10, 8 << 20)
"""Tiles of at least and at most this become chunks as they are."""
CHUNK_BYTES = 1 << 20
"""Of chunks where tiles do not."""
REGION_CHUNKS: Triple = (2, 4, 4)
CODECS: Any = imagecodecs  # its annotations know no arrays
BLOSC: dict[str, Any] = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}


# --- geometry ----------------------------------------------------------------------------------------


def chunk_of(source: Source) -> Triple:
    """Return the tile where its size is useful, else powers of two with edges as equal as can be in space."""
    itemsize = source.dtype.itemsize
    if KEPT_BYTES[0] <= math.prod(source.tile) * itemsize <= KEPT_BYTES[1]:
        return source.tile
    chunk = [1, 1, 1]
    while 2 * math.prod(chunk) * itemsize <= CHUNK_BYTES:
        short = [axis for axis in (2, 1, 0) if chunk[axis] < source.size[axis]]
        if not short:
            break
        chunk[min(short, key=lambda axis: chunk[axis] * source.voxel[axis])] *= 2
    return triple(chunk)


def region_of(source: Source, chunk: Triple) -> Triple:
    """Return what is read at once: whole chunks and whole tiles, no more than the image needs."""
    region = []
    for size, c, t, n in zip(source.size, chunk, source.tile, REGION_CHUNKS, strict=True):
        unit = math.lcm(c, t) if t < size else -(-t // c) * c
        region.append(min(-(-size // unit), -(-n * c // unit)) * unit)
    return triple(region)


def steps_down(size: Triple, voxel: Voxel, chunk: Triple) -> list[Triple]:
    """Factors from each level to the next.

    An axis is halved where it is larger than a chunk and its spacing below the square root of 2 times the
    finest such spacing, which brings the voxel nearer to isotropic; y and x within one chunk end it.
    """
    factors: list[Triple] = []
    while size[1] > chunk[1] or size[2] > chunk[2]:
        finest = min(v for v, s, c in zip(voxel, size, chunk, strict=True) if s > c)
        factor = triple(
            [
                2 if s > c and v < finest * math.sqrt(2) else 1
                for v, s, c in zip(voxel, size, chunk, strict=True)
            ]
        )
        factors.append(factor)
        size = shrunk(size, factor)
        voxel = (voxel[0] * factor[0], voxel[1] * factor[1], voxel[2] * factor[2])
    return factors


def n_whole(region: Triple, chunk: Triple, factors: Sequence[Triple]) -> int:
    """How many of the steps leave a region made of whole chunks."""
    n = 0
    for factor in factors:
        if any(r % (f * c) for r, f, c in zip(region, factor, chunk, strict=True)):
            break
        region = shrunk(region, factor)
        n += 1
    return n


def shrink(block: Pixels, factor: Triple) -> Pixels:
    """Mean of a block, rounded half up; at odd ends the mean of what is there."""
    odd = [(0, s % f) for s, f in zip(block.shape, factor, strict=True)]
    if any(end for _, end in odd):
        block = np.pad(block, odd, mode="edge")
    half, shift = math.prod(factor) // 2, math.prod(factor).bit_length() - 1
    out = np.empty([s // f for s, f in zip(block.shape, factor, strict=True)], block.dtype)
    for z, plane in enumerate(out):
        total = add_pairs(add_rows(block[z * factor[0] : (z + 1) * factor[0]], factor[1]), factor[2])
        total += half
        np.right_shift(total, shift, out=plane, casting="unsafe")
    return out


def add_rows(planes: Pixels, factor: int) -> NDArray[np.uint32]:
    """Sum of one or two planes and of their row pairs."""
    parts = [plane[row::factor] for plane in planes for row in range(factor)]
    if len(parts) == 1:
        return np.asarray(parts[0], np.uint32)
    total: NDArray[np.uint32] = np.add(parts[0], parts[1], dtype=np.uint32)
    for part in parts[2:]:
        total += part
    return total


def add_pairs(rows: NDArray[np.uint32], factor: int) -> NDArray[np.uint32]:
    """Sum of column pairs."""
    return rows if factor == 1 else np.asarray(rows[:, ::2] + rows[:, 1::2])


# --- target ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One level: a Zarr v3 array written chunk file by chunk file."""

    root: Path
    dtype: np.dtype[Any]
    chunk: Triple

    def create(self, shape: tuple[int, int, int, int, int]) -> None:
        """Write the array's metadata and make its folders."""
        bytes_codec = {"name": "bytes", "configuration": {"endian": "little"}}
        blosc = {"name": "blosc", "configuration": {**BLOSC, "typesize": self.dtype.itemsize}}
        document = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, *self.chunk]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [bytes_codec, blosc],
            "dimension_names": list("tczyx"),
        }
        n_z, n_y, _ = shrunk(triple(shape[2:]), self.chunk)
        for t, c, z, y in itertools.product(*map(range, (*shape[:2], n_z, n_y))):
            (self.root / f"c/{t}/{c}/{z}/{y}").mkdir(parents=True)
        (self.root / "zarr.json").write_text(json.dumps(document))

    def write(self, place: Place, corner: Triple, block: Pixels, steps: Steps) -> int:
        """Encode and write a block of whole chunks; returns the bytes written."""
        written = 0
        folder = f"{self.root}/c/{place[0]}/{place[1]}"
        for inside in corners(triple(block.shape), self.chunk):
            with steps.time("place"):
                chunk = self.whole(block[box(inside, self.chunk)])
            with steps.time("encode"):
                encoded = CODECS.blosc_encode(
                    chunk,
                    level=BLOSC["clevel"],
                    compressor=BLOSC["cname"],
                    shuffle=BLOSC["shuffle"],
                    typesize=self.dtype.itemsize,
                    numthreads=1,
                )
            z, y, x = ((a + b) // c for a, b, c in zip(corner, inside, self.chunk, strict=True))
            with steps.time("write"), open(f"{folder}/{z}/{y}/{x}", "wb") as file:  # noqa: PTH123
                file.write(encoded)
            written += len(encoded)
        return written

    def whole(self, part: Pixels) -> Pixels:
        """Copy a part of a block into a chunk, zero beyond the image."""
        if part.shape == self.chunk:
            return np.ascontiguousarray(part)
        chunk = np.zeros(self.chunk, self.dtype)
        chunk[box((0, 0, 0), triple(part.shape))] = part
        return chunk


# --- the loop ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pyramid:
    """The levels of one conversion."""

    chunk: Triple
    region: Triple
    factors: list[Triple]
    sizes: list[Triple]
    targets: list[Target]

    @property
    def n_in_region(self) -> int:
        """How many of the lower levels are made region by region."""
        return n_whole(self.region, self.chunk, self.factors)


def create_levels(source: Source, root: Path, chunk: Triple) -> Pyramid:
    """Decide the levels and make their arrays."""
    factors = steps_down(source.size, source.voxel, chunk)
    sizes = [source.size]
    for factor in factors:
        sizes.append(shrunk(sizes[-1], factor))
    targets = [Target(root / str(n), source.dtype, chunk) for n in range(len(sizes))]
    n_times, n_channels = (last + 1 for last in max(source.channels))
    for target, (z, y, x) in zip(targets, sizes, strict=True):
        target.create((n_times, n_channels, z, y, x))
    return Pyramid(chunk, region_of(source, chunk), factors, sizes, targets)


def convert_channel(source: Source, levels: Pyramid, place: Place, steps: Steps) -> int:
    """Convert one time point and channel; returns the bytes written."""
    region, n = levels.region, levels.n_in_region
    whole = np.empty(region, source.dtype)
    carried = np.empty(levels.sizes[n], source.dtype)
    written = 0
    for corner in corners(source.size, region):
        size = triple([min(r, s - c) for r, s, c in zip(region, source.size, corner, strict=True)])
        block = source.read(place, corner, size, whole, steps)
        written += levels.targets[0].write(place, corner, block, steps)
        for level in range(n):
            block, corner = step_down(block, corner, levels.factors[level], steps)
            written += levels.targets[level + 1].write(place, corner, block, steps)
        carried[box(corner, triple(block.shape))] = block
    for level in range(n, len(levels.factors)):
        carried, _ = step_down(carried, (0, 0, 0), levels.factors[level], steps)
        written += levels.targets[level + 1].write(place, (0, 0, 0), carried, steps)
    return written


def step_down(block: Pixels, corner: Triple, factor: Triple, steps: Steps) -> tuple[Pixels, Triple]:
    """Shrink a block and find its place at the next level."""
    with steps.time("shrink"):
        return shrink(block, factor), triple([c // f for c, f in zip(corner, factor, strict=True)])


def convert(path: Path, root: Path, chunk: Triple | None = None) -> dict[str, Any]:
    """Convert a file and report what it took."""
    steps = Steps()
    with steps.time("open"):
        source = open_source(path)
    with steps.time("create"):
        levels = create_levels(source, root, chunk or chunk_of(source))
    written = sum(convert_channel(source, levels, place, steps) for place in source.channels)
    os.close(source.descriptor)
    raw = math.prod(source.size) * source.dtype.itemsize * len(source.channels)
    return {
        **usage(),
        "level_0_mb": round(raw / 1e6, 1),
        "written_mb": round(written / 1e6, 1),
        "chunk_zyx": levels.chunk,
        "levels_zyx": levels.sizes,
        "steps_s": {name: round(seconds, 3) for name, seconds in steps.seconds.items()},
    }


def usage() -> dict[str, float]:
    """Wall and CPU seconds since this process began, and its peak memory in MB."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return {
        "wall_s": round(age, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss * 1024 / 1e6, 1),
    }


def sizes_of(text: str) -> Triple:
    """Read z,y,x."""
    return triple([int(part) for part in text.split(",")])


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert and print a JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--chunk", type=sizes_of, help="z,y,x of the output, where it is not to be the usual")
    options = parser.parse_args(arguments)
    print(json.dumps(convert(options.source, options.target, options.chunk)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
