"""Make a large Imaris 5.5 file of made-up cells, laid out as the vendor's own writer lays it out.

With the defaults gzip level 2 reaches a ratio of about 1.9. Everything is streamed: one slab of chunks per
level is in memory, whatever the depth of the image.

    python benchmarks/make_ims.py out.ims --shape 1,1,128,2048,2048
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from ims_chunks import chunk_shapes, pyramid
from pixels import N_VALUES, VOXEL_ZYX_UM, Pixels, shape_of, slabs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pixels import Shape, Size

DEFAULT_SHAPE = (1, 1, 128, 2048, 2048)
DTYPES = ("uint8", "uint16", "uint32", "float32")
COMPRESSIONS = ("none", "gzip", "shuffle-gzip", "lz4", "shuffle-lz4")
EXT_MIN_XYZ_UM = (1200.0, -350.0, 40.0)
BLOCK_BYTES = 1 << 20
THUMBNAIL_SIZE = 256
LZ4_FILTER = 32004
LZ4_BLOCK = 1 << 30
SHUFFLE_FILTER = h5py.h5z.FILTER_SHUFFLE
DEFLATE_FILTER = h5py.h5z.FILTER_DEFLATE


def shrink(block: Pixels, factors: Size) -> Pixels:
    """Mean over 2, 4 or 8 voxels, truncated for integers; odd ends are dropped, as the vendor does."""
    z, y, x = (s - s % f for s, f in zip(block.shape, factors, strict=True))
    wide = np.float32 if block.dtype.itemsize == 4 else np.uint32
    total = np.zeros((z // factors[0], y // factors[1], x // factors[2]), wide)
    for dz, dy, dx in itertools.product(*map(range, factors)):
        total += block[dz : z : factors[0], dy : y : factors[1], dx : x : factors[2]]
    n = math.prod(factors)
    mean = total / np.float32(n) if wide is np.float32 else total // np.uint32(n)
    return np.asarray(mean, block.dtype)


# --- chunks ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Codec:
    """How chunks are compressed: a name of `COMPRESSIONS` and a gzip level."""

    name: str
    level: int

    @property
    def shuffles(self) -> bool:
        """Whether bytes are shuffled before they are compressed."""
        return self.name.startswith("shuffle-")

    def set_filters(self, plist: Any) -> None:  # noqa: ANN401 - h5py has no types
        """Enter the filters into a dataset's creation properties, optional as the vendor's are."""
        optional = h5py.h5z.FLAG_OPTIONAL
        if self.shuffles:
            plist.set_filter(SHUFFLE_FILTER, optional, ())
        if self.name.endswith("gzip"):
            plist.set_filter(DEFLATE_FILTER, optional, (self.level,))
        elif self.name.endswith("lz4"):
            plist.set_filter(LZ4_FILTER, optional, (LZ4_BLOCK,))

    def encode(self, chunk: Pixels) -> bytes:
        """Encode one whole chunk."""
        raw = np.ascontiguousarray(chunk)
        if self.shuffles:
            raw = np.ascontiguousarray(raw.reshape(-1).view(np.uint8).reshape(-1, raw.itemsize).T)
        if self.name.endswith("gzip"):
            return zlib.compress(raw.data.cast("B"), self.level)
        return lz4_chunk(raw.tobytes()) if self.name.endswith("lz4") else raw.tobytes()


def lz4_chunk(raw: bytes) -> bytes:
    """Encode bytes as HDF5 filter 32004 does: raw size, block size, compressed size, one LZ4 block."""
    import imagecodecs

    packed = bytes(imagecodecs.lz4_encode(raw, header=False))
    if len(packed) >= len(raw):
        packed = raw
    size = len(raw)
    return size.to_bytes(8, "big") + size.to_bytes(4, "big") + len(packed).to_bytes(4, "big") + packed


# --- the file ----------------------------------------------------------------------------------------


def set_text(place: h5py.Group, name: str, text: str) -> None:
    """Write an attribute as an array of one-character, null-terminated strings, one per byte."""
    characters = np.frombuffer(text.encode() or b"\0", "S1")
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(1)
    space = h5py.h5s.create_simple(characters.shape)
    h5py.h5a.create(place.id, name.encode(), kind, space).write(characters, mtype=kind)


def set_texts(place: h5py.Group, texts: dict[str, str]) -> None:
    """Write several text attributes."""
    for name, text in texts.items():
        set_text(place, name, text)


@dataclass(frozen=True)
class Layout:
    """Everything about the file that is known before the first pixel."""

    shape: Shape
    dtype: np.dtype[Any]
    codec: Codec
    seed: int
    sizes: list[Size]
    chunks: list[Size]

    @classmethod
    def of(cls, shape: Shape, dtype: str, codec: Codec, seed: int) -> Layout:
        """Decide levels and chunks for a t, c, z, y, x shape."""
        kind = np.dtype(dtype)
        voxels = BLOCK_BYTES // kind.itemsize
        sizes = pyramid((shape[2], shape[3], shape[4]), voxels)
        if kind.kind == "f" or kind.itemsize == 1:  # the vendor never shuffles these
            codec = Codec(codec.name.removeprefix("shuffle-"), codec.level)
        return cls(shape, kind, codec, seed, sizes, chunk_shapes(sizes, shape[0], voxels))

    def factors(self, level: int) -> Size:
        """Voxels of `level` per voxel of the next, along z, y, x."""
        z, y, x = (1 if s == h else 2 for s, h in zip(self.sizes[level], self.sizes[level + 1], strict=True))
        return z, y, x

    @property
    def thumbnail_level(self) -> int:
        """The smallest level whose y and x are no smaller than the thumbnail."""
        big = [n for n, size in enumerate(self.sizes) if min(size[1:]) >= THUMBNAIL_SIZE]
        return big[-1] if big else 0


@dataclass
class LevelWriter:
    """Takes one channel's planes of one level in order, writes whole chunks, feeds the level below."""

    file: h5py.File
    layout: Layout
    pool: ThreadPoolExecutor
    time: int
    channel: int
    level: int = 0
    group: h5py.Group = field(init=False)
    data: h5py.Dataset = field(init=False)
    below: LevelWriter | None = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    brightest: Pixels = field(init=False)
    planes_in: int = 0
    waiting: list[Pixels] = field(default_factory=list)
    unpaired: Pixels | None = None

    def __post_init__(self) -> None:
        """Create the group and the dataset, and the writer of the level below."""
        size = self.layout.sizes[self.level]
        self.group = self.file.require_group(
            f"DataSet/ResolutionLevel {self.level}/TimePoint {self.time}/Channel {self.channel}"
        )
        self.data = create_data(self.group, self.layout, self.level)
        last = self.level + 1 == len(self.layout.sizes)
        self.below = (
            None
            if last
            else LevelWriter(self.file, self.layout, self.pool, self.time, self.channel, self.level + 1)
        )
        self.counts = np.zeros(N_VALUES, np.int64)
        self.brightest = np.zeros(size[1:], self.layout.dtype)

    def take(self, planes: Pixels) -> None:
        """Accept the next planes (z, y, x) and write what is complete."""
        size = self.layout.sizes[self.level]
        self.note(planes)
        depth = self.layout.chunks[self.level][0]
        self.planes_in += len(planes)
        self.waiting.append(planes)
        if sum(map(len, self.waiting)) >= depth or self.planes_in == size[0]:
            self.write_slab(np.concatenate(self.waiting))
            self.waiting.clear()
        if self.below is not None:
            self.pass_on(self.below, planes)

    def note(self, planes: Pixels) -> None:
        """Count values and keep the brightest voxel of each column."""
        for plane in planes:
            self.counts += np.bincount(plane.astype(np.uint16).ravel(), minlength=N_VALUES)
        np.maximum(self.brightest, planes.max(axis=0), out=self.brightest)

    def write_slab(self, planes: Pixels) -> None:
        """Write one layer of chunks, padded with zeros."""
        _, cy, cx = chunk = self.layout.chunks[self.level]
        first = (self.planes_in - 1) // chunk[0] * chunk[0]

        def encode(corner: tuple[int, int]) -> bytes:
            y, x = corner
            part = planes[:, y : y + cy, x : x + cx]
            return self.layout.codec.encode(padded(part, chunk))

        _, ny, nx = self.layout.sizes[self.level]
        corners = list(itertools.product(range(0, ny, cy), range(0, nx, cx)))
        for (y, x), encoded in zip(corners, self.pool.map(encode, corners), strict=True):
            self.data.id.write_direct_chunk((first, y, x), encoded)

    def pass_on(self, below: LevelWriter, planes: Pixels) -> None:
        """Shrink planes for the level below; an odd plane waits for its partner."""
        factors = self.layout.factors(self.level)
        if factors[0] == 2:
            if self.unpaired is not None:
                planes = np.concatenate([self.unpaired, planes])
            n_odd = len(planes) % 2
            self.unpaired = planes[len(planes) - n_odd :] if n_odd else None
            planes = planes[: len(planes) - n_odd]
        if len(planes):
            below.take(shrink(planes, factors))

    def finish(self) -> None:
        """Write sizes and histograms of this level and of those below."""
        size = self.layout.sizes[self.level]
        for axis, n in zip("ZYX", size, strict=True):
            set_text(self.group, f"ImageSize{axis}", str(n))
        write_histograms(self.group, self.counts, has_padding=size != self.data.shape)
        if self.below is not None:
            self.below.finish()

    def picture(self, level: int) -> Pixels:
        """Brightest voxels of a level seen along z, axes y, x."""
        if self.level == level or self.below is None:
            return self.brightest
        return self.below.picture(level)


def padded(part: Pixels, chunk: Size) -> Pixels:
    """Return a block of the chunk's shape, zero where the image ends."""
    if part.shape == chunk:
        return part
    out = np.zeros(chunk, part.dtype)
    out[tuple(map(slice, part.shape))] = part
    return out


def create_data(group: h5py.Group, layout: Layout, level: int) -> h5py.Dataset:
    """Create a level's dataset: whole chunks, fixed size."""
    chunk = layout.chunks[level]
    stored = tuple(-(-s // c) * c for s, c in zip(layout.sizes[level], chunk, strict=True))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(chunk)
    layout.codec.set_filters(plist)
    kind = h5py.h5t.py_create(layout.dtype)
    space = h5py.h5s.create_simple(stored)
    return h5py.Dataset(h5py.h5d.create(group.id, b"Data", kind, space, plist))


def write_histograms(group: h5py.Group, counts: NDArray[np.int64], *, has_padding: bool) -> None:
    """Write the 1024- and 256-bin histograms as the vendor does; padding counts for the lower limit."""
    used = np.flatnonzero(counts)
    low, high = 0 if has_padding else int(used[0]), int(used[-1])
    bins = (used - low) * 1024 // (high - low + 1)
    fine = np.bincount(bins, counts[used], 1024).astype(np.uint64)
    for suffix, histogram in (("1024", fine), ("", fine.reshape(256, 4).sum(axis=1, dtype=np.uint64))):
        group.create_dataset(f"Histogram{suffix}", data=histogram)
        set_texts(group, {f"HistogramMin{suffix}": f"{low:.3f}", f"HistogramMax{suffix}": f"{high:.3f}"})


COLOURS = ("0.000 1.000 0.000", "1.000 0.000 1.000", "0.000 0.600 1.000", "1.000 0.800 0.000")
DYES = (("GFP", "488", "509"), ("mCherry", "587", "610"), ("DAPI", "405", "461"), ("YFP", "514", "527"))


def write_info(file: h5py.File, layout: Layout, ranges: Sequence[tuple[int, int]]) -> None:
    """Write `DataSetInfo`: image, channels, times, program."""
    info = file.create_group("DataSetInfo")
    times = [f"2024-03-05 {10 + t // 60:02d}:{t % 60:02d}:00" for t in range(layout.shape[0])]
    set_texts(info.create_group("Image"), image_texts(layout, times[0]))
    for c, display_range in enumerate(ranges):
        set_texts(info.create_group(f"Channel {c}"), channel_texts(c, display_range))
    n_times = str(layout.shape[0])
    stamps = {f"TimePoint{t + 1}": time for t, time in enumerate(times)}
    set_texts(
        info.create_group("TimeInfo"), {"DatasetTimePoints": n_times, "FileTimePoints": n_times, **stamps}
    )
    set_texts(
        info.create_group("ImarisDataSet"),
        {"Creator": "make_ims.py of ngff-convert", "NumberOfImages": "1", "Version": "1.0"},
    )
    set_text(info.create_group("Log"), "Entries", "0")


def image_texts(layout: Layout, recorded: str) -> dict[str, str]:
    """Attributes of `DataSetInfo/Image`: sizes in voxels, extents in micrometres."""
    sizes = layout.sizes[0][::-1]
    texts = {
        "Name": "made-up cells",
        "Description": "smooth blobs with Poisson noise",
        "Unit": "um",
        "RecordingDate": recorded,
        "LensPower": "20x",
        "NumericalAperture": "0.8",
    }
    for n, (axis, size) in enumerate(zip("XYZ", sizes, strict=True)):
        low = np.float32(EXT_MIN_XYZ_UM[n])
        high = np.float32(EXT_MIN_XYZ_UM[n] + size * VOXEL_ZYX_UM[2 - n])
        texts |= {axis: str(size), f"ExtMin{n}": f"{low:.9f}", f"ExtMax{n}": f"{high:.9f}"}
        texts[f"ResampleDimension{axis}"] = "true"
    return texts


def channel_texts(channel: int, display_range: tuple[int, int]) -> dict[str, str]:
    """Attributes of `DataSetInfo/Channel N`."""
    dye, excitation, emission = DYES[channel % len(DYES)]
    return {
        "Name": dye,
        "Description": "(description not specified)",
        "ColorMode": "BaseColor",
        "Color": COLOURS[channel % len(COLOURS)],
        "ColorRange": f"{display_range[0]:.3f} {display_range[1]:.3f}",
        "ColorOpacity": "1.000",
        "GammaCorrection": "1.000",
        "LSMExcitationWavelength": excitation,
        "LSMEmissionWavelength": emission,
        "Pinhole": "1.0",
    }


def write_thumbnail(file: h5py.File, picture: Pixels) -> None:
    """Write the picture of a channel, axes y, x, as interleaved RGBA of at most 256 pixels a side."""
    step = max(1, math.ceil(max(picture.shape) / THUMBNAIL_SIZE))
    small = picture[::step, ::step].astype(np.float32)
    low, high = np.percentile(small, (1, 99.8))
    grey = np.clip((small - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    rgba = np.zeros((*grey.shape, 4), np.uint8)
    rgba[..., 1] = grey
    rgba[..., 3] = 255
    file.create_dataset("Thumbnail/Data", data=rgba.reshape(len(grey), -1))


def write_root(file: h5py.File) -> None:
    """Write the attributes by which Imaris knows its files."""
    names = {"DataSetDirectoryName": "DataSet", "DataSetInfoDirectoryName": "DataSetInfo"}
    set_texts(file, {"ImarisDataSet": "ImarisDataSet", "ImarisVersion": "5.5.0", **names})
    set_text(file, "ThumbnailDirectoryName", "Thumbnail")
    file.attrs["NumberOfDataSets"] = np.array([1], np.uint32)


def write_channel(file: h5py.File, layout: Layout, pool: ThreadPoolExecutor, t: int, c: int) -> LevelWriter:
    """Make and write all levels of one time point and channel."""
    writer = LevelWriter(file, layout, pool, t, c)
    for slab in slabs(layout.sizes[0], layout.chunks[0], layout.dtype, (layout.seed, t, c), pool):
        writer.take(slab)
    writer.finish()
    return writer


def display_range(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Display window of a channel: the 1st and the 99.9th percentile of its values."""
    share = np.cumsum(counts) / counts.sum()
    return int(np.searchsorted(share, 0.01)), int(np.searchsorted(share, 0.999))


def write_ims(path: Path, layout: Layout, n_threads: int) -> None:
    """Write the whole file."""
    n_times, n_channels = layout.shape[:2]
    with (
        h5py.File(path, "w", libver=("v108", "v108")) as file,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        write_root(file)
        counts = np.zeros((n_channels, N_VALUES), np.int64)
        for t, c in itertools.product(range(n_times), range(n_channels)):
            writer = write_channel(file, layout, pool, t, c)
            counts[c] += writer.counts
            if t == c == 0:
                write_thumbnail(file, writer.picture(layout.thumbnail_level))
        write_info(file, layout, [display_range(channel) for channel in counts])


# --- the command -------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="the .ims file to write")
    parser.add_argument("--shape", type=shape_of, default=DEFAULT_SHAPE, help="t,c,z,y,x, voxels")
    parser.add_argument("--dtype", choices=DTYPES, default="uint16")
    parser.add_argument("--compression", choices=COMPRESSIONS, default="gzip")
    parser.add_argument("--level", type=int, choices=range(1, 10), default=2, help="of gzip")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file and say what it is."""
    options = parse(arguments)
    codec = Codec(options.compression, options.level)
    layout = Layout.of(options.shape, options.dtype, codec, options.seed)
    write_ims(options.out, layout, options.threads)
    with h5py.File(options.out) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        ratio = data.size * data.dtype.itemsize / data.id.get_storage_size()
    raw = math.prod(layout.shape) * layout.dtype.itemsize
    print(f"{options.out}: {raw / 1e9:.3f} GB of {layout.dtype}, ratio {ratio:.2f}, levels {layout.sizes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
