"""Random chunks of one image, read over HTTP from an Imaris file, a tiled TIFF and the OME-Zarr made of it.

As Moore et al. measured it (Nature Methods 18, 2021, https://doi.org/10.1038/s41592-021-01326-w), on this
machine alone: a server that waits before each answer stands for the distance. See README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Place = tuple[int, int, int]

EDGE = 256
"""Chunks are one plane of so many pixels in y and x."""


class Row(NamedTuple):
    """One measurement: seconds, requests and bytes of opening, and of one chunk on average."""

    reader: str
    delay_ms: float
    open_s: float
    open_requests: float
    chunk_s: float
    chunk_requests: float
    chunk_bytes: float


def make_files(folder: Path, shape: Place) -> NDArray[Any]:
    """Write the image in every format; returns its pixels."""
    import tifffile

    from ngff_convert import Options, convert
    from ngff_convert.testing import write_ims

    pixels = image(shape)
    chunks = (1, EDGE, EDGE)
    write_ims(
        folder / "image.ims", pixels[np.newaxis, np.newaxis], chunks=chunks, filters={"compression": "gzip"}
    )
    tifffile.imwrite(folder / "image.tif", pixels, tile=(EDGE, EDGE), compression="zlib")
    convert(folder / "image.ims", folder / "image.ome.zarr", Options(chunks=chunks, levels=1, overwrite=True))
    return pixels


def image(shape: Place) -> NDArray[Any]:
    """Return something like an image of a microscope: soft spots and the noise of counted photons."""
    rng = np.random.default_rng(1)
    z, y, x = np.ogrid[tuple(map(slice, shape))]
    light = 200 + 400 * np.sin(y / 60 + z) ** 2 * np.cos(x / 90) ** 2
    return np.stack([rng.poisson(plane) for plane in light]).astype(np.uint16)


@contextmanager
def serving(folder: Path, delay_ms: float) -> Iterator[str]:
    """Serve a folder; yields its URL."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(folder), str(delay_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"  # type: ignore[union-attr]
        finally:
            process.kill()


def counts(url: str) -> tuple[int, int]:
    """Return the requests and bytes since the last call."""
    with urlopen(f"{url}/counts") as answer:
        n_requests, n_bytes = json.load(answer)
    return n_requests, n_bytes


# -- the ways of reading: each is opened once, and then reads a chunk at a place -----------------------------


@contextmanager
def imaris_by_fsspec(url: str) -> Iterator[Any]:
    """Read with h5py through a file of fsspec, as it comes."""
    import fsspec
    import h5py

    with fsspec.open(f"{url}/image.ims").open() as stream, h5py.File(stream) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        yield lambda at: data[box(at)]


@contextmanager
def tiff_by_fsspec(url: str) -> Iterator[Any]:
    """Read with tifffile's Zarr view through a file of fsspec, as it comes."""
    import fsspec
    import tifffile
    import zarr

    with fsspec.open(f"{url}/image.tif").open() as stream, tifffile.TiffFile(stream) as tif:
        array: Any = zarr.open(tif.series[0].aszarr(), mode="r")
        yield lambda at: array[box(at)]


@contextmanager
def ome_zarr_by_fsspec(url: str) -> Iterator[Any]:
    """Read with zarr through fsspec."""
    import zarr

    array: Any = zarr.open_array(f"{url}/image.ome.zarr/0", mode="r")
    yield lambda at: array[(0, *box(at))]


@contextmanager
def ome_zarr_by_obstore(url: str) -> Iterator[Any]:
    """Read with zarr through obstore."""
    import zarr
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    store = HTTPStore(f"{url}/image.ome.zarr/0", client_options={"allow_http": True})
    array: Any = zarr.open_array(ObjectStore(store, read_only=True), mode="r")
    yield lambda at: array[(0, *box(at))]


@contextmanager
def imaris_by_ngff_convert(url: str) -> Iterator[Any]:
    """Read with the reader of ngff-convert."""
    from ngff_convert.convert import open_source

    with open_source(f"{url}/image.ims") as source:
        pixels = source.images[0].pixels
        yield lambda at: pixels[(0, 0, *box(at))]


@contextmanager
def tiff_by_ngff_convert(url: str) -> Iterator[Any]:
    """Read with the reader of ngff-convert."""
    from ngff_convert.convert import open_source

    with open_source(f"{url}/image.tif") as source:
        pixels = source.images[0].pixels
        planes = pixels[:, :, :, :0].shape[:3]
        yield lambda at: pixels[np.unravel_index(at[0], planes) + box(at)[1:]][np.newaxis]


READERS = {
    "Imaris, h5py and fsspec": imaris_by_fsspec,
    "TIFF, tifffile and fsspec": tiff_by_fsspec,
    "OME-Zarr, zarr and fsspec": ome_zarr_by_fsspec,
    "OME-Zarr, zarr and obstore": ome_zarr_by_obstore,
    "Imaris, ngff-convert": imaris_by_ngff_convert,
    "TIFF, ngff-convert": tiff_by_ngff_convert,
}


def box(at: Place) -> tuple[slice, ...]:
    """Return the chunk that begins at a place."""
    return slice(at[0], at[0] + 1), slice(at[1], at[1] + EDGE), slice(at[2], at[2] + EDGE)


def measure(reader: str, url: str, delay_ms: float, places: Sequence[Place], pixels: NDArray[Any]) -> Row:
    """Open, read chunks one after another, and hold each against what was written."""
    counts(url)
    with ExitStack() as stack:
        start = time.perf_counter()
        read = stack.enter_context(READERS[reader](url))
        open_s = time.perf_counter() - start
        open_requests, _ = counts(url)
        start = time.perf_counter()
        found = [read(at) for at in places]
        chunk_s = (time.perf_counter() - start) / len(places)
        n_requests, n_bytes = counts(url)
    for chunk, at in zip(found, places, strict=True):
        if not np.array_equal(chunk.reshape(EDGE, EDGE), pixels[box(at)][0]):
            raise SystemExit(f"{reader}: the chunk at {at} is not what was written")
    n = len(places)
    return Row(reader, delay_ms, open_s, open_requests, chunk_s, n_requests / n, n_bytes / n)


def table(rows: Sequence[Row]) -> str:
    """Return the measurements as Markdown."""
    lines = [
        "| reader | delay, ms | opening, ms | requests | a chunk, ms | requests | KiB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r.reader} | {r.delay_ms:g} | {r.open_s * 1000:.0f} | {r.open_requests:.0f} "
        f"| {r.chunk_s * 1000:.1f} | {r.chunk_requests:.2f} | {r.chunk_bytes / 1024:.0f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the time that a chunk takes."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text, which is small
    from matplotlib import pyplot as plt

    delays = sorted({row.delay_ms for row in rows})
    figure, axes = plt.subplots(figsize=(8, 4))
    width = 0.8 / len(READERS)
    for number, reader in enumerate(READERS):
        times = [row.chunk_s * 1000 for row in rows if row.reader == reader]
        axes.bar([at + number * width for at in range(len(delays))], times, width, label=reader)
    axes.set_xticks([at + 0.4 - width / 2 for at in range(len(delays))], [f"{d:g} ms" for d in delays])
    axes.set_xlabel("delay of the server")
    axes.set_ylabel("time for a random chunk, ms")
    axes.set_yscale("log")
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def versions() -> str:
    """Name what was measured with."""
    names = ("ngff-convert", "h5py", "tifffile", "zarr", "fsspec", "aiohttp", "obstore")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])


def main() -> None:
    """Make the files, measure, and write the table and, if it is asked for, the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files are made; it may be there already")
    parser.add_argument("--shape", default="32,2048,2048", help="of the image: z,y,x")
    parser.add_argument("--reads", type=int, default=50, help="chunks that are read")
    parser.add_argument("--delays", default="0,10,50", help="of the server, ms")
    parser.add_argument("--table", type=Path, help="Markdown; else it is printed")
    parser.add_argument("--plot", type=Path, help="SVG or PNG")
    given = parser.parse_args()
    shape = tuple(map(int, given.shape.split(",")))
    given.folder.mkdir(parents=True, exist_ok=True)
    pixels = make_files(given.folder, shape)  # type: ignore[arg-type]
    grid = [
        (z, y, x) for z in range(shape[0]) for y in range(0, shape[1], EDGE) for x in range(0, shape[2], EDGE)
    ]
    places = random.Random(1).sample(grid, min(given.reads, len(grid)))
    rows = []
    for delay_ms in map(float, given.delays.split(",")):
        with serving(given.folder, delay_ms) as url:
            rows += [measure(reader, url, delay_ms, places, pixels) for reader in READERS]
    text = f"{table(rows)}\n{versions()}\n"
    if given.table:
        given.table.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
