"""A finished OME-Zarr store, read back: its images, their levels, and how the levels were made.

Reads NGFF 0.4 (Zarr v2), 0.5 and 0.6 (Zarr v3), by whatever program, and refuses what is not as the
specification has it. One image is the root itself; several are groups below it, as bioformats2raw lays them
out, or fields of a plate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorstore as ts

from ngff_convert.errors import UnsupportedInput, VerificationError, first_line
from ngff_convert.model import AXES, Box
from ngff_convert.shuffled import opened
from ngff_convert.storage import Folder, at, check_reached, joined
from ngff_convert.validation import nodes
from ngff_convert.validation.findings import Findings, shown
from ngff_convert.validation.systems import axes_of
from ngff_convert.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Shape
    from ngff_convert.storage import Storage

_ARRAY_FILES = {"0.4": ".zarray", "0.5": "zarr.json", "0.6": "zarr.json"}


class StoredLevel:
    """One array of pixels; axes that are left out have size 1.

    Attributes
    ----------
    path
        From the store's root: ``"0/1"``.
    shape
        (t, c, z, y, x), voxels.
    dtype
        In native byte order.
    chunks
        Unit of compression, (t, c, z, y, x), voxels.

    Parameters
    ----------
    root, path
        The store, and where the array is in it.
    version, axes
        As `StoredImage` has them.
    workers
        Chunks that are decoded at once.
    wary
        Whether it is looked at the files of chunks first: a pipe in place of one would block for ever.
    """

    def __init__(
        self, root: Storage, path: str, version: str, axes: str, workers: int, *, wary: bool = False
    ) -> None:
        self.path = path
        self._axes = axes
        self._root = root
        self._wary = wary
        document = _read_json(root, f"{path}/{_ARRAY_FILES[version]}")
        self._spec = {
            "driver": "zarr" if version == "0.4" else "zarr3",
            "kvstore": root.kvstore(path),
        }
        context = _context(workers)
        try:
            self._array: Any = opened(self._spec, document, context)
            if self._array.rank != len(axes):
                raise ValueError(f"has {self._array.rank} axes, not {axes}")
            self.shape = self._five(self._array.shape)
            self.chunks = self._five(self._array.chunk_layout.read_chunk.shape)
            self._objects = self._five(self._array.chunk_layout.write_chunk.shape)
            self.dtype: np.dtype[Any] = np.dtype(self._array.dtype.numpy_dtype).newbyteorder("=")
            # The same array, but as if its last chunks were not cut off at the edge.
            whole = [-(-n // c) * c for n, c in zip(self.shape, self.chunks, strict=True)]
            whole_document = {**document, "shape": self._stored(whole)}
            self._padded = opened(self._spec, whole_document, context, given=True)
            self._separator, self._prefix = _keys(document)
        except (ValueError, OSError) as error:
            check_reached(root, path, error)
            raise VerificationError(f"{at(root, path)}: cannot be opened: {first_line(error)}") from error

    @property
    def grid(self) -> Shape:
        """Chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True))

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box as (t, c, z, y, x); it may reach beyond the edge as far as the last chunks do.

        Raises
        ------
        ValueError, OSError
            A chunk cannot be read or decoded.
        """
        within = all(b <= n for b, n in zip(box.stop, self.shape, strict=True))
        array = self._array if within else self._padded
        pixels = array[tuple(self._stored(box.slices))].read(order="C").result()
        return np.asarray(pixels).reshape(box.shape)

    def read_what_can_be(self, box: Box) -> tuple[NDArray[Any], dict[Shape, str]]:
        """Read a box of whole chunks; where that fails, chunk by chunk, but never what is no file.

        Returns
        -------
        tuple
            The pixels, 0 in chunks that cannot be read; and for each of those, why.
        """
        barred = self._barred(box) if self._wary else set()
        if not barred:
            try:
                return self.read(box), {}
            except (ValueError, OSError) as error:  # found again, chunk by chunk
                check_reached(self._root, self.path, error)
        block = np.zeros(box.shape, self.dtype)
        reasons: dict[Shape, str] = {}
        for cell in self.cells(box):
            own = self.whole_chunks(self.box_of(cell))
            part = Box(tuple(map(max, own.start, box.start)), tuple(map(min, own.stop, box.stop)))
            if (key := self._key_of(cell)) in barred:
                reasons[cell] = f"{self.path}/{key} is no file"
                continue
            try:
                block[within(part, box)] = self.read(part)
            except (ValueError, OSError) as error:
                check_reached(self._root, self.path, error)
                reasons[cell] = first_line(error)
        return block, reasons

    def cells(self, box: Box) -> Iterator[Shape]:
        """Yield the places in the grid of the chunks that a box touches."""
        return product(
            *(range(a // c, -(-b // c)) for a, b, c in zip(box.start, box.stop, self.chunks, strict=True))
        )

    def box_of(self, cell: Shape) -> Box:
        """Return the voxels of a chunk that are within the level."""
        start = tuple(n * c for n, c in zip(cell, self.chunks, strict=True))
        ends = zip(start, self.chunks, self.shape, strict=True)
        return Box(start, tuple(min(a + c, n) for a, c, n in ends))

    def missing(self, cell: Shape) -> str:
        """Return the file that should hold a chunk, from the store's root, if it is not there; else empty."""
        path = f"{self.path}/{self._key_of(cell)}"
        is_there = path in self._listed if self._listed is not None else self._root.has(path)
        return "" if is_there else path

    @cached_property
    def _listed(self) -> frozenset[str] | None:
        """Every file of the array, from the root, where to look at one takes a request; else None."""
        if self._root.is_local:
            return None
        entries = tuple(self._root.walk(self.path, lambda _: True))
        if any(entry.kind == "closed" for entry in entries):
            return None
        return frozenset("/".join((self.path, *entry.names)) for entry in entries)

    def _key_of(self, cell: Shape) -> str:
        """Return the file that holds a chunk, from the array's folder."""
        return self._key([n * c // size for n, c, size in zip(cell, self.chunks, self._objects, strict=True)])

    def _key(self, place: Sequence[int]) -> str:
        return self._separator.join([*self._prefix, *map(str, self._stored(place))])

    def _barred(self, box: Box) -> set[str]:
        """Return where there is something else than a file in place of one that a box needs."""
        spans = zip(box.start, box.stop, self._objects, strict=True)
        places = product(*(range(a // size, -(-b // size)) for a, b, size in spans))
        return {key for key in map(self._key, places) if self._root.blocks(f"{self.path}/{key}")}

    def whole_chunks(self, box: Box) -> Box:
        """Return a box that ends at edges of chunks, extended to those of the last chunks."""
        return Box(box.start, tuple(-(-b // c) * c for b, c in zip(box.stop, self.chunks, strict=True)))

    def _stored(self, items: Sequence[Any]) -> list[Any]:
        return [item for item, axis in zip(items, AXES, strict=True) if axis in self._axes]

    def _five(self, sizes: Any) -> Shape:  # noqa: ANN401 - tensorstore has no types
        stored = dict(zip(self._axes, map(int, sizes), strict=True))
        return tuple(stored.get(axis, 1) for axis in AXES)


def within(inner: Box, outer: Box) -> tuple[slice, ...]:
    """Return where a box lies in another one.

    Examples
    --------
    >>> within(Box((4, 2), (6, 3)), Box((1, 2), (9, 9)))
    (slice(3, 5, None), slice(0, 1, None))
    """
    spans = zip(inner.start, inner.stop, outer.start, strict=True)
    return tuple(slice(a - origin, b - origin) for a, b, origin in spans)


def _keys(document: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what stands between the numbers of a chunk in its key, and what comes before them."""
    if document.get("zarr_format") == 2:
        return document.get("dimension_separator", "."), []
    encoding = document.get("chunk_key_encoding")
    if isinstance(encoding, str):  # Zarr v3 allows it where nothing is to be configured
        encoding = {"name": encoding}
    configuration = _object(_object(encoding).get("configuration"))
    is_default = _object(encoding).get("name") == "default"
    return configuration.get("separator", "/" if is_default else "."), ["c"] if is_default else []


def _context(workers: int) -> Any:  # noqa: ANN401 - tensorstore has no types
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": workers},
            "file_io_concurrency": {"limit": 2 * workers},
        }
    )


# -- groups ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What the metadata say of one image.

    Attributes
    ----------
    folder
        Its group, from the root: ``""`` is the root.
    version
        Of OME-NGFF.
    axes
        The axes that are stored, a subset of ``tczyx``.
    paths
        Of its levels from the root, largest first.
    kwargs
        What this program noted on how it made the levels and of what; None where another one made them.
    """

    folder: str
    version: str
    axes: str
    paths: tuple[str, ...]
    kwargs: dict[str, Any] | None

    @property
    def number(self) -> int | None:
        """Which of the source's images it is; None where that is not noted."""
        number = (self.kwargs or {}).get("image")
        return number if _is_whole(number) else None

    @property
    def chosen(self) -> tuple[int, ...]:
        """All images of the source that the store was made of; none where that is not noted."""
        numbers = (self.kwargs or {}).get("images")
        return tuple(filter(_is_whole, numbers)) if isinstance(numbers, list) else ()

    @property
    def copied(self) -> frozenset[int]:
        """Levels whose chunks are the source's, also beyond the level's edge."""
        numbers = (self.kwargs or {}).get("copied")
        return frozenset(filter(_is_whole, numbers)) if isinstance(numbers, list) else frozenset()

    @property
    def crop(self) -> Box | None:
        """What of the source's image it is; None where it is all of it, or that is not noted."""
        spans = (self.kwargs or {}).get("crop")
        if spans is None:
            return None
        whole = isinstance(spans, list) and all(
            isinstance(span, list) and len(span) == 2 and all(map(_is_whole, span)) for span in spans
        )
        if not whole or len(spans) != len(AXES) or not all(0 <= a < b for a, b in spans):
            where = self.folder or "the root"
            raise VerificationError(f"{where}: crop {shown(spans)} is not a box; convert again")
        return Box(tuple(a for a, _ in spans), tuple(b for _, b in spans))


def _is_whole(value: Any) -> bool:  # noqa: ANN401 - from foreign metadata
    return isinstance(value, int) and not isinstance(value, bool)


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - from foreign metadata
    return value if isinstance(value, dict) else {}


def _read_json(root: Storage, path: str) -> dict[str, Any]:
    """Read a file of metadata as `validate` does, of a size that can be held and within the store.

    Raises
    ------
    VerificationError
        It is missing, no file, or holds something else.
    """
    findings = Findings()
    document = nodes.read_json(root, path, findings)
    if document is None:
        raise VerificationError(f"{at(root, path)}: {findings.listed()[-1].message}; is the store whole?")
    return document


def path_below(root: Storage, base: str, path: Any) -> str:  # noqa: ANN401 - from foreign metadata
    """Return where a path in the metadata of a group leads, which has to be down."""
    findings = Findings()
    found = nodes.below(base, path, findings)
    if found is None:
        raise VerificationError(f"{at(root, base)}: {findings.listed()[-1].message}; nothing else is read")
    return found


def images(root: Storage) -> tuple[StoredImage, ...]:
    """Return the images of a store.

    Raises
    ------
    VerificationError
        It is no OME-Zarr store, or not as the specification has it.
    """
    version, attributes = attributes_of(root, "")
    if "multiscales" in attributes:
        return (image_of(root, "", version, attributes),)
    if "plate" in attributes:
        folders = _fields(root, version, attributes["plate"])
    elif "bioformats2raw.layout" in attributes:
        folders = series_of(root, version)
    else:
        raise UnsupportedInput(
            f"{root.name}: has none of multiscales, plate and bioformats2raw.layout: no image in it"
        )
    found = tuple(image_of(root, folder, *attributes_of(root, folder)) for folder in folders)
    if not found:
        raise VerificationError(f"{root.name}: has no images, 0, 1 and so on; convert again")
    return found


def _fields(root: Storage, version: str, plate: Any) -> list[str]:  # noqa: ANN401 - from foreign metadata
    """Return the images' groups of a plate, well by well."""
    found: list[str] = []
    for well in paths_in(root, "", version, plate, "wells"):
        own, keys = attributes_of(root, well)
        found += paths_in(root, well, own, keys.get("well"), "images")
    if repeated := _repeated(found):
        raise VerificationError(f"{root.name}: the plate lists {shown(repeated)} twice; convert again")
    return found


def paths_in(root: Storage, group: str, version: str, holder: Any, key: str) -> list[str]:  # noqa: ANN401
    """Return where the paths lead that a plate or a well lists."""
    try:
        return [path_below(root, group, item["path"]) for item in holder[key]]
    except (KeyError, TypeError) as error:
        raise VerificationError(
            f"{at(root, group)}: its {key} are not as OME-NGFF {version} has them; convert again"
        ) from error


def series_of(root: Storage, version: str) -> list[str]:
    """Return the images' groups, as ``OME`` lists them, else as they are numbered; none is left out."""
    numbered = _numbered(root, (".zgroup", ".zattrs") if version == "0.4" else ("zarr.json",))
    listed: Any = None
    if root.present("OME", ("zarr.json", ".zattrs")):
        listed = attributes_of(root, "OME")[1].get("series")
    if not isinstance(listed, list) or not listed:
        if numbered != list(range(len(numbered))):
            some = ", ".join(map(str, numbered[:10]))
            raise VerificationError(
                f"{root.name}: its images are numbered {some}: one is missing; convert again"
            )
        return [str(number) for number in numbered]
    paths = [path_below(root, "", path) for path in listed]
    if repeated := _repeated(paths):
        raise VerificationError(f"{at(root, 'OME')}: series lists {shown(repeated)} twice; convert again")
    if unlisted := [number for number in numbered if str(number) not in paths]:
        raise VerificationError(
            f"{at(root, 'OME')}: series leaves out the image {unlisted[0]}, which is there; convert again"
        )
    return paths


def _numbered(root: Storage, names: Sequence[str]) -> list[int]:
    """Return the numbers of the groups in the root; where nothing can be listed, only those in one row."""
    entries = tuple(root.walk(""))
    if any(entry.kind == "closed" for entry in entries):
        if isinstance(root, Folder):
            raise VerificationError(f"{root.name}: cannot be listed: {entries[0].reason}; is it readable?")
        row: list[int] = []
        while root.present(str(len(row)), names):
            row.append(len(row))
        return row
    folders = [name for entry in entries for name in entry.names if name.isdecimal() and name.isascii()]
    return sorted(int(folder) for folder in folders if root.present(folder, names))


def _repeated(paths: Sequence[str]) -> str | None:
    """Return a path that is there twice."""
    counts = Counter(paths)
    return next((path for path in paths if counts[path] > 1), None)


def attributes_of(root: Storage, group: str) -> tuple[str, dict[str, Any]]:
    """Return the version of OME-NGFF and its keys in a group."""
    if root.has(joined(group, "zarr.json")):
        path = joined(group, "zarr.json")
        ome = _object(_read_json(root, path).get("attributes")).get("ome")
        version = _object(ome).get("version")
        if not isinstance(ome, dict) or version not in ("0.5", "0.6"):
            raise VerificationError(
                f"{at(root, path)}: is of OME-NGFF {shown(version)}; only 0.4, 0.5 and 0.6 are known"
            )
        return str(version), ome
    if not root.has(joined(group, ".zattrs")):
        raise UnsupportedInput(
            f"{at(root, group)}: is no OME-Zarr group: neither zarr.json nor .zattrs is there"
        )
    return "0.4", _read_json(root, joined(group, ".zattrs"))


def image_of(root: Storage, folder: str, version: str, attributes: dict[str, Any]) -> StoredImage:
    """Return what the keys of a group that is an image say of it; errors are those of `images`."""
    where = at(root, folder)
    try:
        (multiscales, *_) = attributes["multiscales"]
        names = [axis["name"] for axis in axes_of(multiscales)]
        paths = [path_below(root, folder, dataset["path"]) for dataset in multiscales["datasets"]]
        metadata = multiscales.get("metadata") or {}
        kwargs = dict(metadata["kwargs"]) if metadata.get("method") == PROGRAM else None
    except VerificationError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"{where}: its multiscales are not as OME-NGFF {version} has them") from error
    axes = "".join(map(str, names))
    if axes != "".join(axis for axis in AXES if axis in names) or not {"y", "x"} <= set(axes):
        named = shown(", ".join(map(str, names)))
        raise VerificationError(f"{where}: axes {named}: only t, c, z, y, x are compared")
    if not paths:
        raise VerificationError(f"{where}: lists no levels; convert again")
    if repeated := _repeated(paths):
        raise VerificationError(f"{where}: lists the level {shown(repeated)} twice; convert again")
    return StoredImage(folder, version, axes, tuple(paths), kwargs)
