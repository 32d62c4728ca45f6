"""BigDataViewer files: an XML that says what the views are, and HDF5 with their pixels."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

from ngff_convert.errors import ConversionError, UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, located, read_head
from ngff_convert.readers.hdf5_signature import is_hdf5

if TYPE_CHECKING:
    from ngff_convert.readers.bdv_source import BdvSource
    from ngff_convert.readers.contract import Reading

ROOT = b"<SpimData"


class BigDataViewerReader:
    """Reads the setups of a BigDataViewer file, opened by its XML or by the HDF5 file."""

    name = "bigdataviewer"
    description = "BigDataViewer (XML and HDF5)"
    suffixes = (".xml", ".h5")
    settings: frozenset[str] = frozenset()

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is such an XML, or HDF5 in that layout."""
        if is_hdf5(head):
            return _holds_views(path)
        return ROOT in head

    def open(self, path: str, reading: Reading = NO_WISHES) -> BdvSource:
        """Open a file.

        Raises
        ------
        ReadError
            It is missing, empty, damaged, truncated or no regular file, or the other file is.
        UnsupportedInput
            It is neither, or the XML is of pixels that are not in HDF5.
        """
        path = located(path)
        head = read_head(path)
        if not is_hdf5(head) and ROOT not in head:
            raise UnsupportedInput(f"{path}: not a file of BigDataViewer: neither its XML nor HDF5")
        from ngff_convert.readers.bdv_source import BdvSource

        return BdvSource(path, is_xml=not is_hdf5(head))


def _holds_views(path: str) -> bool:
    from ngff_convert.readers.hdf5_files import HDF5_ERRORS, Hdf5Files, locate

    with closing(Hdf5Files()) as files, suppress(ConversionError, *HDF5_ERRORS):
        inside = located(path)
        with files.using(inside) as file:
            setups = [name for name in file.h5 if name[:1] == "s" and name[1:].isdigit()]
        return any(locate(files, inside, f"{name}/resolutions") is not None for name in setups)
    return False
