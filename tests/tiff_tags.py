"""Small TIFF files with the metadata of any program, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from ngff_convert.readers.tiff_metadata import Described, describe

if TYPE_CHECKING:
    from pathlib import Path

BYTES, ASCII, LONG, RATIONAL = 1, 2, 4, 5


def write(path: Path, shape: tuple[int, ...] = (16, 20), **options: Any) -> Path:
    """Write a file of zeros; options are those of `tifffile.imwrite`."""
    options.setdefault("metadata", None)
    options.setdefault("photometric", "rgb" if shape[-1] == 3 else "minisblack")
    tifffile.imwrite(path, np.zeros(shape, options.pop("dtype", "uint8")), **options)
    return path


def binary(code: int, value: bytes, kind: int = BYTES) -> tuple[int, int, int, bytes, bool]:
    """Return an extra tag of bytes."""
    return code, kind, len(value), value, True


def text(code: int, value: str) -> tuple[int, int, int, str, bool]:
    """Return an extra tag of text."""
    return code, ASCII, 0, value, True


def described(
    path: Path, sizes: tuple[int, int, int] = (1, 1, 1), samples: int = 1, series: int = 0
) -> tuple[Described, list[str]]:
    """Return what is described of a series, and the warnings."""
    warnings: list[str] = []
    with tifffile.TiffFile(path) as tif:
        return describe(tif, tif.series[series], sizes, samples, warnings), warnings


def patch(path: Path, code: int, at: int, value: bytes) -> None:
    """Write bytes into the value of a tag of the first page, `at` bytes from its start."""
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.tags[code].valueoffset
    with path.open("r+b") as file:
        file.seek(offset + at)
        file.write(value)


def append(path: Path, value: bytes) -> int:
    """Write bytes to the end of a file and return where they are."""
    with path.open("r+b") as file:
        where = file.seek(0, 2)
        where += file.write(b"\0" * (where % 2))
        file.write(value)
    return where
