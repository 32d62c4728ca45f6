"""Plates of TIFF files whose pixels tell the well, the field, and t, c, z, y, x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from ngff_convert.model import Image
    from ngff_convert.plates import PlateField

SHAPE = (2, 2, 3, 4, 5)


def coded(row: int, column: int, field: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint32]:
    """Return the pixels t, c, z, y, x of a field; no two pixels of a plate are equal, and none is 0."""
    digits = np.indices(shape, np.uint32)
    value = np.zeros(shape, np.uint32) + ((row * 48 + column) * 16 + field + 1)
    for axis, size in zip(digits, (4, 4, 4, 6, 6), strict=True):
        value = value * np.uint32(size) + axis
    return value.astype(np.uint32)


def write_field(
    folder: Path,
    template: str,
    pixels: NDArray[Any],
    without: Iterable[tuple[int, int, int]] = (),
    **names: Any,
) -> NDArray[Any]:
    """Write a file a plane, named by t, c, z from 1 and by `names`; return the pixels, 0 where none is."""
    pixels = pixels.copy()
    for t, c, z in np.ndindex(*pixels.shape[:3]):
        if (t, c, z) in without:
            pixels[t, c, z] = 0
            continue
        path = folder / template.format(t=t + 1, c=c + 1, z=z + 1, **names)
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels[t, c, z], metadata=None, photometric="minisblack")
    return pixels


def field_of(image: Image) -> PlateField:
    """Return where in its plate an image is."""
    assert image.plate_field is not None
    return image.plate_field


def place(image: Image) -> tuple[str, str, str]:
    """Return row, column and field of an image."""
    return field_of(image).row, field_of(image).column, field_of(image).field
