"""Label images as files, and an image that they are of."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_tiffs
import tifffile

from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (2, 2, 9, 70, 90)
"""Of the image: t, c, z, y, x."""

CHUNKS: dict[str, Any] = {"chunks": (4, 32, 32), "levels": 3}


def objects(shape: tuple[int, ...] = SHAPE[2:], dtype: str = "uint16", step: int = 1) -> NDArray[Any]:
    """Return boxes of numbers rising by a step, (z, y, x), with 0 between them; no two planes are alike."""
    z, y, x = np.indices(shape)
    number = (z // 3) * 100 + (y // 14) * 10 + x // 15 + 1
    inside = (y % 14 < 11) & (x % 15 < 9 + z % 3)
    return np.where(inside, number * step, 0).astype(dtype)


def write_image(path: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    write_ims(path, coded_pixels(shape, "uint16"))
    return path


def write_labels(path: Path, pixels: NDArray[Any], axes: str = "ZYX") -> Path:
    """Write a TIFF that says its axes and nothing of sizes, as ilastik and others export labels."""
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": axes}, ome=False)
    return path


def mask(bits: NDArray[np.bool_], y: int, x: int, compression: str = "zlib", **where: int) -> str:
    """Return a Mask element as OMERO and others write it: a bit a voxel, row right after row."""
    content = np.packbits(bits).tobytes()
    content = zlib.compress(content) if compression == "zlib" else content
    fields = {f"The{axis}": n for axis, n in where.items()}
    place = ome_tiffs.attributes(ID="Shape:0", X=x, Y=y, Width=bits.shape[1], Height=bits.shape[0], **fields)
    data = ome_tiffs.attributes(BigEndian="false", Length=len(content), Compression=compression)
    return f"<Mask{place}><BinData{data}>{base64.b64encode(content).decode()}</BinData></Mask>"


def region(number: int, *masks: str, name: str = "") -> str:
    fields = ome_tiffs.attributes(ID=f"ROI:{number}", **({"Name": name} if name else {}))
    return f"<ROI{fields}><Union>{''.join(masks)}</Union></ROI>"
