"""Groups and arrays of a store: files, JSON, versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ngff_convert.storage_contract import joined
from ngff_convert.validation.findings import shown

if TYPE_CHECKING:
    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.findings import Findings

Json: TypeAlias = dict[str, Any]

MAX_JSON_BYTES = 32 * 2**20
"""Larger metadata files are not read: in Python they take some ten times as much."""

_V2_FILES = (".zarray", ".zgroup", ".zattrs")

OME_KEYS = (
    "multiscales",
    "image-label",
    "plate",
    "well",
    "labels",
    "bioformats2raw.layout",
    "series",
    "scene",
    "omero",
)
"""The keys by which a group is known as one of OME-Zarr."""


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array.

    Attributes
    ----------
    path
        From the root of the store.
    zarr_format
        2 or 3.
    kind
        ``"group"`` or ``"array"``.
    document
        What the node's own file says: ``zarr.json``, ``.zgroup`` or ``.zarray``.
    attributes
        Its user attributes.
    ome
        Those of OME-Zarr, the envelope of 0.5 and later taken off.
    """

    path: str
    zarr_format: int
    kind: Literal["group", "array"]
    document: Json
    attributes: Json
    ome: Json


def below(base: str, path: Any, findings: Findings) -> str | None:  # noqa: ANN401 - from foreign metadata
    """Return where a path in the metadata of a node leads; None, and a finding, if that is not down."""
    good = isinstance(path, str) and "\0" not in path and len(path) < 4096
    if good and all(part not in ("", ".", "..") for part in path.split("/")):
        return joined(base, path)
    findings.error(base, "path", f"the path {shown(path)} does not lead down from this group")
    return None


def is_there(store: Storage, path: str) -> bool:
    """Return whether a node is at a path, whole or not."""
    return bool(store.present(path, ("zarr.json", *_V2_FILES)))


def read_node(store: Storage, path: str, findings: Findings) -> Node | None:
    """Read the metadata of a node; None, and a finding, if there is none to be read."""
    if path and store.leads_out(path):
        findings.error(path, "link", "leads out of the store, or nowhere: not read")
        return None
    found = store.present(path, (*_V2_FILES, "zarr.json"))
    old = [name for name in found if name in _V2_FILES]
    if "zarr.json" in found:
        if old:
            findings.warning(path, "two-formats", f"has both zarr.json and {old[0]}; zarr.json is checked")
        return _node_v3(store, path, findings)
    if old:
        return _node_v2(store, path, old, findings)
    findings.error(path, "node-missing", "is named in the metadata, but there is no such group or array")
    return None


def _node_v3(store: Storage, path: str, findings: Findings) -> Node | None:
    document = read_json(store, joined(path, "zarr.json"), findings)
    if document is None:
        return None
    kind = document.get("node_type")
    if document.get("zarr_format") != 3 or kind not in ("group", "array"):
        message = f"zarr.json has zarr_format {shown(document.get('zarr_format'))}, node_type {shown(kind)}"
        findings.error(path, "group-file", f"{message}, not 3 and group or array")
        return None
    attributes = _object(document.get("attributes"))
    return Node(path, 3, kind, document, attributes, _ome_v3(path, attributes, findings))


def _ome_v3(path: str, attributes: Json, findings: Findings) -> Json:
    if "ome" not in attributes and any(key in attributes for key in OME_KEYS[:-2]):
        findings.error(path, "version-format", "keys of OME-Zarr are not under `ome`, as Zarr v3 has them")
        return attributes
    if "ome" in attributes and not isinstance(attributes["ome"], dict):
        findings.error(path, "json", f"`ome` is {shown(attributes['ome'])}, not an object")
    return _object(attributes.get("ome"))


def _node_v2(store: Storage, path: str, names: list[str], findings: Findings) -> Node | None:
    array = ".zarray" in names
    own = ".zarray" if array else ".zgroup"
    document: Json | None = {}
    if own not in names:
        findings.error(path, "group-file", "there is no .zgroup: readers find no group here")
    else:
        document = read_json(store, joined(path, own), findings)
        if document is not None and document.get("zarr_format") != 2:
            message = f"{own} has zarr_format {shown(document.get('zarr_format'))}, not 2"
            findings.error(path, "group-file", message)
    attributes: Json = {}
    if ".zattrs" in names:
        attributes = read_json(store, joined(path, ".zattrs"), findings) or {}
    ome = attributes
    if "ome" in attributes and not any(key in attributes for key in OME_KEYS):
        findings.error(path, "version-format", "keys of OME-Zarr are under `ome`, but this is Zarr v2")
        ome = _object(attributes["ome"])
    if document is None:
        return None
    return Node(path, 2, "array" if array else "group", document, attributes, ome)


def read_json(store: Storage, path: str, findings: Findings) -> Json | None:
    """Read a file of JSON that holds an object; None, and a finding, if it does not."""
    constants: list[str] = []

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        text = store.read(path, MAX_JSON_BYTES).decode("utf-8-sig")
        document = json.loads(text, parse_constant=constant)
    except (OSError, ValueError, RecursionError) as error:
        findings.error(path, "json", f"cannot be read: {str(error) or type(error).__name__}")
        return None
    if constants:
        findings.error(path, "json", f"holds {constants[0]}, which JSON does not have")
    if not isinstance(document, dict):
        findings.error(path, "json", f"holds {shown(document)}, not an object")
        return None
    return document


def _object(value: Any) -> Json:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


# -- versions ----------------------------------------------------------------------------------------------

CHECKED = ("0.4", "0.5", "0.6")
"""Versions whose rules are checked."""

_ZARR_FORMAT = {"0.4": 2, "0.5": 3, "0.6": 3}

_OTHERS = ("0.1", "0.2", "0.3", "0.6")


_WITH_CONTENT = ("multiscales", "plate", "well", "bioformats2raw.layout", "series", "scene")


def stated_versions(node: Node) -> list[tuple[str, Any]]:
    """Return every version that a group states: where, and what; the one that counts first."""
    ome = node.ome
    found = [("version", ome["version"])] if node.zarr_format == 3 and "version" in ome else []
    multiscales = ome.get("multiscales")
    for index, item in enumerate(multiscales if isinstance(multiscales, list) else []):
        if isinstance(item, dict) and "version" in item:
            found.append((f"multiscales[{index}].version", item["version"]))
    for key in ("plate", "well", "image-label"):
        if isinstance(ome.get(key), dict) and "version" in ome[key]:
            found.append((f"{key}.version", ome[key]["version"]))
    return found


def own_version(node: Node) -> str | None:
    """Return the version that a group states, or, where it states none, that its form gives away."""
    for _, version in stated_versions(node):
        if isinstance(version, str):
            return version[:40]
    return {2: "0.4", 3: "0.5"}[node.zarr_format] if any(key in node.ome for key in OME_KEYS) else None


def check_version(node: Node, expected: str, findings: Findings) -> None:
    """Hold the versions that a group states against the one of its store."""
    stated = stated_versions(node)
    for where, version in stated:
        if version != expected:
            findings.error(
                node.path, "version-mixed", f"{where} is {shown(version)}, the store's {expected!r}"
            )
    if expected in ("0.5", "0.6") and "version" not in node.ome and node.zarr_format == 3:
        # ome-zarr-py leaves it out of the list of labels, in every store it writes; readers do not mind.
        only_a_list = "labels" in node.ome and not any(key in node.ome for key in _WITH_CONTENT)
        say = findings.warning if only_a_list else findings.error
        say(node.path, "version-missing", "there is no `ome.version`")
    elif expected == "0.4":
        for key in ("plate", "well", "multiscales", "image-label"):
            if key in node.ome and not any(where.startswith(key) for where, _ in stated):
                message = f"`{key}` has no version: some viewers do not know it then as OME-Zarr"
                findings.warning(node.path, "version-missing", message)
    if expected in CHECKED and node.zarr_format != _ZARR_FORMAT[expected]:
        message = f"version {expected} in Zarr v{node.zarr_format}: 0.4 is Zarr v2, 0.5 and 0.6 are Zarr v3"
        findings.error(node.path, "version-format", message)


def check_root_version(version: str, findings: Findings) -> None:
    """Say whether the rules of a version are checked, once for a store."""
    if version in CHECKED:
        return
    if version.startswith((*_OTHERS, "0.9", "1.0", "0.5-")):
        message = f"the rules of version {version} are not checked, only structure, arrays and chunks"
        findings.warning("", "version-unchecked", message)
    else:
        findings.error("", "version", f"{shown(version)} is no version of OME-Zarr")
