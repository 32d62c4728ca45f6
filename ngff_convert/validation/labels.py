"""Label images against the image that they belong to."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.model import values_of
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

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

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
    _check_values(node, pyramids, findings)
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
    values = _stated(label, "colors") if isinstance(label, dict) else []
    if wrong := [value for value in values if type(value) is not int]:
        message = f"the label-value {shown(wrong[0])} of a color is no whole number"
        findings.error(node.path, "label-colors", message)
    counts = Counter(value for value in values if type(value) is int)
    if twice := [value for value, count in counts.items() if count > 1]:
        findings.error(node.path, "label-colors", f"the label-value {shown(twice[0])} has several colors")


def _check_values(node: Node, pyramids: Sequence[Pyramid], findings: Findings) -> None:
    """Find label-values that no voxel can have."""
    label = node.ome.get("image-label")
    array = next((level.array for pyramid in pyramids for level in pyramid.levels if level.array), None)
    if not isinstance(label, dict) or array is None or array.dtype not in _INTEGERS:
        return
    held = values_of(np.dtype(array.dtype))
    for key in ("colors", "properties"):
        beyond = [value for value in _stated(label, key) if type(value) is int and value not in held]
        if beyond:
            message = f"the label-value {shown(beyond[0])} of {key} is none that {array.dtype} can hold"
            findings.warning(node.path, "label-value", message)


def _stated(label: dict[str, Any], key: str) -> list[Any]:
    """Return the label-values of a list of `image-label`."""
    found = label.get(key)
    items = found if isinstance(found, list) else []
    return [item.get("label-value") for item in items if isinstance(item, dict)]


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
