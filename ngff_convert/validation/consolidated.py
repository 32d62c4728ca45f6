"""Consolidated metadata against the files that they repeat."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from ngff_convert.storage_contract import joined
from ngff_convert.validation.nodes import MAX_JSON_BYTES, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Json, Node

MAX_NODES = 10_000
"""Nodes that are compared."""

_V3_KEYS = ("node_type", "shape", "data_type", "attributes")
"""What of a node of Zarr v3 is compared: the rest has several spellings."""


def check(store: Storage, root: Node, findings: Findings) -> None:
    """Compare what the root repeats of the nodes below it with their own files."""
    for path, repeated in islice(_repeated(store, root, findings), MAX_NODES):
        own = _own(store, path)
        if own is None or _same(own, repeated):
            if own is None:
                findings.warning(path, "consolidated", "is in the consolidated metadata, but cannot be read")
            continue
        findings.warning(
            path, "consolidated", "says something else than the consolidated metadata at the root"
        )


def _repeated(store: Storage, root: Node, findings: Findings) -> Iterator[tuple[str, Any]]:
    if root.zarr_format == 2:
        document = (
            read_json(store, joined(root.path, ".zmetadata"), findings) if store.has(".zmetadata") else None
        )
        nodes = (document or {}).get("metadata")
        yield from (nodes if isinstance(nodes, dict) else {}).items()
        return
    inline = root.document.get("consolidated_metadata")
    nodes = inline.get("metadata") if isinstance(inline, dict) else None
    for path, node in (nodes if isinstance(nodes, dict) else {}).items():
        yield joined(path, "zarr.json"), node


def _own(store: Storage, path: str) -> Json | None:
    """Return what a file says; None if it cannot be read, which others report where it matters."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        return None
    try:
        found = json.loads(store.read(path, MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _same(own: Json, repeated: Any) -> bool:  # noqa: ANN401
    if not isinstance(repeated, dict):
        return False
    if own.get("zarr_format") == 3:
        return all((own.get(key) or None) == (repeated.get(key) or None) for key in _V3_KEYS)
    return own == {key: value for key, value in repeated.items() if key != "consolidated_metadata"}
