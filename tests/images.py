"""Images that exist in memory, or only in the mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.model import Box, Calibration, Channel, Image, NativeLevel
from ngff_convert.readers.contract import LazyPixels

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ArrayPixels(LazyPixels):
    """Pixels of an array in memory that counts what is read of it."""

    def __init__(self, array: NDArray[Any], chunks: tuple[int, ...] = (1, 1, 8, 64, 64)) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.chunks = chunks
        self.compression = "none"
        self.reads: list[Box] = []

    def read(self, box: Box) -> NDArray[Any]:
        self.reads.append(box)
        return self.array[box.slices].copy()


class NoPixels(LazyPixels):
    """Pixels of any size that must not be read."""

    def __init__(
        self, shape: tuple[int, ...], dtype: str = "uint16", chunks: tuple[int, ...] = (1, 1, 16, 256, 256)
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.chunks = chunks
        self.compression = "none"

    def read(self, box: Box) -> NDArray[Any]:
        raise AssertionError(f"{box} is read")


def image(
    pixels: LazyPixels,
    voxel: tuple[float | None, ...] = (1.0, 0.25, 0.25),
    native_levels: tuple[NativeLevel, ...] = (),
    **settings: Any,
) -> Image:
    calibration = Calibration(zyx=voxel, unit="micrometer", origin_zyx=(10.0, 20.0, -30.0))
    channels = tuple(Channel(name=f"c{i}") for i in range(pixels.shape[1]))
    settings = {"name": "test", "calibration": calibration, "channels": channels, **settings}
    return Image(pixels=pixels, native_levels=native_levels, **settings)
