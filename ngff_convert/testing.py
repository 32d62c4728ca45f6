"""For authors of readers: pixels that tell where they belong, a check of the contract, a small Imaris file.

::

    def test_my_reader_keeps_the_contract(tmp_path):
        path = tmp_path / "small.xyz"
        my_writer(path, coded_pixels((2, 3, 5, 40, 50), "uint16"))
        check_reader(MyReader(), str(path))
"""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ngff_convert.model import Box, Channel
from ngff_convert.readers.contract import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import DTypeLike, NDArray

    from ngff_convert.model import Image, PixelArray, Shape, Triple
    from ngff_convert.readers.contract import Reader, Source

# Primes, so that neither rows nor planes nor channels of usual sizes repeat one another's values.
_LARGEST_CODE = {"u1": 251, "i1": 127, "u2": 65521, "i2": 32749, "f2": 2039, "f4": 16777213}

N_BOXES = 12

LOOKED_AT_BYTES = 64 * 2**20
"""Of a larger image, `check_reader` reads only this much, from its first voxel on."""


def coded_pixels(shape: Sequence[int], dtype: DTypeLike = "uint16") -> NDArray[Any]:
    """Make an image whose every voxel tells its own place, as far as the dtype can.

    Parameters
    ----------
    shape
        (t, c, z, y, x), voxels; other numbers of axes will do.
    dtype
        Any integer or floating type.

    Returns
    -------
    ndarray
        The number of the voxel in C order, modulo a prime, plus 1: 0 never occurs, so that voxels that were
        forgotten are seen.

    Examples
    --------
    >>> coded_pixels((1, 1, 1, 2, 3), "uint8")[0, 0, 0].tolist()
    [[1, 2, 3], [4, 5, 6]]
    """
    dtype = np.dtype(dtype)
    numbers = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64)
    numbers %= _LARGEST_CODE.get(f"{dtype.kind}{dtype.itemsize}", 2147483629)
    return (numbers + 1).astype(dtype).reshape(tuple(shape))


def check_reader(reader: Reader, path: str) -> None:
    """Hold a reader to what `readers.contract` promises, by a file that it can read.

    Parameters
    ----------
    reader
        The reader.
    path
        A small file of its format, or folder, best with several time points, channels and chunks.

    Raises
    ------
    AssertionError
        It breaks the contract; the message says how.
    """
    _check_description(reader)
    _check_recognition(reader, path)
    before = _open_files()
    source = _check_opening(reader, path)
    with source:
        for number, image in enumerate(source.images):
            where = f"image {number}"
            _check_records(image, where)
            _check_pixels(image.pixels, f"{where}, level 0")
            for n, level in enumerate(image.native_levels, 1):
                _check_pixels(level.pixels, f"{where}, level {n}")
    if left := _open_files() - before:
        _fail(f"closing the source leaves files open: {', '.join(sorted(left))}")


def _fail(message: str) -> NoReturn:
    raise AssertionError(message)  # not `assert`, which python -O leaves out


def _check_description(reader: Reader) -> None:
    if not reader.name or reader.name != reader.name.lower().strip():
        _fail(f"the name of a reader is a lower-case word, not {reader.name!r}")
    if not reader.description:
        _fail("a reader has a description, for the list of formats")
    for suffix in reader.suffixes:
        if not suffix.startswith(".") or suffix != suffix.lower():
            _fail(f"a suffix is lower case and begins with a dot, unlike {suffix!r}")


def _check_recognition(reader: Reader, path: str) -> None:
    head = b""
    if not Path(path).is_dir():
        with Path(path).open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    if reader.can_read(path, head) is not True:
        _fail(f"can_read is not True for {path}")
    garbage = (
        b"",
        b"\0",
        b"\0" * HEAD_BYTES,
        bytes(range(256)) * (HEAD_BYTES // 256),
        head[:7],
        head[:100],
        Random(0).randbytes(HEAD_BYTES),
    )
    for at in (path, f"{path}.missing", "", "nowhere/\u00fc.tif", *(f"garbage{s}" for s in reader.suffixes)):
        for bad in garbage if at == path else (*garbage, head):
            try:
                answer = reader.can_read(at, bad)
            except Exception as error:
                raise AssertionError(f"can_read({at!r}, {bad[:20]!r}...) raises {error!r}") from error
            if not isinstance(answer, bool):
                _fail(f"can_read({at!r}, {bad[:20]!r}...) returns {answer!r}, not True or False")


def _check_opening(reader: Reader, path: str) -> Source:
    tracemalloc.start()
    try:
        source = reader.open(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if not source.images:
        _fail("a source has at least one image: a file without is UnsupportedInput")
    n_bytes = sum(_n_bytes(image.pixels.shape, image.pixels.dtype) for image in source.images)
    if n_bytes > 32 * 2**20 and peak > n_bytes / 2:
        _fail(f"opening takes {peak} bytes, as if it read the pixels, which are {n_bytes}")
    for line in source.warnings:
        if not isinstance(line, str) or not line or "\n" in line:
            _fail(f"a warning is one line of text, not {line!r}")
    return source


def _check_records(image: Image, where: str) -> None:
    if len(image.channels) != image.pixels.shape[1]:
        _fail(f"{where}: {len(image.channels)} channels for {image.pixels.shape[1]} of pixels")
    known = [size for size in image.calibration.zyx if size is not None]
    if image.calibration.unit is not None and not known:
        _fail(f"{where}: a unit, {image.calibration.unit}, of a voxel size that is unknown")
    for section, entries in image.original_metadata.items():
        for key, text in entries.items():
            if not all(isinstance(part, str) for part in (section, key, text)):
                _fail(f"{where}: original_metadata is text, unlike {section!r}: {key!r}: {text!r}")


def _check_pixels(pixels: PixelArray, where: str) -> None:
    _check_attributes(pixels, where)
    whole = _read(pixels, _first_voxels(pixels), where)
    random = Random(0)
    boxes = [_random_box(random, whole.shape) for _ in range(N_BOXES)]
    for box in boxes:
        if not _same(_read(pixels, box, where), whole[box.slices]):
            _fail(f"{where}: the box {box} is not what a larger read has there")
        if not _same(pixels.read_by_library(box), whole[box.slices]):
            other = pixels.library or "read_by_library"
            _fail(f"{where}: the box {box} is read as something else through {other}")
    last = pixels[..., -1:]
    if not _same(pixels[-1, 0, ..., ::-2], pixels[pixels.shape[0] - 1, 0][..., ::-1][..., ::2]):
        _fail(f"{where}: negative indices and steps do not follow numpy")
    if last.shape != (*pixels.shape[:4], 1):
        _fail(f"{where}: [..., -1:] has shape {last.shape}")
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda box: _read(pixels, box, where), boxes * 4)
        for box, block in zip(boxes * 4, read, strict=True):
            if not _same(block, whole[box.slices]):
                _fail(f"{where}: the box {box} is another when four threads read")
    _check_pickling(pixels, boxes[0], whole[boxes[0].slices], where)


def _check_attributes(pixels: PixelArray, where: str) -> None:
    if isinstance(pixels, np.ndarray):
        _fail(f"{where}: pixels are in memory; a reader is lazy")
    shape, chunks = pixels.shape, pixels.chunks
    for name, sizes in (("shape", shape), ("chunks", chunks)):
        if (
            not isinstance(sizes, tuple)
            or len(sizes) != 5
            or not all(type(n) is int and n > 0 for n in sizes)
        ):
            _fail(f"{where}: {name} is five whole numbers t, c, z, y, x above 0, not {sizes!r}")
    if not isinstance(pixels.dtype, np.dtype) or not pixels.dtype.isnative or pixels.dtype.kind not in "iuf":
        _fail(f"{where}: dtype is a numpy number type in native byte order, not {pixels.dtype!r}")
    if not isinstance(pixels.compression, str) or not pixels.compression:
        _fail(f"{where}: compression is a word, not {pixels.compression!r}")


def _check_pickling(pixels: PixelArray, box: Box, expected: NDArray[Any], where: str) -> None:
    stored = pickle.dumps(pixels)
    again = pickle.loads(stored)
    if not _same(_read(again, box, where), expected):
        _fail(f"{where}: after pickling, the box {box} is another")
    program = (
        "import sys, pickle, hashlib\n"
        "pixels, box = pickle.load(sys.stdin.buffer)\n"
        "print(hashlib.sha256(pixels[box.slices].tobytes()).hexdigest())"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((pixels, box)),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    if child.returncode:
        _fail(f"{where}: unpickled in another process, it fails: {child.stderr.decode(errors='replace')}")
    if child.stdout.decode().strip() != hashlib.sha256(expected.tobytes()).hexdigest():
        _fail(f"{where}: unpickled in another process, the box {box} is another")


def _read(pixels: PixelArray, box: Box, where: str) -> NDArray[Any]:
    block = pixels[box.slices]
    if not isinstance(block, np.ndarray) or block.shape != box.shape or block.dtype != pixels.dtype:
        found = f"{block.dtype} {block.shape}" if isinstance(block, np.ndarray) else type(block).__name__
        _fail(f"{where}: the box {box} is read as {found}, not as an array of {pixels.dtype} {box.shape}")
    return block


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()  # by bytes: NaN is equal to itself


def _first_voxels(pixels: PixelArray) -> Box:
    stop = list(pixels.shape)
    for axis in range(5):
        while stop[axis] > 1 and _n_bytes(stop, pixels.dtype) > LOOKED_AT_BYTES:
            stop[axis] = -(-stop[axis] // 2)
    return Box((0, 0, 0, 0, 0), _five(stop))


def _random_box(random: Random, shape: Sequence[int]) -> Box:
    ends = [sorted(random.sample(range(n + 1), 2)) for n in shape]
    return Box(_five([a for a, _ in ends]), _five([b for _, b in ends]))


def _five(numbers: Sequence[int]) -> Shape:
    t, c, z, y, x = numbers
    return t, c, z, y, x


def _n_bytes(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=float)) * dtype.itemsize


def _open_files() -> set[str]:
    """Return the regular files this process has open; nothing where the system does not say (no Linux)."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = entry.readlink()
        except OSError:  # the descriptor that lists the folder
            continue
        if target.is_file():
            found.add(str(target))
    return found


def write_ims(
    path: str | Path,
    pixels: NDArray[Any],
    *,
    chunks: tuple[int, int, int] = (8, 64, 64),
    levels: int = 1,
    filters: dict[str, Any] | None = None,
    voxel_zyx: Triple = (1.0, 1.0, 1.0),
    corner_zyx: Triple = (0.0, 0.0, 0.0),
    unit: str = "um",
    channels: Sequence[Channel] = (),
    time_stamps: Sequence[datetime] = (),
    name: str = "",
) -> None:
    """Write an Imaris 5.5 file as the vendor's writer lays it out: padded chunks, attributes of characters.

    Parameters
    ----------
    path
        File to write.
    pixels
        (t, c, z, y, x); any integer or floating dtype, although the vendor knows uint8 to uint32 and float32.
    chunks
        (z, y, x), voxels, of every level.
    levels
        At most so many; each is the mean of the one before, halved where the vendor would halve.
    filters
        Arguments of `h5py.Group.create_dataset`; by default deflate at level 2.
    voxel_zyx
        Voxel size in `unit`.
    corner_zyx
        Outer corner of the first voxel in `unit`; its centre is half a voxel further.
    unit
        ``m``, ``mm``, ``um`` or ``nm``.
    channels
        One a channel, or none at all.
    time_stamps
        One a time point, or none at all.
    name
        Name of the image.
    """
    import h5py

    filters = {"compression": "gzip", "compression_opts": 2} if filters is None else filters
    with h5py.File(path, "w", libver=("v108", "v108")) as file:
        for key in ("DataSet", "DataSetInfo", "Thumbnail"):
            _write_text(file, {f"{key}DirectoryName": key})
        _write_text(file, {"ImarisDataSet": "ImarisDataSet", "ImarisVersion": "5.5.0"})
        file.attrs["NumberOfDataSets"] = np.array([1], np.uint32)
        level = pixels
        for n in range(levels):
            _write_level(file.create_group(f"DataSet/ResolutionLevel {n}"), level, chunks, filters)
            if (smaller := _half(level)).shape == level.shape:
                break
            level = smaller
        info = file.create_group("DataSetInfo")
        image = {"Name": name or "(name not specified)", "Unit": unit}
        image |= _extents(pixels.shape[2:], voxel_zyx, corner_zyx)
        _write_text(info.create_group("Image"), image)
        for c, channel in enumerate(channels):
            _write_text(info.create_group(f"Channel {c}"), _channel_text(channel))
        _write_text(info.create_group("TimeInfo"), _times(len(pixels), time_stamps))
        file.create_dataset("Thumbnail/Data", data=np.zeros((64, 256), np.uint8))


def _extents(shape: Sequence[int], voxel_zyx: Triple, corner_zyx: Triple) -> dict[str, str]:
    text: dict[str, str] = {}
    for axis, n, low, size in zip("ZYX", shape, corner_zyx, voxel_zyx, strict=True):
        index = "XYZ".index(axis)
        text |= {axis: str(n), f"ExtMin{index}": f"{low:.9f}", f"ExtMax{index}": f"{low + n * size:.9f}"}
    return text


def _times(n_t: int, stamps: Sequence[datetime]) -> dict[str, str]:
    text = {"DatasetTimePoints": str(n_t), "FileTimePoints": str(n_t)}
    for n, stamp in enumerate(stamps, 1):
        fraction = f".{stamp.microsecond // 1000:03}" if stamp.microsecond else ""
        text[f"TimePoint{n}"] = f"{stamp:%Y-%m-%d %H:%M:%S}{fraction}"
    return text


def _write_text(group: Any, texts: dict[str, str]) -> None:  # noqa: ANN401 - h5py is untyped
    for key, text in texts.items():
        group.attrs[key] = np.frombuffer(text.encode() or b"\0", "S1")


def _channel_text(channel: Channel) -> dict[str, str]:
    text = {"Name": channel.name or "(name not specified)", "Description": "(description not specified)"}
    if channel.color:
        parts = (int(channel.color[at : at + 2], 16) / 255 for at in (0, 2, 4))
        text |= {"ColorMode": "BaseColor", "Color": " ".join(f"{part:.3f}" for part in parts)}
    if channel.window:
        text["ColorRange"] = "{:.3f} {:.3f}".format(*channel.window)
    if channel.emission_nm:
        text["LSMEmissionWavelength"] = f"{channel.emission_nm:g}"
    if channel.excitation_nm:
        text["LSMExcitationWavelength"] = f"{channel.excitation_nm:g}"
    return text


def _write_level(
    level: Any,  # noqa: ANN401 - h5py is untyped
    pixels: NDArray[Any],
    chunks: tuple[int, int, int],
    filters: dict[str, Any],
) -> None:
    shape = pixels.shape[2:]
    padding = [(0, -n % chunk) for n, chunk in zip(shape, chunks, strict=True)]
    for t, c in np.ndindex(pixels.shape[:2]):
        group = level.create_group(f"TimePoint {t}/Channel {c}")
        volume = pixels[t, c]
        low, high = float(volume.min()), float(volume.max())
        counts, _ = np.histogram(volume, 256, (low, high if high > low else low + 1))
        group.create_dataset("Histogram", data=counts.astype(np.uint64))
        limits = {"HistogramMin": f"{low:.3f}", "HistogramMax": f"{high:.3f}"}
        _write_text(
            group, {f"ImageSize{axis}": str(n) for axis, n in zip("ZYX", shape, strict=True)} | limits
        )
        group.create_dataset("Data", data=np.pad(volume, padding), chunks=chunks, **filters)


def _half(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the next level: an axis is halved, rounding down, where it is long for the other two."""
    shape = pixels.shape[2:]
    n_voxels = int(np.prod(shape))
    halved = [n > 1 and 100 * n * n * n > n_voxels for n in shape]
    blocks: list[int] = []
    for n, half in zip(shape, halved, strict=True):
        blocks += [n // 2, 2] if half else [n, 1]
    whole = tuple(slice(n // 2 * 2) if half else slice(None) for n, half in zip(shape, halved, strict=True))
    cut = pixels[(slice(None), slice(None), *whole)].reshape(*pixels.shape[:2], *blocks)
    smaller: NDArray[Any] = cut.mean(axis=(3, 5, 7), dtype=np.float64).astype(pixels.dtype)
    return smaller
