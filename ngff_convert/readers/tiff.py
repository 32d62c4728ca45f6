"""TIFF files that are no OME-TIFF: which files they are, and opening them.

tifffile is imported when a file is opened: looking at an Imaris file must not cost its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.errors import UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, located, read_head
from ngff_convert.readers.tiff_head import holds_ome_xml, is_tiff

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.tiff_source import TiffSource


class TiffReader:
    """Reads TIFF and the formats made of it: ImageJ, slide scanners, and those of many microscopes."""

    name = "tiff"
    description = "TIFF: ImageJ, Micro-Manager, LSM, STK, SVS, NDPI, QPTIFF and others"
    suffixes = (
        *(".tif", ".tiff", ".tf2", ".tf8", ".btf", ".lsm", ".stk"),
        *(".svs", ".ndpi", ".scn", ".bif", ".qptiff"),
    )
    settings = frozenset({"axes", "shape"})

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is TIFF, but with no OME-XML in it."""
        return is_tiff(head) and not holds_ome_xml(path, head)

    def open(self, path: str, reading: Reading = NO_WISHES) -> TiffSource:
        """Open a file; one with OME-XML is read as if it had none.

        Raises
        ------
        ReadError
            It is missing, empty, damaged, truncated or no regular file.
        UnsupportedInput
            It is a folder, no TIFF file, or has pixels of a type or compression that nothing here decodes.
        OptionError
            The axes that the user states do not fit.
        """
        path = located(path)
        if not is_tiff(read_head(path)):
            raise UnsupportedInput(f"{path}: not a TIFF file: it does not begin as one")
        from ngff_convert.readers.tiff_source import TiffSource

        return TiffSource(path, reading)
