"""What the first bytes of a compressed chunk say of it, looked at before HDF5 decodes it.

HDF5 2.0 does not compare what its filters return with the size of a chunk: of a chunk that is too short it
hands out what follows in memory, as pixels. The filter Bitshuffle believes what a chunk says of its own size,
and reads on beyond it until the process is ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.readers.hdf5_filters import BITSHUFFLE, FLETCHER32, LZ4, NBIT, SHUFFLE, SZIP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.readers.hdf5_filters import Filter

BLOSC, ZSTD = 32001, 32015
CHECKSUM_BYTES = 4

_KEEP_THE_SIZE = (SHUFFLE, FLETCHER32)


def fault(stored: bytes, steps: Sequence[Filter], n_bytes: int) -> str:
    """Return what is wrong with a stored chunk, as far as can be seen without decoding it; empty if nothing.

    Parameters
    ----------
    stored
        The chunk.
    steps
        The filters it went through, in the order in which they were applied.
    n_bytes
        What it should be when they are undone.

    Examples
    --------
    >>> fault(bytes(9), [], 8)
    '9 bytes where 8 were expected'
    """
    while steps and steps[-1].code in _KEEP_THE_SIZE:
        if steps[-1].code == FLETCHER32:
            stored = stored[:-CHECKSUM_BYTES]
        steps = steps[:-1]
    if not steps:
        return _unlike(len(stored), n_bytes)
    last = steps[-1]
    stated = _stated_size(last, stored)
    if last.code == BITSHUFFLE and _is_compressed(last) and not _blocks_fit(stored, last):
        return "its blocks reach beyond its end"
    if last.code == NBIT and not last.values[1] and len(stored) * 8 < last.values[2] * last.values[6]:
        return f"{len(stored)} bytes of {last.values[2]} numbers of {last.values[6]} bits"
    sizes_are_known = all(step.code in _KEEP_THE_SIZE for step in steps[:-1])
    return _unlike(stated, n_bytes) if stated is not None and sizes_are_known else ""


def _unlike(found: int, expected: int) -> str:
    return "" if found == expected else f"{found} bytes where {expected} were expected"


def _is_compressed(step: Filter) -> bool:
    """Whether Bitshuffle, which may come alone, was followed by LZ4 or Zstandard."""
    return len(step.values) > 4 and step.values[4] != 0


def _stated_size(step: Filter, stored: bytes) -> int | None:
    """Return how large a chunk says it is when the filter is undone; None where it does not say."""
    if step.code == BITSHUFFLE and not _is_compressed(step):
        return len(stored)
    if step.code in (LZ4, BITSHUFFLE):
        return int.from_bytes(stored[:8], "big")
    if step.code == BLOSC:
        return int.from_bytes(stored[4:8], "little")
    if step.code == SZIP:
        return int.from_bytes(stored[:4], "little")
    return _zstandard_size(stored) if step.code == ZSTD else None


def _zstandard_size(stored: bytes) -> int | None:
    """Return the content size of a frame (RFC 8878, section 3.1.1.1); None where it is left out."""
    if len(stored) < 5:
        return 0
    descriptor = stored[4]
    is_one_segment = bool(descriptor & 0x20)
    width = {0: int(is_one_segment), 1: 2, 2: 4, 3: 8}[descriptor >> 6]
    at = 5 + (not is_one_segment) + (0, 1, 2, 4)[descriptor & 3]
    if not width:
        return None
    return int.from_bytes(stored[at : at + width], "little") + (256 if width == 2 else 0)


def _blocks_fit(stored: bytes, step: Filter) -> bool:
    """Whether the blocks of a Bitshuffle chunk lie within it.

    It begins with its size and that of its blocks; each block then with how many bytes follow. Numbers that
    fill no block of 8 come last, as they are (bshuf_h5filter.c, bitshuffle_core.c).
    """
    if len(stored) < 12:
        return False
    size = int.from_bytes(stored[:8], "big")
    block_bytes = int.from_bytes(stored[8:12], "big")
    width = step.values[2]
    block = block_bytes // width if width else 0
    if not block or block % 8:
        return False
    n = size // width
    at = 12
    for _ in range(n // block + (n % block >= 8)):
        if at + 4 > len(stored):
            return False
        at += 4 + int.from_bytes(stored[at : at + 4], "big")
    return at + n % 8 * width <= len(stored)
