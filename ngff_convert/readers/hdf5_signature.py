"""How HDF5 files begin; imports nothing, because files of every other format are looked at too."""

from __future__ import annotations

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HDF5_MAGIC_AT = (0, 512, 1024, 2048)
"""HDF5 looks for its signature there, and at further powers of two that nobody uses."""


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins so is HDF5."""
    return any(head[at : at + len(HDF5_MAGIC)] == HDF5_MAGIC for at in HDF5_MAGIC_AT)
