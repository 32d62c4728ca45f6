"""Inputs of every kind, and the stores that they become, for the tests of verification."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import ome_tiffs
import tifffile

from ngff_convert import Codec, Options, convert
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from numpy.typing import NDArray

SMALL = (1, 4, 16, 32)
"""Chunks that make many of a small image; none of its sizes is a multiple of them."""


def ims(folder: Path, **settings: Any) -> Path:
    path = folder / "in.ims"
    shape = settings.pop("shape", (2, 2, 9, 70, 90))
    write_ims(path, coded_pixels(shape, settings.pop("dtype", "uint16")), chunks=(4, 32, 32), **settings)
    return path


def ims_with_a_gap(folder: Path) -> Path:
    path = ims(folder)
    with h5py.File(path, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]
    return path


def ims_with_chunks_never_written(folder: Path) -> Path:
    path = ims(folder, shape=(1, 1, 9, 70, 90))
    with h5py.File(path, "r+") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        shape = group["Data"].shape
        del group["Data"]
        data = group.create_dataset("Data", shape, "u2", chunks=(4, 32, 32), compression="gzip", shuffle=True)
        data[4:8, 32:64] = 7
    return path


def tif(folder: Path, pixels: NDArray[Any] | None = None, **options: Any) -> Path:
    path = folder / "in.tif"
    pixels = coded_pixels((5, 70, 90)) if pixels is None else pixels
    tifffile.imwrite(path, pixels, metadata=None, **{"photometric": "minisblack", **options})
    return path


def ome_tif(folder: Path, **options: Any) -> Path:
    pixels = coded_pixels((2, 2, 5, 70, 90))
    xml = ome_tiffs.document(ome_tiffs.image(pixels))
    return ome_tiffs.write(folder / "in.ome.tif", ome_tiffs.pages_of(pixels), xml, **options)


def two_images(folder: Path) -> Path:
    one, two = coded_pixels((1, 1, 3, 40, 50)), coded_pixels((1, 2, 2, 60, 33)) + 5
    inner = [ome_tiffs.data(IFD=0, PlaneCount=3), ome_tiffs.data(IFD=3, PlaneCount=4)]
    xml = ome_tiffs.document(ome_tiffs.image(one, inner[0]), ome_tiffs.image(two, inner[1], number=1))
    return ome_tiffs.write(folder / "in.ome.tif", ome_tiffs.pages_of(one) + ome_tiffs.pages_of(two), xml)


def series(folder: Path, missing: str = "") -> Path:
    path = folder / "series"
    path.mkdir()
    for t, c, z in np.ndindex(2, 2, 3):
        pixels = coded_pixels((40, 50)) + np.uint16(2000 * (t * 6 + c * 3 + z))
        tifffile.imwrite(path / f"t{t}_c{c}_z{z}.tif", pixels, compression="zlib")
    if missing:
        (path / missing).unlink()
    return path


def imagej(folder: Path) -> Path:
    path = folder / "in.tif"
    tifffile.imwrite(path, coded_pixels((2, 3, 2, 40, 50)), imagej=True, metadata={"axes": "TZCYX"})
    return path


def rgb(folder: Path, **options: Any) -> Path:
    separate = options.get("planarconfig") == "separate"
    pixels = coded_pixels((3, 70, 90) if separate else (70, 90, 3), "uint8")
    return tif(folder, pixels, photometric="rgb", **options)


def turned(folder: Path, orientation: int) -> Path:
    return tif(folder, compression="zlib", rowsperstrip=16, extratags=[(274, 3, 1, orientation, True)])


@dataclass
class Case:
    make: Callable[[Path], Path]
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "ims": Case(ims),
    "ims, shuffled": Case(lambda f: ims(f, filters={"compression": "gzip", "shuffle": True})),
    "ims, not compressed": Case(lambda f: ims(f, filters={})),
    "ims, LZF": Case(lambda f: ims(f, filters={"compression": "lzf", "shuffle": True})),
    "ims, a group that is missing": Case(ims_with_a_gap),
    "ims, chunks never written": Case(ims_with_chunks_never_written),
    "ims, floats": Case(lambda f: ims(f, dtype="float32")),
    "ims, its own levels": Case(lambda f: ims(f, levels=3), {"pyramid": "native"}),
    "ims, cropped": Case(ims, {"crop": ((1, 2), (None, None), (2, 7), (5, 61), (33, None))}),
    "ims, another type": Case(ims, {"dtype": "float32"}),
    "ims, 0.4": Case(ims, {"ngff_version": "0.4", "codec": Codec("zlib")}),
    "ims, all axes": Case(lambda f: ims(f, shape=(1, 1, 9, 70, 90)), {"output_axes": "tczyx"}),
    "ims, shards": Case(ims, {"shards": (8, 32, 64)}),
    "ims, mode": Case(lambda f: ims(f, dtype="uint8"), {"method": "mode"}),
    "ims, nearest": Case(ims, {"method": "nearest"}),
    "ims, median": Case(ims, {"method": "median"}),
    "ims, odd factors": Case(ims, {"factors": ((1, 3, 2), (3, 2, 5))}),
    "ims, one level": Case(ims, {"levels": 1}),
    "OME-TIFF": Case(ome_tif),
    "OME-TIFF, tiles": Case(lambda f: ome_tif(f, tile=(32, 48), compression="zlib", predictor=True)),
    "two images": Case(two_images),
    "the second of two images": Case(two_images, {"images": (1,)}),
    "two images, the other way round": Case(two_images, {"images": (1, 0), "ngff_version": "0.4"}),
    "TIFF": Case(tif),
    "TIFF, big-endian": Case(lambda f: tif(f, byteorder=">")),
    "TIFF, strips": Case(lambda f: tif(f, rowsperstrip=16, compression="lzw")),
    "TIFF, tiles": Case(lambda f: tif(f, tile=(16, 32))),
    "TIFF, one bit": Case(lambda f: tif(f, coded_pixels((3, 70, 90)) % 3 == 0)),
    "TIFF, ImageJ": Case(imagej),
    "TIFF, colours": Case(rgb),
    "TIFF, colours in tiles": Case(lambda f: rgb(f, tile=(32, 32), compression="zlib")),
    "TIFF, colours apart": Case(
        lambda f: rgb(f, planarconfig="separate", compression="zlib", rowsperstrip=9)
    ),
    "TIFF, turned": Case(lambda f: turned(f, 6)),
    "TIFF, turned and cropped": Case(
        lambda f: turned(f, 3), {"crop": ((0, 1), (0, 1), (1, 5), (3, 50), (9, 80))}
    ),
    "files": Case(series),
    "files, one missing": Case(lambda f: series(f, "t1_c0_z2.tif"), {"on_error": "fill"}),
}


def converted(folder: Path, case: Case) -> tuple[Path, Path, Options]:
    source, store = case.make(folder), folder / "out.ome.zarr"
    options = Options(**{"chunks": SMALL[1:], **case.options})
    convert(source, store, options)
    return source, store, options


def in_small_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make boxes so small that there are several passes."""
    monkeypatch.setattr("ngff_convert.verify.BOX_BYTES", 2**14)
    monkeypatch.setattr("ngff_convert.verify_boxes.SMALLEST_BOX_BYTES", 2**12)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document["attributes"]["ome"])
    path.write_text(json.dumps(document))
