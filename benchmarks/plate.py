"""Convert many small images, and one image of the same bytes, in turns, and print how much slower many are.

The many are the fields of a plate: by default 384 images of 2 channels of 1080 x 1080 pixels in one OME-TIFF,
or with ``--files`` a TIFF file for each plane and an OME-XML that names them. The one has as many z planes as
there are fields; its planes are the same, stored the same way.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from pixels import slabs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixels import Pixels

CHANNELS = 2
NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def planes(images: int, size: int) -> Iterator[Pixels]:
    """Yield the planes of made-up cells: those of the first image, of the second, ..."""
    whole, block = (images, size, size), (8, size, size)
    with ThreadPoolExecutor(2) as pool:
        channels = [slabs(whole, block, np.dtype("uint16"), (1, 0, c), pool) for c in range(CHANNELS)]
        for together in zip(*channels, strict=True):
            for image in zip(*together, strict=True):
                yield from image


def write_many(folder: Path, images: int, size: int) -> Path:
    """Write an OME-TIFF of many images."""
    path = folder / "many.ome.tiff"
    pixels = planes(images, size)
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as file:
        for number in range(images):
            file.write(
                islice(pixels, CHANNELS),
                shape=(CHANNELS, size, size),
                dtype="uint16",
                photometric="minisblack",
                metadata={"axes": "CYX", "Name": f"field {number}"},
            )
    return path


def write_files(folder: Path, images: int, size: int) -> Path:
    """Write a file for each plane, and an OME-XML that names them."""
    pixels = planes(images, size)
    described = []
    for number in range(images):
        data = []
        for channel in range(CHANNELS):
            name = f"many_i{number}_c{channel}.tif"
            tifffile.imwrite(folder / name, next(pixels), metadata=None)
            data.append(
                f'<TiffData IFD="0" PlaneCount="1" FirstC="{channel}">'
                f'<UUID FileName="{name}">urn:uuid:00000000-0000-0000-0000-{2 * number + channel:012d}</UUID>'
                "</TiffData>"
            )
        described.append(
            f'<Image ID="Image:{number}" Name="field {number}"><Pixels ID="Pixels:{number}" Type="uint16" '
            f'DimensionOrder="XYCZT" SizeX="{size}" SizeY="{size}" SizeZ="1" SizeC="{CHANNELS}" SizeT="1">'
            + "".join(f'<Channel ID="Channel:{number}:{c}" SamplesPerPixel="1"/>' for c in range(CHANNELS))
            + "".join(data)
            + "</Pixels></Image>"
        )
    path = folder / "many.companion.ome"
    path.write_text(f'<OME xmlns="{NAMESPACE}">{"".join(described)}</OME>')
    return path


def write_one(folder: Path, images: int, size: int) -> Path:
    """Write an OME-TIFF of one image of as many planes."""
    path = folder / "one.ome.tiff"
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as file:
        file.write(
            planes(images, size),
            shape=(images, CHANNELS, size, size),
            dtype="uint16",
            photometric="minisblack",
            metadata={"axes": "ZCYX"},
        )
    return path


def run(source: Path, out: Path, options: Sequence[str]) -> tuple[float, float]:
    """Convert; return wall and CPU seconds."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "ngff_convert", str(source), str(out), "--quiet", *options]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Take turns, and print JSON; what is not understood are options of the conversion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--size", type=int, default=1080)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", action="store_true", help="a TIFF file for each plane of the many")
    parser.add_argument("--work", type=Path, default="/dev/shm", help="where everything is made")
    words, options = parser.parse_known_args()
    runs: dict[str, list[tuple[float, float]]] = {"many": [], "one": []}
    with TemporaryDirectory(dir=words.work) as made:
        folder = Path(made)
        many = (write_files if words.files else write_many)(folder, words.images, words.size)
        sources = {"many": many, "one": write_one(folder, words.images, words.size)}
        for _ in range(words.rounds):
            for kind, source in sources.items():
                runs[kind].append(run(source, folder / "out.ome.zarr", options))
    mb = words.images * CHANNELS * words.size**2 * 2 / 1e6
    facts: dict[str, Any] = {
        kind: {
            "wall_s": [round(wall, 2) for wall, _ in each],
            "cpu_s": [round(cpu, 2) for _, cpu in each],
            "mb_s": round(mb / statistics.median(wall for wall, _ in each)),
        }
        for kind, each in runs.items()
    }
    print(json.dumps({**facts, "many_rate_of_one": round(facts["many"]["mb_s"] / facts["one"]["mb_s"], 2)}))


if __name__ == "__main__":
    main()
