"""OME-TIFF: which files they are, and opening them or the set that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.errors import UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, located, read_head
from ngff_convert.readers.tiff_head import holds_ome_xml, is_tiff

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.ome_tiff_source import OmeTiffSource

COMPANION = ".companion.ome"


class OmeTiffReader:
    """Reads OME-TIFF, whatever it is called, and the companion files of sets."""

    name = "ome-tiff"
    description = "OME-TIFF: files, sets of files, companion files"
    suffixes = (".ome.tif", ".ome.tiff", ".ome.tf2", ".ome.tf8", ".ome.btf", COMPANION)
    settings = frozenset({"axes", "shape"})

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is TIFF with OME-XML in it, or a companion file."""
        return _is_companion(path, head) or holds_ome_xml(path, head)

    def open(self, path: str, reading: Reading = NO_WISHES) -> OmeTiffSource:
        """Open a file, and the others of its set.

        Raises
        ------
        ReadError
            It, or a file of its set, is missing, empty, damaged, truncated or no regular file.
        UnsupportedInput
            It is a folder, no OME-TIFF, or has pixels of a type or compression that nothing here decodes.
        OptionError
            The axes that the user states do not fit.
        """
        path = located(path)
        head = read_head(path)
        if not (is_tiff(head) or _is_companion(path, head)):
            raise UnsupportedInput(f"{path}: not an OME-TIFF file: it begins neither as TIFF nor as XML")
        from ngff_convert.readers.ome_tiff_source import OmeTiffSource

        return OmeTiffSource(path, reading)


def _is_companion(path: str, head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return str(path).lower().endswith(COMPANION) and text.startswith(b"<")
