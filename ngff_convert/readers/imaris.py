"""Imaris 5.5 files (``.ims``, HDF5): which files they are, and opening them.

Everything else is imported when a file is opened: looking at a TIFF file must not cost the start of h5py.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

from ngff_convert.errors import ConversionError, UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, located, read_head
from ngff_convert.readers.hdf5_signature import is_hdf5

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.imaris_source import ImarisSource

OLD_FORMATS = (
    ((b"II*\0", b"MM\0*"), "an Imaris 3 file (TIFF)"),
    ((b"\0\x4c\xa1\x0c",), "an Imaris 2.7 file (raw)"),
)
"""Formats that are called ``.ims`` too: how they begin, and what they are."""


class ImarisReader:
    """Reads Imaris 5.5 files, whatever they are called, and header files that link to their pixels."""

    name = "imaris"
    description = "Imaris 5.5 (HDF5)"
    suffixes = (".ims",)
    settings: frozenset[str] = frozenset()

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is HDF5 in the layout of Imaris, or an old ``.ims`` that `open` refuses by name."""
        is_ims = _is_ims(path)
        if not is_hdf5(head):
            return is_ims and _old_format(head) is not None
        return is_ims or _holds_image(path)

    def open(self, path: str, reading: Reading = NO_WISHES) -> ImarisSource:
        """Open a file.

        Raises
        ------
        ReadError
            It is missing, empty, damaged, truncated or no regular file, or links to files that are.
        UnsupportedInput
            It is a folder, no Imaris 5.5 file, or has voxels of a type that no converter knows.
        """
        path = located(path)
        head = read_head(path)
        if not is_hdf5(head):
            old = _old_format(head) if _is_ims(path) else None
            if old:
                raise UnsupportedInput(f"{path}: {old}; save it with Imaris 5.5 or later")
            raise UnsupportedInput(f"{path}: not an Imaris file: it does not begin as HDF5 files do")
        from ngff_convert.readers.imaris_source import ImarisSource

        return ImarisSource(path)


def _is_ims(path: str) -> bool:
    return str(path).lower().endswith(".ims")


def _old_format(head: bytes) -> str | None:
    return next((what for magics, what in OLD_FORMATS if head.startswith(magics)), None)


def _holds_image(path: str) -> bool:
    from ngff_convert.readers.hdf5_files import HDF5_ERRORS, Hdf5Files
    from ngff_convert.readers.imaris_layout import has_image

    with closing(Hdf5Files()) as files, suppress(ConversionError, *HDF5_ERRORS):
        return has_image(files, located(path))
    return False
