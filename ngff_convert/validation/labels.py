"""Label images against the image that they belong to."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from ngff_convert.storage_contract import joined
from ngff_convert.validation.arrays import known_sizes
from ngff_convert.validation.findings import shown
from ngff_convert.validation.nodes import below, is_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.images import Pyramid
    from ngff_convert.validation.nodes import Node

MAX_ENTRIES = 10_000
"""Entries of a folder of labels that are looked at."""


def listed_labels(store: Storage, node: Node, findings: Findings) -> list[str]:
    """Return the paths, from the root, of the label images that a group lists; finds those it does not."""
    names = node.ome.get("labels")
    paths = [below(node.path, name, findings) for name in (names if isinstance(names, list) else [])]
    listed = list(dict.fromkeys(path for path in paths if path is not None))
    parents = {path[:at] for path in listed for at, letter in enumerate(path) if letter == "/"}
    entries = list(islice(store.walk(node.path), MAX_ENTRIES))
    if entries and entries[0].kind == "closed":
        message = (
            f"cannot be listed: {entries[0].reason}; label images that `labels` leaves out are not found"
        )
        findings.warning(node.path, "label-unlisted", message)
        return listed
    for (name,) in sorted(entry.names for entry in entries):
        path = joined(node.path, name)
        if path not in listed and path not in parents and is_there(store, path):
            message = "is a group beside the label images, but `labels` does not list it"
            findings.warning(path, "label-unlisted", message)
    return listed


def check_label(node: Node, pyramids: Sequence[Pyramid], of: Sequence[Pyramid], findings: Findings) -> None:
    """Check a label image.

    Parameters
    ----------
    node
        Its group.
    pyramids
        Its levels.
    of
        Those of its image; empty if that is not known.
    findings
        Where findings go.
    """
    _check_image_label(node, findings)
    for pyramid in pyramids:
        for level in pyramid.levels:
            array = level.array
            if array is not None and array.itemsize and not array.dtype.startswith(("int", "uint")):
                message = f"has dtype {array.dtype}, but a label image has integers"
                findings.error(array.path, "label-dtype", message)
    if pyramids and of:
        n, n_image = len(pyramids[0].levels), len(of[0].levels)
        if n != n_image:
            message = f"has {n} levels, but its image has {n_image}"
            findings.error(node.path, "label-levels", message)
        _check_shape(node.path, pyramids[0], of[0], findings)


def _check_image_label(node: Node, findings: Findings) -> None:
    if "image-label" not in node.ome:
        message = "there is no `image-label`: viewers may take this for a common image"
        findings.warning(node.path, "image-label-missing", message)
        return
    label = node.ome["image-label"]
    colors = label.get("colors") if isinstance(label, dict) else None
    items = [item for item in (colors if isinstance(colors, list) else []) if isinstance(item, dict)]
    values = [item.get("label-value") for item in items]
    if wrong := [value for value in values if type(value) is not int]:
        message = f"the label-value {shown(wrong[0])} of a color is no whole number"
        findings.error(node.path, "label-colors", message)
    counts = Counter(value for value in values if type(value) is int)
    if twice := [value for value, count in counts.items() if count > 1]:
        findings.error(node.path, "label-colors", f"the label-value {twice[0]} has several colors")


def _check_shape(where: str, pyramid: Pyramid, of: Pyramid, findings: Findings) -> None:
    if not pyramid.levels or not of.levels:
        return
    own, image = pyramid.levels[0].array, of.levels[0].array
    if own is None or image is None:
        return
    if len(own.shape) != len(pyramid.axes) or len(image.shape) != len(of.axes):
        return  # there is a finding of it already
    sizes = dict(zip(of.axes, image.shape, strict=True))
    for name, n in zip(pyramid.axes, own.shape, strict=True):
        if n not in (1, sizes.get(name, n)):
            message = f"axis {name} has {n} voxels, but its image is {known_sizes(image.shape)}"
            findings.error(where, "label-shape", message)
