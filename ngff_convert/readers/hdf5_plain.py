"""Any HDF5 file with datasets of numbers: ilastik's, Fiji's, MATLAB's, whatever a script has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.errors import UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, located, read_head
from ngff_convert.readers.hdf5_signature import is_hdf5

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.hdf5_plain_source import PlainSource


class PlainHdf5Reader:
    """Reads the datasets of 2 to 5 dimensions of an HDF5 file that no other reader recognises."""

    name = "hdf5"
    description = "HDF5 datasets, such as ilastik's"
    suffixes = (".h5", ".hdf5", ".hdf")
    settings = frozenset({"axes", "dataset"})
    is_last = True

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is HDF5 at all; formats within HDF5 have readers of their own, which come first."""
        return is_hdf5(head)

    def open(self, path: str, reading: Reading = NO_WISHES) -> PlainSource:
        """Open a file.

        Raises
        ------
        ReadError
            It is missing, empty, damaged, truncated or no regular file, or links to files that are.
        UnsupportedInput
            It is a folder, not HDF5, or has no dataset that could be an image.
        OptionError
            There is no such dataset as was asked for, or the axes are not as many as it has.
        """
        path = located(path)
        if not is_hdf5(read_head(path)):
            raise UnsupportedInput(f"{path}: not an HDF5 file: it does not begin as they do")
        from ngff_convert.readers.hdf5_plain_source import PlainSource

        return PlainSource(path, reading)
