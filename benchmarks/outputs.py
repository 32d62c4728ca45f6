"""What a converter wrote: files, bytes, and the arrays of its pyramid, read from their metadata alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Output:
    """A folder that holds an OME-Zarr, or nothing."""

    n_files: int
    n_bytes: int
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the arrays, largest first."""
    chunks: tuple[int, ...]
    """Chunks of the largest array; inner chunks where there are shards."""

    @property
    def n_voxels(self) -> int:
        """Voxels of the largest array."""
        return math.prod(self.shapes[0]) if self.shapes else 0


def describe(folder: Path) -> Output:
    """Count the files below a folder and read the metadata of its arrays."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    arrays = [array for path in files if (array := _array(path)) is not None]
    arrays.sort(key=lambda array: -math.prod(array[0]))
    return Output(
        n_files=len(files),
        n_bytes=sum(path.stat().st_size for path in files),
        shapes=tuple(shape for shape, _ in arrays),
        chunks=arrays[0][1] if arrays else (),
    )


def _array(path: Path) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return shape and chunks if this is the metadata file of an array."""
    if path.name == ".zarray":
        document = json.loads(path.read_text())
        return tuple(document["shape"]), tuple(document["chunks"])
    if path.name == "zarr.json":
        document = json.loads(path.read_text())
        if document.get("node_type") == "array":
            return tuple(document["shape"]), _inner_chunks(document)
    return None


def _inner_chunks(document: dict[str, Any]) -> tuple[int, ...]:
    """Return the chunk shape of a Zarr v3 array, looking into shards."""
    for codec in document["codecs"]:
        if codec["name"] == "sharding_indexed":
            return tuple(codec["configuration"]["chunk_shape"])
    return tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
