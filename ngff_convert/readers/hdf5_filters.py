"""The filters of HDF5 that are undone here, without the lock of HDF5 or of the interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import imagecodecs
import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.stored_bytes import Bytes, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFLATE, SHUFFLE, FLETCHER32, SZIP, NBIT, SCALE_OFFSET, LZ4 = 1, 2, 3, 4, 5, 6, 32004
BITSHUFFLE = 32008
FILTER_NAMES = {
    DEFLATE: "deflate",
    SHUFFLE: "shuffle",
    FLETCHER32: "fletcher32",
    SZIP: "szip",
    NBIT: "nbit",
    SCALE_OFFSET: "scale-offset",
    LZ4: "lz4",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    BITSHUFFLE: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}

N_SZIP_VALUES, N_SCALE_OFFSET_VALUES, N_NBIT_VALUES = 4, 20, 8
"""Settings of filters of HDF5's own for plain numbers: H5Zszip.c, H5Zscaleoffset.c and H5Znbit.c; the third
and the fifth of the last two are the numbers in a chunk, and the bytes of each."""

NBIT_NUMBER = 1
"""Kind of what N-bit packs, in its fourth setting: a plain number, no array and no compound."""


class Filter(NamedTuple):
    """One step that a chunk went through when it was written: its number in HDF5, and its settings."""

    code: int
    values: tuple[int, ...]

    def __str__(self) -> str:
        name = FILTER_NAMES.get(self.code, f"filter {self.code}")
        if self.code == DEFLATE and self.values:
            return f"{name} {self.values[0]}"
        return f"{name} (via HDF5 plugin)" if self.is_foreign and self.code not in DECODERS else name

    @property
    def is_foreign(self) -> bool:
        """Whether HDF5 itself needs a plugin for it; those it brings along are 1 to 6."""
        return not 1 <= self.code <= 6


def require(filters: Sequence[Filter], where: str, n_bytes: int) -> None:
    """Make HDF5 know its filters, and see that it can trust their settings.

    Parameters
    ----------
    filters, where
        In the order in which they were applied; what they are of, for errors.
    n_bytes
        Size of a chunk.

    Raises
    ------
    UnsupportedInput
        One is not installed.
    ReadError
        Settings are damaged.
    """
    if any(step.is_foreign for step in filters):
        import hdf5plugin  # noqa: F401 - registers its filters with HDF5; only files that need one pay for it
    for step in filters:
        if not h5py.h5z.filter_avail(step.code):
            raise UnsupportedInput(
                f"{where}: compressed with {step}, which is not installed; install the HDF5 plugin for it"
            )
        if not _trusted(step.code, step.values, n_bytes):
            raise ReadError(f"{where}: the settings of its filter {step} are damaged; copy it again")


def _trusted(code: int, values: tuple[int, ...], n_bytes: int) -> bool:
    """Whether the settings of a filter do not lead HDF5 beyond the memory that it took for a chunk.

    HDF5 2.0 and its plugins read settings that are not there, divide by them, and believe what they say of
    the size of a chunk: they crash.
    """
    if code == SZIP:  # options, pixels a block, bits a pixel, pixels a line
        return len(values) == N_SZIP_VALUES and 0 < values[1] <= 32 and 0 < values[2] <= 64 and values[3] > 0
    if code == SCALE_OFFSET:
        return len(values) == N_SCALE_OFFSET_VALUES and values[2] * values[4] == n_bytes
    if code == NBIT:
        if len(values) < 3 or values[0] != len(values):
            return False
        as_it_is = values[1] != 0
        return as_it_is or (
            len(values) == N_NBIT_VALUES and values[2] * values[4] == n_bytes and values[3] == NBIT_NUMBER
        )
    if code == BITSHUFFLE:  # the third is the bytes of a number
        return len(values) >= 3 and values[2] > 0 and n_bytes % values[2] == 0
    return True


HIGHEST_RATIO = 1100
"""Deflate reaches 1032 : 1 at most, LZ4 255 : 1; a chunk that claims more is damaged."""


def check_size(stored: int, steps: Sequence[Filter], n_bytes: int) -> None:
    """Refuse sizes that no writer makes before memory is taken for them."""
    if stored == n_bytes:
        return
    n_compressors = sum(step.code != SHUFFLE for step in steps)
    if not n_compressors:
        raise ValueError(f"{stored} bytes where a chunk of {n_bytes} was expected")
    if n_bytes > stored * HIGHEST_RATIO**n_compressors:
        raise ValueError(f"{stored} bytes cannot hold a chunk of {n_bytes}")


def decode(stored: Bytes, filters: Sequence[Filter], out: Bytes) -> None:
    """Undo filters, the last one applied first, so that exactly `out` is filled.

    Raises
    ------
    ValueError, RuntimeError
        The data is damaged, or of another size.
    """
    data = stored
    for at in reversed(range(len(filters))):
        target: Bytes | None = out
        if at:
            size_is_known = all(f.code == SHUFFLE for f in filters[:at])
            target = scratch(f"step {at}", out.size) if size_is_known else None
        data = DECODERS[filters[at].code](data, filters[at].values, target)
    if data.size != out.size:
        raise ValueError(f"decodes to {data.size} bytes, not {out.size}")


# Their annotations leave out the arrays that they take.
_deflate_decode: Any = imagecodecs.deflate_decode
_lz4h5_decode: Any = imagecodecs.lz4h5_decode


def _inflate(data: Bytes, _: tuple[int, ...], out: Bytes | None) -> Bytes:
    return np.frombuffer(_deflate_decode(data, out=out), np.uint8)


def _unlz4(data: Bytes, _: tuple[int, ...], out: Bytes | None) -> Bytes:
    return np.frombuffer(_lz4h5_decode(data, out=out), np.uint8)


def _unshuffle(data: Bytes, values: tuple[int, ...], out: Bytes | None) -> Bytes:
    """Bring the bytes of each number together again; what does not fill a number follows as it is."""
    out = np.empty(data.size, np.uint8) if out is None else out
    if data.size != out.size:
        raise ValueError(f"{data.size} shuffled bytes, not {out.size}")
    width = min(max(values[0] if values else 1, 1), data.size)
    n = data.size // max(width, 1)
    numbers = out[: n * width].reshape(n, width)
    for byte in range(width):  # by columns: five times as fast as one transposed copy
        numbers[:, byte] = data[byte * n : (byte + 1) * n]
    out[n * width :] = data[n * width :]
    return out


DECODERS: dict[int, Callable[[Bytes, tuple[int, ...], Bytes | None], Bytes]] = {
    DEFLATE: _inflate,
    SHUFFLE: _unshuffle,
    LZ4: _unlz4,
}
"""What undoes each filter: (data, settings, where to, if the size is known) -> data."""
