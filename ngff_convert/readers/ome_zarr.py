"""OME-Zarr: which folders, archives and addresses are stores, and opening them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ngff_convert.errors import UnsupportedInput
from ngff_convert.readers.addresses import address_of
from ngff_convert.readers.contract import NO_WISHES, located
from ngff_convert.readers.urls import ARCHIVE, is_store

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reading
    from ngff_convert.readers.ome_zarr_source import OmeZarrSource

MARKERS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""A folder with one of these is a Zarr group or array."""

ARCHIVES = (ARCHIVE, ".zarr.zip")


class OmeZarrReader:
    """Reads OME-Zarr 0.1 to 0.6: folders, archives, and stores in buckets and on web servers."""

    name = "ome-zarr"
    description = "OME-Zarr 0.1 to 0.6: images, plates, collections; folders, .ozx archives, addresses"
    suffixes = (".zarr", *ARCHIVES)
    settings: frozenset[str] = frozenset()

    def can_read(self, path: str, head: bytes) -> bool:
        """Whether it is a folder that is Zarr, an archive by its name, or an address by its name."""
        try:
            if (address := address_of(path)) is not None:
                return is_store(address)
            if head:
                return path.lower().endswith(ARCHIVES) and head.startswith(b"PK")
            return holds_zarr(path)
        except UnsupportedInput:  # an address of some other kind
            return False

    def open(self, path: str, reading: Reading = NO_WISHES) -> OmeZarrSource:
        """Open a store, or a group within one that is an image, a well or a plate.

        Raises
        ------
        ReadError
            It is missing, cannot be reached, damaged, or leads out of itself.
        UnsupportedInput
            It is no OME-Zarr, or of a version, with axes, transformations, types or codecs that are not
            handled.
        OptionError
            The options of a bucket do not fit.
        """
        from ngff_convert.readers.ome_zarr_source import OmeZarrSource
        from ngff_convert.storage import storage_of

        path = located(path)
        address = address_of(path)
        where = storage_of(path) if address is None else storage_of(address.url, address.storage_options)
        return OmeZarrSource(path, where)


def holds_zarr(path: str) -> bool:
    """Whether a path is a folder that is a Zarr group or array; never raises."""
    try:
        return os.path.isdir(path) and any(  # noqa: PTH112 - that never raises, whatever the name
            os.path.lexists(os.path.join(path, name))  # noqa: PTH118
            for name in MARKERS
        )
    except (OSError, ValueError):
        return False
