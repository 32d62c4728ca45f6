"""One input of the fuzzer: bytes -> a file in memory -> everything a conversion would do with it but write.

Whoever imports this gets `ngff_convert`, tifffile and h5py with counters at every branch, by which the fuzzer
sees where an input leads. Their code in C has none, but its crashes are seen all the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["ngff_convert", "tifffile", "h5py"]):
    from ngff_convert import display, omexml, omexml_source, store
    from ngff_convert.convert import decide
    from ngff_convert.errors import MemoryBudgetError, OptionError, ReadError, UnsupportedInput
    from ngff_convert.model import Box
    from ngff_convert.options import Options
    from ngff_convert.readers import (
        hdf5_chunks,
        hdf5_filters,
        imaris_source,
        ome_tiff_source,
        ome_xml,
        registry,
        stored_bytes,
        tiff_source,
    )

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ngff_convert.model import Image, PixelArray
    from ngff_convert.readers.contract import Source
    from ngff_convert.write_plan import Decided

    Mutator = Callable[[bytes, int, int], bytes]

ALLOWED = (ReadError, UnsupportedInput, OptionError, MemoryBudgetError)
"""What a reader, and the plan, may raise for an input; everything else is a finding."""

MEMORY_BYTES = 256 * 2**20
LARGEST_BOX_BYTES = 16 * 2**20
MOST_IMAGES = 6

MOST_CHANNELS_WRITTEN = 64
"""Of more, the metadata that would be written are not made: they would be most of the time."""

LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=65536")
"""libFuzzer's options unless others are given: seconds, MiB and bytes an input may take."""

LOADED = (hdf5_filters, imaris_source, ome_tiff_source, ome_xml, omexml_source, tiff_source)
"""Modules that the program imports when it needs them: here they are needed with counters."""


class Finding(Exception):  # noqa: N818 - that is what it is called
    """Something that no input may bring about, where nothing raises by itself."""


def fuzz(one_input: Callable[[bytes], None], mutator: Mutator | None = None) -> None:
    """Run libFuzzer with the options of the command line; it ends the process.

    Parameters
    ----------
    one_input
        Does with an input what is to be tested; whatever it raises is a finding.
    mutator
        Makes an input of another one: (bytes, bytes it may have, seed) -> bytes. None: libFuzzer's own.
    """
    warnings.simplefilter("error")
    unraisable: list[Any] = []
    sys.unraisablehook = unraisable.append

    def checked(data: bytes) -> None:
        one_input(data)
        if unraisable:
            raise Finding(f"raised where nobody can catch it: {unraisable.pop(0)}")

    given = {argument.partition("=")[0] for argument in sys.argv}
    arguments = [*sys.argv, *(limit for limit in LIMITS if limit.partition("=")[0] not in given)]
    if mutator:
        atheris.Setup(arguments, checked, custom_mutator=mutator)
    else:
        atheris.Setup(arguments, checked)
    atheris.Fuzz()


def file_input(name: str) -> Callable[[bytes], None]:
    """Return what reads an input as a file of this name."""
    memory = Path("/dev/shm")

    def one_input(data: bytes) -> None:
        if not data:
            return
        before = set(_descriptors())
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            path = f"{folder}/{name}"
            Path(path).write_bytes(data)
            check_file(path)
        left = set(_descriptors()) - before
        if left:
            raise Finding(f"{len(left)} files are left open")

    return one_input


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd") if sys.platform == "linux" else []  # noqa: PTH208 - many times a second


def check_file(path: str) -> None:
    """Open a file, look at all it says, read some of every level, decide how it would be written."""
    try:
        with registry.pick(path).open(path) as source:
            check_source(source)
    except ALLOWED as error:
        check_line(error)


def check_source(source: Source) -> None:
    """Look at all that an open source says, and read some of every level."""
    for line in (*source.warnings, *source.missing):
        check_line(line)
    if not source.images:
        raise Finding("a source without images")
    for image in source.images[:MOST_IMAGES]:
        check_image(image)
        for level in (image.pixels, *(lower.pixels for lower in image.native_levels)):
            for box in boxes(level):
                check_box(level, box)
    options = Options(memory=MEMORY_BYTES, workers=2)
    decided = decide(source, options, "fuzz")
    if sum(len(item.image.channels) for item in decided) <= MOST_CHANNELS_WRITTEN:
        check_written(decided)
    if any(image.native_levels for image in source.images):
        decide(source, replace(options, pyramid="native"), "fuzz")


def check_line(line: object) -> None:
    """Hold a message to what is said of all of them: one line, and something in it."""
    text = str(line)
    if not text.strip() or "\n" in text:
        raise Finding(f"not a message of one line: {text!r}")


def check_image(image: Image) -> None:
    """Hold an image to the contract of readers."""
    pixels = image.pixels
    if len(image.channels) != pixels.shape[1]:
        raise Finding(f"{len(image.channels)} channels for {pixels.shape[1]} of pixels")
    if image.time_stamps and len(image.time_stamps) not in (1, pixels.shape[0]):
        raise Finding(f"{len(image.time_stamps)} time stamps for {pixels.shape[0]} time points")
    for section, entries in image.original_metadata.items():
        for key, text in entries.items():
            if not all(isinstance(part, str) for part in (section, key, text)):
                raise Finding(f"original_metadata is text, unlike {section!r}: {key!r}: {text!r}")
    for level in (pixels, *(lower.pixels for lower in image.native_levels)):
        for sizes in (level.shape, level.chunks):
            if len(sizes) != 5 or not all(type(n) is int and n > 0 for n in sizes):
                raise Finding(f"five whole numbers above 0 are wanted, not {sizes!r}")
        if not level.dtype.isnative or level.dtype.kind not in "iuf" or not level.compression:
            raise Finding(f"pixels of {level.dtype!r}, compression {level.compression!r}")


def boxes(level: PixelArray) -> Iterator[Box]:
    """Yield the first chunk of a level, its last voxels as far as a chunk reaches, and one in the middle."""
    shape, chunks = level.shape, tuple(map(min, level.chunks, level.shape))
    if prod(level.chunks) * level.dtype.itemsize > LARGEST_BOX_BYTES:
        return
    starts = [
        (0,) * 5,
        tuple(n - chunk for n, chunk in zip(shape, chunks, strict=True)),
        tuple((n - chunk) // 2 for n, chunk in zip(shape, chunks, strict=True)),
    ]
    for t, c, z, y, x in dict.fromkeys(starts):
        a, b, d, e, f = chunks
        yield Box((t, c, z, y, x), (t + a, c + b, z + d, y + e, x + f))


def check_box(level: PixelArray, box: Box) -> None:
    """Read a box: pixels of the right kind, none of them left as they were in memory, or a reason why not."""
    blocks = []
    for value in (0x5A, 0xA5):
        stored_bytes._SCRATCH.buffers.clear()
        try:
            with memory_filled(value):
                blocks.append(level[box.slices])
        except ALLOWED as error:
            check_line(error)
            return
    block, again = blocks
    if block.shape != box.shape or block.dtype != level.dtype:
        raise Finding(f"{box} of {level.dtype} is read as {block.dtype} {block.shape}")
    if block.tobytes() != again.tobytes() and not decoded_by_hdf5(level):
        raise Finding(f"{box} is read with voxels that nobody put there")


def decoded_by_hdf5(level: PixelArray) -> bool:
    """Whether HDF5 decoded any of it: of a chunk that is too short, it hands out what follows in memory."""
    files = getattr(level, "files", None)
    kept = [entry for entry, _ in files.cache._entries.values()] if files else []
    return any(isinstance(entry, hdf5_chunks.Storage) and entry.layout == "library" for entry in kept)


@contextmanager
def memory_filled(value: int) -> Iterator[None]:
    """Let new arrays of numpy hold a value, so that what is forgotten in one is seen."""
    numpy_module: Any = np
    empty = np.empty

    def filled(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever numpy takes
        array = empty(*args, **kwargs)
        if array.dtype.kind != "O" and array.flags.c_contiguous:
            array.reshape(-1).view(np.uint8)[...] = value
        return array

    numpy_module.empty = filled
    try:
        yield
    finally:
        numpy_module.empty = empty


def check_written(decided: tuple[Decided, ...]) -> None:
    """Make the metadata that would be written; JSON without NaN and OME-XML must be able to hold them."""
    noted: list[str] = []
    described = [(item.image, item.plan) for item in decided[:MOST_IMAGES]]
    try:
        xml = omexml.build(described, noted, original_metadata=True)
    except omexml.PixelTypeError as error:
        xml = None
        noted.append(str(error))
    for line in noted:
        check_line(line)
    windows = [
        tuple(display.window_limits(item.plan.dtype, channel.window) for channel in item.image.channels)
        for item in decided
    ]
    for text in store.documents(decided, windows, xml).values():
        text.encode()
