"""The reader of masks in OME-TIFF, which is asked for by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.readers.contract import NO_WISHES, located

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.ome_masks import OmeMasksSource


class OmeMasksReader:
    """Reads the masks of an OME-TIFF; only where it is asked for by its name."""

    name = "ome-masks"
    description = "masks in the OME-XML of an OME-TIFF, as label images: --labels NAME=FILE#masks"
    suffixes: tuple[str, ...] = ()
    settings: frozenset[str] = frozenset({"axes", "shape"})

    def can_read(self, path: str, head: bytes) -> bool:
        """Never: the pixels of an OME-TIFF are what is meant by its name alone."""
        del path, head
        return False

    def open(self, path: str, reading: Reading = NO_WISHES) -> OmeMasksSource:
        """Open the masks of a file; errors are those of an OME-TIFF.

        Raises
        ------
        UnsupportedInput
            There are none, or they are of a kind that is not known.
        """
        from ngff_convert.readers.ome_masks import OmeMasksSource

        return OmeMasksSource(located(path), reading)
