"""What the groups and arrays of an OME-Zarr say -> the same in a later version. No file is touched.

What is not of OME-Zarr is kept as it is, and so are keys within its metadata that no version knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ngff_convert.model import AXES
from ngff_convert.ngff_systems import with_systems

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Json: TypeAlias = dict[str, Any]

OLDER = ("0.1", "0.2", "0.3", "0.4")
"""Versions that are Zarr v2."""

KEYS = ("multiscales", "omero", "image-label", "plate", "well", "labels", "bioformats2raw.layout", "series")
"""What OME-Zarr says of a group; from 0.5 on below ``ome``."""

_WITH_VERSION = ("plate", "well", "image-label")
_AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


class NotUpgradable(ValueError):  # noqa: N818 - the store is at fault
    """Something has no form in the later version; the message says what."""


# -- groups ------------------------------------------------------------------------------------------------


def upgraded(ome: Json, version: str, to: str, shape_of: Callable[[str], Sequence[int]]) -> Json:
    """Return what OME-Zarr says of a group, in a later version.

    Parameters
    ----------
    ome
        Its keys; those of 0.5 without the envelope.
    version, to
        In which it is, and is to be: ``"0.5"`` or ``"0.6"``.
    shape_of
        Gives the shape of a level by its path; only asked of images older than 0.4.

    Raises
    ------
    NotUpgradable
        Something has no form in the later version.

    Examples
    --------
    >>> upgraded({"labels": ["cells"]}, "0.4", "0.6", len)
    {'version': '0.6', 'labels': ['cells']}
    """
    found = {"version": to, **{key: value for key, value in ome.items() if key != "version"}}
    for key in _WITH_VERSION:
        if isinstance(found.get(key), dict):
            own = {name: value for name, value in found[key].items() if name != "version"}
            found[key] = own if to == "0.6" else {"version": to, **own}
    if isinstance(found.get("omero"), dict):
        found["omero"] = {name: value for name, value in found["omero"].items() if name != "version"}
    if version in OLDER and isinstance(found.get("plate"), dict):
        found["plate"] = _with_indices(found["plate"])
    try:
        if "multiscales" in found:
            found["multiscales"] = [
                _multiscales(item, version, to, shape_of) for item in found["multiscales"]
            ]
    except NotUpgradable:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise NotUpgradable(f"its multiscales are not as OME-NGFF {version} has them: {said}") from error
    return found


def _multiscales(item: Json, version: str, to: str, shape_of: Callable[[str], Sequence[int]]) -> Json:
    found = {key: value for key, value in item.items() if key != "version"}
    shapes: list[Sequence[int]] = []
    if version in OLDER:
        shapes = [tuple(shape_of(dataset["path"])) for dataset in item["datasets"]]
        found = {**found, "axes": _axes(item.get("axes"), len(shapes[0]) if shapes else 0)}
        found["datasets"] = [
            _with_scale(dataset, shapes[0], shape)
            for dataset, shape in zip(item["datasets"], shapes, strict=True)
        ]
    return with_systems(found) if to == "0.6" else found


def _axes(stated: Any, n_axes: int) -> Any:  # noqa: ANN401 - from foreign metadata
    """Return axes as objects: 0.3 has names, 0.1 and 0.2 nothing."""
    if stated is None:
        if n_axes != len(AXES):
            raise NotUpgradable(f"its images have {n_axes} dimensions, but no axes: 5 would be t, c, z, y, x")
        stated = list(AXES)
    if not all(isinstance(axis, str) for axis in stated):
        return stated
    if unknown := [axis for axis in stated if axis not in _AXIS_TYPES]:
        raise NotUpgradable(f"what its axis {unknown[0]!r} is, is not known")
    return [{"name": axis, "type": _AXIS_TYPES[axis]} for axis in stated]


def _with_scale(dataset: Json, full: Sequence[int], shape: Sequence[int]) -> Json:
    """Return a level with a scale: until 0.3 there was none, and it is what sizes say."""
    if dataset.get("coordinateTransformations"):
        return dataset
    scale = [float(f"{a / b:.12g}") for a, b in zip(full, shape, strict=True)]
    return {**dataset, "coordinateTransformations": [{"type": "scale", "scale": scale}]}


def _with_indices(plate: Json) -> Json:
    """Return a plate whose wells say in which row and column they are, which 0.4 began with."""
    try:
        rows, columns = ([item["name"] for item in plate[key]] for key in ("rows", "columns"))
        wells = []
        for well in plate["wells"]:
            row, _, column = well["path"].partition("/")
            places = {"rowIndex": rows.index(row), "columnIndex": columns.index(column)}
            wells.append({**places, **well})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotUpgradable(f"its plate names no rows and columns that its wells are in: {error}") from error
    return {**plate, "wells": wells}


def group_of(attributes: Json, version: str, to: str, shape_of: Callable[[str], Sequence[int]]) -> Json:
    """Return ``zarr.json`` of a group of Zarr v2 with these attributes; raises what `upgraded` does."""
    ome = {key: value for key, value in attributes.items() if key in KEYS}
    others = {key: value for key, value in attributes.items() if key not in KEYS}
    found = {"ome": upgraded(ome, version, to, shape_of), **others} if ome else others
    return {"zarr_format": 3, "node_type": "group", "attributes": found}


# -- arrays ------------------------------------------------------------------------------------------------

_TYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}
_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle"}
COMPRESSORS = ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")
FILTERS = ("shuffle",)
TEXTS = "vlen-utf8"
"""The filter that makes bytes of texts, and the codec of Zarr v3 that makes the same ones."""

Way: TypeAlias = Literal["copy", "wrap", "recode"]


@dataclass(frozen=True, slots=True)
class ArrayPlan:
    """How an array of Zarr v2 becomes one of v3.

    Attributes
    ----------
    path
        From the root of the store.
    way
        How a chunk does: its bytes are the same; a zlib stream is put between the ends of gzip; or it is
        decoded and encoded.
    old
        ``.zarray``.
    new
        ``zarr.json``.
    """

    path: str
    way: Way
    old: Json
    new: Json

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers, with their byte order."""
        return np.dtype(self.old["dtype"])

    @property
    def separator(self) -> str:
        """Between the numbers in the name of a chunk."""
        return str(self.old.get("dimension_separator", "."))

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.old["shape"])


def plan_array(path: str, document: Json, attributes: Json, names: Sequence[str] | None) -> ArrayPlan:
    """Decide how an array of Zarr v2 becomes one of v3; the chunks stay the same.

    Parameters
    ----------
    path
        From the root of the store.
    document, attributes
        ``.zarray`` and ``.zattrs``.
    names
        Of its dimensions; None where they are not known.

    Raises
    ------
    NotUpgradable
        It has a type, a codec or a filter that is not known here.
    """
    try:
        dtype = np.dtype(document["dtype"])
        shape, chunks = list(map(int, document["shape"])), list(map(int, document["chunks"]))
        compressor, filters = document.get("compressor"), document.get("filters") or []
        kind = compressor["id"] if compressor else None
        fill = _fill(document.get("fill_value"), dtype)
        filter_names = [one["id"] for one in filters]
    except (KeyError, TypeError, ValueError) as error:
        raise NotUpgradable(f"its .zarray makes no sense: {error}") from error
    is_text = dtype.hasobject and filter_names == [TEXTS]
    if dtype.name not in _TYPES and not is_text:
        raise NotUpgradable(f"the data type {document['dtype']} is not known here")
    if kind is not None and kind not in COMPRESSORS:
        raise NotUpgradable(f"the compressor {kind} is not known here")
    if is_text:
        filters, filter_names = [], []
    if unknown := [name for name in filter_names if name not in FILTERS]:
        raise NotUpgradable(f"the filter {unknown[0]} is not known here")
    way: Way = "recode"
    if dtype.newbyteorder("<") == dtype and document.get("order", "C") == "C" and not filters:
        way = {"zlib": "wrap"}.get(kind, "recode" if kind in ("bz2", "lz4", "lzma") else "copy")  # type: ignore[assignment, arg-type]
    if is_text and way == "recode":
        raise NotUpgradable(
            f"texts in the order {document.get('order')}, compressed by {kind}, are not known here"
        )
    if names is None:
        stated = attributes.get("_ARRAY_DIMENSIONS")  # as xarray notes them
        names = stated if isinstance(stated, list) and len(stated) == len(shape) else None
    others = {key: value for key, value in attributes.items() if key != "_ARRAY_DIMENSIONS"}
    new = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "string" if is_text else dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": TEXTS}, *_codecs(compressor, 1)[1:]]
        if is_text
        else _codecs(compressor, dtype.itemsize),
        "attributes": others,
    }
    return ArrayPlan(path, way, document, {**new, "dimension_names": list(names)} if names else new)


def _fill(stated: Any, dtype: np.dtype[Any]) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return a fill value as Zarr v3 spells it; what is not stated is 0."""
    if dtype.hasobject:
        return stated if isinstance(stated, str) else ""  # 0 where none was chosen
    if dtype.kind == "b":
        return bool(stated)
    if dtype.kind in "iu":
        return int(stated or 0)
    if dtype.kind == "c":
        if stated not in (None, 0):
            raise ValueError(f"fill_value {stated} of a complex type is not known here")
        return [0.0, 0.0]
    return stated if stated in ("NaN", "Infinity", "-Infinity") else float(stated or 0)


def _codecs(compressor: Json | None, itemsize: int) -> list[Json]:
    in_bytes: Json = {"name": "bytes"}
    if itemsize > 1:
        in_bytes["configuration"] = {"endian": "little"}
    if compressor is None:
        return [in_bytes]
    kind = compressor["id"]
    if kind in ("gzip", "zlib"):
        level = min(9, max(0, int(compressor.get("level", 5))))
        return [in_bytes, {"name": "gzip", "configuration": {"level": level}}]
    if kind == "zstd":
        settings = {"level": int(compressor.get("level", 1)), "checksum": bool(compressor.get("checksum"))}
        return [in_bytes, {"name": "zstd", "configuration": settings}]
    if kind != "blosc":  # Zarr v3 has no such codec
        compressor = {"cname": "lz4", "clevel": 5, "shuffle": 2}
    shuffle = compressor.get("shuffle", 1)
    configuration = {
        "cname": compressor.get("cname", "lz4"),
        "clevel": int(compressor.get("clevel", 5)),
        # -1 leaves it to blosc: bits for bytes, else bytes
        "shuffle": _SHUFFLES.get(shuffle, "bitshuffle" if itemsize == 1 else "shuffle"),
        "typesize": itemsize,
        "blocksize": int(compressor.get("blocksize", 0)),
    }
    return [in_bytes, {"name": "blosc", "configuration": configuration}]
