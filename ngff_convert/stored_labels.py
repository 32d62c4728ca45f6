"""Single images of a store that is there, and the label images that belong to them, by their metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.storage import joined
from ngff_convert.stored import attributes_of, image_of, path_below

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
