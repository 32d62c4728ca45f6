"""The groups of a store, from its root down: plates, wells, collections, images, labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ngff_convert.storage_contract import joined
from ngff_convert.validation import consolidated, images, labels, plates, sidecar, systems
from ngff_convert.validation.findings import shown
from ngff_convert.validation.models import check_model
from ngff_convert.validation.nodes import (
    CHECKED,
    below,
    check_version,
    is_there,
    read_node,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.images import Pyramid
    from ngff_convert.validation.nodes import Node

MAX_ENTRIES = 100_000
"""Entries of the folder of a collection that are looked at."""

_INTERMEDIATE = "is on the way to a node, but no Zarr group itself"


@dataclass
class Tree:
    """What is met on the way through a store.

    Attributes
    ----------
    store, findings
        Where to read, and where findings go.
    version
        Of the hierarchy.
    pyramids
        Of every image and label image, in the order they were met.
    seen
        Paths of images: one that is named twice is checked once.
    n_images, n_plates, n_wells, n_labels
        How many there are.
    """

    store: Storage
    findings: Findings
    version: str
    pyramids: list[Pyramid] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    n_images: int = 0
    n_plates: int = 0
    n_wells: int = 0
    n_labels: int = 0


def walk(tree: Tree, root: Node) -> None:
    """Check the root of a store and all that it leads to."""
    consolidated.check(tree.store, root, tree.findings)
    if "plate" in root.ome:
        _plate(tree, root)
    elif "well" in root.ome:
        _well(tree, root, [])
    elif "multiscales" in root.ome or "image-label" in root.ome or "omero" in root.ome:
        _root_image(tree, root)
    elif "bioformats2raw.layout" in root.ome:
        _collection(tree, root)
    elif "labels" in root.ome:
        _labels(tree, root, ())
    elif "scene" in root.ome:
        _scene(tree, root)
    else:
        _check(tree, root)  # the group OME by itself


def _check(tree: Tree, node: Node) -> None:
    check_version(node, tree.version, tree.findings)
    if tree.version in CHECKED:
        check_model(node, tree.version, tree.findings)
    if tree.version == "0.6" and "scene" in node.ome:
        systems.check_scene(node, tree.findings)


def _root_image(tree: Tree, root: Node) -> None:
    if "image-label" in root.ome:
        _label(tree, root, ())
    else:
        _image(tree, root)
    if tree.store.has(sidecar.SIDECAR):
        sidecar.check_sidecar(tree.store, 1, counted=False, findings=tree.findings)


# -- images ------------------------------------------------------------------------------------------------


def _named(tree: Tree, path: str, key: str) -> Node | None:
    """Read a group that metadata name; None, and a finding, if it is not what it should be."""
    if path in tree.seen:
        return None
    tree.seen.add(path)
    node = read_node(tree.store, path, tree.findings)
    if node is not None and (node.kind != "group" or key not in node.ome):
        tree.findings.error(path, "node-kind", f"is no group with `{key}`, as the metadata name it")
        return None
    return node


def _image(tree: Tree, node: Node) -> None:
    tree.n_images += 1
    found = _pyramids(tree, node)
    path = joined(node.path, "labels")
    if is_there(tree.store, path):
        group = read_node(tree.store, path, tree.findings)
        if group is not None and "labels" in group.ome:
            _labels(tree, group, found)
        elif group is not None and group.kind == "group":
            tree.findings.error(path, "labels", "the group labels does not list its label images")


def _pyramids(tree: Tree, node: Node) -> list[Pyramid]:
    _check(tree, node)
    found = images.read_pyramids(tree.store, node, tree.version, tree.findings)
    images.check_omero(node, found, tree.findings)
    tree.pyramids += found
    return found


def _labels(tree: Tree, group: Node, of: Sequence[Pyramid]) -> None:
    _check(tree, group)
    for path in labels.listed_labels(tree.store, group, tree.findings):
        node = _named(tree, path, "multiscales")
        if node is not None:
            _label(tree, node, of)


def _label(tree: Tree, node: Node, of: Sequence[Pyramid]) -> None:
    tree.n_labels += 1
    labels.check_label(node, _pyramids(tree, node), of, tree.findings)


# -- plates ------------------------------------------------------------------------------------------------


def _plate(tree: Tree, root: Node) -> None:
    tree.n_plates += 1
    _check(tree, root)
    known = plates.acquisitions(root, tree.findings)
    wells = plates.listed_wells(root, tree.findings)
    for row in dict.fromkeys(path.rpartition("/")[0] for path in wells):
        own = [joined(row, name) for name in ("zarr.json", ".zgroup")]
        if tree.store.has_folder(row) and not any(map(tree.store.has, own)):
            tree.findings.error(row, "group-file", _INTERMEDIATE)
    counts = []
    for path in wells:
        node = _named(tree, path, "well")
        if node is not None:
            _well(tree, node, known)
            counts.append(plates.acquisitions_of(node))
    plates.check_counts(root, counts, tree.findings)
    _check_wells_listed(tree, plates.rows(root), wells)
    _check_series(tree)
    if tree.store.has(sidecar.SIDECAR):
        sidecar.check_sidecar(tree.store, tree.n_images, counted=False, findings=tree.findings)


def _check_wells_listed(tree: Tree, rows: Sequence[str], wells: Sequence[str]) -> None:
    """Find wells in the rows of a plate that it does not list."""
    for row in rows:
        entries = islice(tree.store.walk(row), MAX_ENTRIES)
        names = {name for entry in entries for name in entry.names[:1]}
        for path in sorted({joined(row, name) for name in names}.difference(wells)):
            if is_there(tree.store, path):
                tree.findings.warning(path, "plate-unlisted", "is there, but the plate does not list it")


def _check_series(tree: Tree) -> None:
    """Hold what the group OME beside a plate lists against the fields of the plate."""
    node = read_node(tree.store, "OME", tree.findings) if is_there(tree.store, "OME") else None
    if node is None or "series" not in node.ome:
        return
    _check(tree, node)
    listed = node.ome["series"] if isinstance(node.ome["series"], list) else []
    named = {path for path in listed if isinstance(path, str)}
    if strange := sorted(named - tree.seen):
        message = f"`series` names {shown(strange[0])}, which is no field of the plate"
        tree.findings.error("OME", "series", message)
    if len(named) != tree.n_images or len(listed) != tree.n_images:
        message = f"`series` names {len(listed)} images, but the plate has {tree.n_images}"
        tree.findings.warning("OME", "series", message)


def _well(tree: Tree, node: Node, known: list[int]) -> None:
    tree.n_wells += 1
    _check(tree, node)
    for path in plates.listed_fields(node, tree.version, known, tree.findings):
        field_node = _named(tree, path, "multiscales")
        if field_node is not None:
            _image(tree, field_node)


# -- collections -------------------------------------------------------------------------------------------


def _collection(tree: Tree, root: Node) -> None:
    _check(tree, root)
    paths = _series(tree)
    if not paths:
        message = "there is no image: neither 0/, 1/, ... nor `series` in OME/"
        tree.findings.error(root.path, "collection", message)
    for path in paths:
        node = _named(tree, path, "multiscales")
        if node is not None:
            _image(tree, node)
    if tree.store.has(sidecar.SIDECAR):
        sidecar.check_sidecar(tree.store, len(paths), counted=True, findings=tree.findings)
    else:
        tree.findings.warning(sidecar.SIDECAR, "ome-xml", "is not there")


def _scene(tree: Tree, root: Node) -> None:
    _check(tree, root)
    for path in systems.scene_paths(root.ome["scene"]):
        place = below(root.path, path.strip("/"), tree.findings)
        node = _named(tree, place, "multiscales") if place is not None else None
        if node is not None:
            _image(tree, node)


def _series(tree: Tree) -> list[str]:
    """Return the paths of the images of a collection, from the group OME or by their numbers."""
    if is_there(tree.store, "OME"):
        node = read_node(tree.store, "OME", tree.findings)
        if node is not None and "series" in node.ome:
            _check(tree, node)
            series = node.ome["series"]
            listed = series if isinstance(series, list) else []
            paths = [below("", path, tree.findings) for path in listed]
            named = [path for path in paths if path is not None]
            if twice := [path for path, count in Counter(named).items() if count > 1]:
                message = f"`series` names {shown(twice)} more than once: images are doubled, others lost"
                tree.findings.error("OME", "series", message)
            _check_reached(tree, named, "`series` does not name it", tree.findings.warning)
            return named
    elif tree.store.has_folder("OME"):
        tree.findings.error("OME", "group-file", _INTERMEDIATE)
    found: list[str] = []
    while is_there(tree.store, str(len(found))):
        found.append(str(len(found)))
    _check_reached(tree, found, f"there is no {len(found)}/ before it", tree.findings.error)
    return found


def _check_reached(tree: Tree, found: list[str], reason: str, say: Callable[[str, str, str], None]) -> None:
    """Find the numbered groups beside the images of a collection that nothing leads to."""
    entries = list(islice(tree.store.walk(""), MAX_ENTRIES))
    if entries and entries[0].kind == "closed":
        message = f"cannot be listed: {entries[0].reason}; images that nothing leads to are not found"
        tree.findings.warning("", "image-unlisted", message)
        return
    names = {name for entry in entries for name in entry.names}
    numbered = [name for name in names.difference(found) if name.isascii() and name.isdigit()]
    for name in sorted(numbered, key=lambda name: (len(name), name)):
        if is_there(tree.store, name):
            say(name, "image-unlisted", f"is a numbered group, but readers do not find it: {reason}")
