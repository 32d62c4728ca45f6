"""Single images of a store that is there, and the label images that belong to them, by their metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.storage import joined
from ngff_convert.stored import attributes_of, image_of, path_below, paths_in, series_of
from ngff_convert.wells import listed, plain

if TYPE_CHECKING:
    from ngff_convert.storage import Storage
    from ngff_convert.stored import StoredImage


def image_in(root: Storage, group: str) -> StoredImage | None:
    """Return the image that a group is; None where it holds none itself. Errors are those of `images`."""
    version, attributes = attributes_of(root, group)
    return image_of(root, group, version, attributes) if "multiscales" in attributes else None


def labels_of(root: Storage, image: StoredImage) -> dict[str, StoredImage]:
    """Return the label images of an image that its group ``labels`` lists. Errors are those of `images`."""
    group = joined(image.folder, "labels")
    if not root.present(group, (".zattrs" if image.version == "0.4" else "zarr.json",)):
        return {}
    listed = attributes_of(root, group)[1].get("labels")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    found = {name: image_in(root, path_below(root, group, name)) for name in names}
    return {name: label for name, label in found.items() if label is not None}


def images_told(root: Storage, group: str) -> str:
    """Return in words how to say an image of a store: of a plate, a field of the well that a path may mean.

    Parameters
    ----------
    root
        The store.
    group
        The path of a well, ``B/02``, or its name, ``B02``; or of anything else.

    Raises
    ------
    VerificationError, UnsupportedInput
        Those of `stored.images`.
    """
    version, attributes = attributes_of(root, "")
    if "plate" not in attributes:
        images = series_of(root, version) if "bioformats2raw.layout" in attributes else []
        if not images:
            return "its only image is the store itself: leave --image out"
        return f"its images are {listed(images)}: say which by --image"
    wells = paths_in(root, "", version, attributes["plate"], "wells")
    meant = [well for well in wells if _name(group) == _name(well) or group.startswith(f"{well}/")]
    if len(meant) != 1:
        return f"its wells are {listed(wells)}: say which field of one by --image, such as A/1/0"
    own, keys = attributes_of(root, meant[0])
    fields = paths_in(root, meant[0], own, keys.get("well"), "images")
    return f"the fields of the well {meant[0]} are {listed(fields)}: say which by --image"


def _name(well: str) -> str:
    return plain(well.replace("/", ""))
