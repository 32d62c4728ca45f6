"""The metadata of one array, Zarr v2 or v3 -> what its chunks, its levels and its decoding need to know."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.shuffled import is_shuffled
from ngff_convert.validation.findings import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Node

LARGEST_SIZE = 2**62 - 2
"""What an axis may be long; tensorstore has the same limit."""

LARGEST_CHUNK_BYTES = 2**31
"""A larger chunk is not decoded here, nor in the memory of a web page."""

LARGEST_OF_BLOSC = 2**31 - 17
"""Bytes that Blosc compresses at once: BLOSC_MAX_BUFFERSIZE of c-blosc."""

MAX_DIMENSIONS = 32

_V2_COMPRESSORS = ("blosc", "bz2", "gzip", "zlib", "zstd")
_V3_CODECS = ("bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed")
_V3_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What an array says of itself.

    Attributes
    ----------
    path
        From the root of the store.
    zarr_format
        2 or 3.
    shape
        Voxels along each axis.
    dtype
        Name of the data type as Zarr v3 has it; as it is stated where it is not known.
    itemsize
        Bytes of a voxel; 0 where the data type is not known.
    chunks
        Voxels that one file holds, along each axis: a chunk or a shard.
    inner
        Voxels that are decoded together: the chunk.
    separator
        Between the numbers in the name of a chunk.
    prefixed
        Whether these names begin with ``c``.
    names
        `dimension_names` of Zarr v3, as they are.
    unknown
        Codec or data type that is not known here; empty if all are.
    blosc
        Whether Blosc compresses the chunks.
    shuffled
        The metadata of an array whose bytes are shuffled, which is read in a way of its own; else None.
    """

    path: str
    zarr_format: int
    shape: Sizes
    dtype: str
    itemsize: int
    chunks: Sizes
    inner: Sizes
    separator: str
    prefixed: bool
    names: Any
    unknown: str
    blosc: bool
    shuffled: dict[str, Any] | None = None

    @property
    def grid(self) -> Sizes:
        """Files along each axis."""
        return tuple(-(-n // chunk) for n, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def n_chunks(self) -> int:
        """Files of a complete array."""
        return prod(self.grid)

    @property
    def decodable(self) -> bool:
        """Whether chunks can be decoded, as far as the metadata tell."""
        return not self.unknown and prod(self.inner) * self.itemsize <= LARGEST_CHUNK_BYTES


def describe_array(node: Node, findings: Findings) -> ArrayInfo | None:
    """Read the metadata of an array; None, and a finding, if they make no sense."""
    try:
        info = (_v2 if node.zarr_format == 2 else _v3)(node)
    except ValueError as error:
        findings.error(node.path, "array-metadata", str(error))
        return None
    if info.unknown:
        message = f"{info.unknown} is not known here: chunks are not decoded"
        findings.warning(node.path, "array-unchecked", message)
    _check_chunk_size(info, findings)
    return info


def _check_chunk_size(info: ArrayInfo, findings: Findings) -> None:
    n_bytes = prod(info.inner) * info.itemsize
    taken = f"a chunk {shown(info.inner)} of {info.dtype} takes {n_bytes} bytes"
    if info.blosc and n_bytes > LARGEST_OF_BLOSC:
        message = f"{taken}, but Blosc holds {LARGEST_OF_BLOSC}: it cannot be written or read"
        findings.error(info.path, "chunk-size", message)
    elif n_bytes > LARGEST_CHUNK_BYTES:
        findings.warning(info.path, "chunk-size", f"{taken}: most readers cannot hold it")
        if not info.unknown:  # else that is said already
            findings.warning(info.path, "array-unchecked", f"{taken}: chunks are not decoded")


def _v2(node: Node) -> ArrayInfo:
    document = node.document
    shape = _sizes(document, "shape", 0)
    chunks = _sizes(document, "chunks", 1, len(shape))
    separator = document.get("dimension_separator", ".")
    if separator not in (".", "/"):
        raise ValueError(f"dimension_separator is {shown(separator)}, not . or /")
    dtype, itemsize = _v2_dtype(document.get("dtype"))
    compressor = document.get("compressor")
    unknown = "" if itemsize else f"data type {dtype}"
    if compressor is not None and not isinstance(compressor, dict):
        raise ValueError(f"compressor is {shown(compressor)}, not an object or null")
    if compressor is not None and compressor.get("id") not in _V2_COMPRESSORS:
        unknown = f"compressor {shown(compressor.get('id'))}"
    shuffled = document if is_shuffled(document) else None
    if document.get("filters") and shuffled is None:
        unknown = "a filter"
    return ArrayInfo(
        node.path,
        2,
        shape,
        dtype,
        itemsize,
        chunks,
        chunks,
        separator,
        False,
        None,
        unknown,
        compressor is not None and compressor.get("id") == "blosc",
        shuffled,
    )


def _v2_dtype(value: Any) -> tuple[str, int]:  # noqa: ANN401
    try:
        found = np.dtype(value) if isinstance(value, str) and len(value) < 20 else None
    except (TypeError, ValueError):
        found = None
    if found is None and not isinstance(value, list):
        raise ValueError(f"dtype is {shown(value)}, which is no data type")
    return (found.name, found.itemsize) if found is not None and found.kind in "biufc" else (shown(value), 0)


def _v3(node: Node) -> ArrayInfo:
    document = node.document
    shape = _sizes(document, "shape", 0)
    grid = document.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise ValueError("chunk_grid is not a regular one")
    chunks = _sizes(_configuration(grid), "chunk_shape", 1, len(shape))
    encoding = document.get("chunk_key_encoding")
    encoding_name = encoding.get("name") if isinstance(encoding, dict) else encoding
    if encoding_name not in ("default", "v2"):
        raise ValueError(f"chunk_key_encoding is {shown(encoding_name)}, not default or v2")
    separator = _configuration(encoding).get("separator", "/" if encoding_name == "default" else ".")
    if separator not in (".", "/"):
        raise ValueError(f"the separator of chunk_key_encoding is {shown(separator)}, not . or /")
    dtype = document.get("data_type")
    unknown = "" if dtype in _V3_TYPES else f"data type {shown(dtype)}"
    codecs = document.get("codecs")
    inner, blosc = chunks, False
    for name, codec in _codecs(codecs):
        blosc |= name == "blosc"
        if name not in _V3_CODECS:
            unknown = f"codec {shown(name)}"
        elif name == "sharding_indexed":
            inner = _sizes(_configuration(codec), "chunk_shape", 1, len(shape))
            if any(outer % n for outer, n in zip(chunks, inner, strict=True)):
                raise ValueError(f"shards {shown(chunks)} are not whole chunks {shown(inner)}")
            for part in ("codecs", "index_codecs"):
                within = [name for name, _ in _codecs(_configuration(codec).get(part))]
                blosc |= part == "codecs" and "blosc" in within
                unknown = next((f"codec {shown(n)}" for n in within if n not in _V3_CODECS), unknown)
    itemsize = np.dtype(dtype).itemsize if dtype in _V3_TYPES else 0
    return ArrayInfo(
        node.path,
        3,
        shape,
        str(dtype) if itemsize else shown(dtype),
        itemsize,
        chunks,
        inner,
        separator,
        encoding_name == "default",
        document.get("dimension_names"),
        unknown,
        blosc,
    )


def _codecs(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    if not isinstance(value, list) or not value:
        raise ValueError(f"codecs is {shown(value)}, not a list of codecs")
    return [(codec.get("name") if isinstance(codec, dict) else codec, codec) for codec in value]


def _configuration(value: Any) -> dict[str, Any]:  # noqa: ANN401
    inner = value.get("configuration", {}) if isinstance(value, dict) else {}
    if not isinstance(inner, dict):
        raise ValueError(f"a configuration is {shown(inner)}, not an object")
    return inner


def _sizes(document: dict[str, Any], key: str, least: int, length: int | None = None) -> Sizes:
    value = document.get(key)
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS or not all(type(n) is int for n in value):
        raise ValueError(f"{key} is {shown(value)}, not a list of whole numbers")
    if not all(least <= n <= LARGEST_SIZE for n in value):
        raise ValueError(f"{key} is {shown(value)}: each is {least} to {LARGEST_SIZE}")
    if length is not None and len(value) != length:
        raise ValueError(f"{key} is {shown(value)}, but the array has {length} dimensions")
    return tuple(value)


def known_sizes(sizes: Sequence[int]) -> str:
    """Return sizes as people write them.

    Examples
    --------
    >>> known_sizes((1, 20, 30))
    '1 x 20 x 30'
    """
    return " x ".join(map(str, sizes))
