"""The pixels of made-up images, and their shapes.

They are smooth blobs over a dim background, with Poisson noise: like a light-sheet or a confocal stack they
compress, but not well.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

Pixels = NDArray[Any]
"""Any numeric block, axes z, y, x."""
Size = tuple[int, int, int]
"""A size or a place, in the order z, y, x, voxels."""
Shape = tuple[int, int, int, int, int]
"""Axes t, c, z, y, x."""

VOXEL_ZYX_UM = (0.8, 0.2, 0.2)
N_VALUES = 1 << 16
VOXELS_PER_BLOB = 1_000_000
BLOBS_PER_CLOUD = 24
OFFSET = 100
BACKGROUND_PHOTONS = 20.0


def shape_of(text: str) -> Shape:
    """Read a t,c,z,y,x shape from a command line."""
    sizes = [int(part) for part in text.split(",")]
    if len(sizes) != 5 or min(sizes) < 1:
        raise argparse.ArgumentTypeError("five sizes, each at least 1")
    t, c, z, y, x = sizes
    return t, c, z, y, x


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs of one time point and channel: centres and widths in voxels, peaks in photons."""

    centres: NDArray[np.float32]
    sigmas: NDArray[np.float32]
    peaks: NDArray[np.float32]

    @classmethod
    def scattered(cls, size: Size, seed: Sequence[int]) -> Blobs:
        """Scatter about one blob per million voxels: cells some micrometres wide, and a few hazy clouds."""
        rng = np.random.default_rng(seed)
        n = max(12, math.prod(size) // VOXELS_PER_BLOB)
        centres = rng.random((n, 3), np.float32) * np.asarray(size, np.float32)
        radius_um = rng.uniform(1.5, 5.0, (n, 1))
        radius_um[::BLOBS_PER_CLOUD] *= 8
        sigmas = (radius_um / np.asarray(VOXEL_ZYX_UM)).astype(np.float32)
        peaks = rng.gamma(2.0, 200.0, n).astype(np.float32)
        return cls(centres, sigmas, peaks)

    def photons(self, start: Size, size: Size) -> NDArray[np.float32]:
        """Mean photon count of every voxel of a box that begins at `start`."""
        out = np.full(size, BACKGROUND_PHOTONS, np.float32)
        low = np.asarray(start, np.float32)
        high = low + np.asarray(size, np.float32)
        reach = 3.5 * self.sigmas
        near = np.all((self.centres + reach > low) & (self.centres - reach < high), axis=1)
        for centre, sigma, peak in zip(
            self.centres[near] - low, self.sigmas[near], self.peaks[near], strict=True
        ):
            add_blob(out, centre, sigma, peak)
        return out


def add_blob(
    out: NDArray[np.float32], centre: NDArray[np.float32], sigma: NDArray[np.float32], peak: np.float32
) -> None:
    """Add one separable Gaussian to a box, out to 3.5 sigma."""
    where, profiles = [], []
    for n, c, s in zip(out.shape, centre, sigma, strict=True):
        first, last = max(0, int(c - 3.5 * s)), min(n, int(c + 3.5 * s) + 1)
        if first >= last:
            return
        where.append(slice(first, last))
        profiles.append(np.exp(-0.5 * ((np.arange(first, last, dtype=np.float32) - c) / s) ** 2))
    z, y, x = profiles
    out[tuple(where)] += peak * z[:, None, None] * (y[:, None] * x)


def expose(photons: NDArray[np.float32], dtype: np.dtype[Any], seed: Sequence[int]) -> Pixels:
    """Count photons with Poisson noise and add the camera's offset; 8-bit images get a tenth."""
    counts = np.random.default_rng(seed).poisson(photons)
    counts += OFFSET
    if dtype == np.uint8:
        counts //= 10
    top = min(N_VALUES, np.iinfo(dtype).max + 1 if dtype.kind == "u" else N_VALUES) - 1
    return np.minimum(counts, top, out=counts).astype(dtype)


def slabs(
    size: Size, block: Size, dtype: np.dtype[Any], seed: tuple[int, int, int], pool: Executor
) -> Iterator[Pixels]:
    """Yield one time point and channel, first plane to last, as many planes at once as a block has.

    Parameters
    ----------
    size
        Of the whole image.
    block
        What one thread makes at a time.
    dtype
        Of the pixels.
    seed
        Seed of the image, time point, channel.
    pool
        The threads.
    """
    blobs = Blobs.scattered(size, seed)
    nz, ny, nx = size
    dz, dy, dx = block

    def render(start: Size) -> Pixels:
        z, y, x = (min(d, n - a) for a, d, n in zip(start, block, size, strict=True))
        return expose(blobs.photons(start, (z, y, x)), dtype, (*seed, *start))

    for z in range(0, nz, dz):
        slab = np.empty((min(dz, nz - z), ny, nx), dtype)
        corners = [(z, y, x) for y in range(0, ny, dy) for x in range(0, nx, dx)]
        for (_, y, x), pixels in zip(corners, pool.map(render, corners), strict=True):
            slab[:, y : y + dy, x : x + dx] = pixels
        yield slab
