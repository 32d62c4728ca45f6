"""The datasets of an HDF5 file that could be images, and what is written at them; no pixels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ngff_convert.errors import OptionError, UnsupportedInput
from ngff_convert.readers.contract import MAX_NAMED
from ngff_convert.readers.hdf5_attributes import attributes, of_variable_length, text_of
from ngff_convert.readers.hdf5_axes import Said, Scale
from ngff_convert.readers.hdf5_chunks import inspect, read_box
from ngff_convert.readers.hdf5_files import HDF5_ERRORS, Place, damage_named, locate

if TYPE_CHECKING:
    from ngff_convert.readers.hdf5_chunks import Storage
    from ngff_convert.readers.hdf5_files import Hdf5Files

MAX_OBJECTS = 100_000
"""Links of a file that are looked at; one with more needs to be told which dataset is meant."""

MAX_SCALE = 2**20
"""Longest scale of a dimension that is read, numbers."""

NOT_IMAGES = ("DIMENSION_SCALE", "PALETTE", "TABLE", "VLARRAY", "EARRAY")
"""Values of an attribute ``CLASS``: of datasets that serve others, and of PyTables' that are no arrays."""


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """A dataset that is an image.

    Attributes
    ----------
    name
        Its path in the input, links as they are spelt, without the slash before it.
    storage
        How it is stored.
    said
        What is written at it.
    """

    name: str
    storage: Storage
    said: Said


@dataclass
class Listing:
    """What a file holds.

    Attributes
    ----------
    images
        The datasets that could be images, in the order of their names.
    others
        What else there is, in words: ``"log of 10 float64"``.
    """

    images: list[Found] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def chosen(files: Hdf5Files, path: str, names: tuple[str, ...]) -> list[Found]:
    """Return the datasets that the user names.

    Raises
    ------
    OptionError
        There is none of that name.
    UnsupportedInput
        It is none of numbers, of 2 to 5 dimensions.
    ReadError
        It is damaged.
    """
    found = []
    for name in dict.fromkeys(name.strip("/") for name in names):
        place = locate(files, path, name)
        if place is None:
            raise OptionError(
                f"--dataset {name}: {path} has no such dataset; `ngff-convert inspect` lists them"
            )
        one = _look(files, path, name, place)
        if not isinstance(one, Found):
            raise UnsupportedInput(
                f"{path}: {name}: is {one}; an image is a dataset of numbers of 2 to 5 dimensions"
            )
        found.append(one)
    return found


def listed(files: Hdf5Files, path: str) -> Listing:
    """Return what a file holds; external links are followed, within the folder of the input.

    Raises
    ------
    ReadError
        A link leads nowhere, or something is damaged.
    UnsupportedInput
        There is too much in it.
    """
    listing = Listing()
    seen: set[tuple[str, Any]] = set()
    groups = [("", Place(path, "/"))]
    while groups:  # those that external links lead to come last: what they hold may be nearer by
        groups += _walk(files, path, *groups.pop(0), listing, seen)
    listing.images.sort(key=lambda one: one.name)
    return listing


def _walk(
    files: Hdf5Files, path: str, prefix: str, group: Place, listing: Listing, seen: set[tuple[str, Any]]
) -> list[tuple[str, Place]]:
    """Add the datasets below a group, and return the groups that external links there lead to.

    `seen` are the files and addresses of what was added.
    """
    outside: list[tuple[str, Place]] = []
    with files.object(group) as thing:
        if _is_seen(group, thing, seen):
            return []
    for name, is_hard in _links(files, group):
        spelt = Place(group.path, f"{group.name.rstrip('/')}/{name}")
        place = spelt if is_hard else locate(files, *spelt)
        if place is None:
            continue
        full = f"{prefix}/{name}".strip("/")
        with files.object(place) as thing:
            is_dataset = isinstance(thing, h5py.Dataset)
            if not is_dataset and (is_hard or not isinstance(thing, h5py.Group)):
                continue  # below groups of hard links HDF5 has looked already
            if is_dataset and _is_seen(place, thing, seen):
                continue
        if not is_dataset:
            outside.append((full, place))
            continue
        one = _look(files, path, full, place)
        if isinstance(one, Found):
            listing.images.append(one)
        elif one:
            listing.others.append(f"{full}, {one}")
    return outside


def _is_seen(place: Place, thing: Any, seen: set[tuple[str, Any]]) -> bool:  # noqa: ANN401 - h5py is untyped
    """Whether an object was met before; it is from now on."""
    key = place.path, h5py.h5o.get_info(thing.id).addr
    is_new = key not in seen
    seen.add(key)
    return not is_new


def _links(files: Hdf5Files, group: Place) -> list[tuple[str, bool]]:
    """Return the paths of hard and of external links below a group, and whether they are hard.

    Soft links are left out: what they lead to in a file is there by itself.
    """
    found: list[tuple[str, bool]] = []
    count = 0

    def note(name: bytes, link: Any) -> bool | None:  # noqa: ANN401 - h5py is untyped
        nonlocal count
        count += 1
        if link.type in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_EXTERNAL):
            found.append((_name(name), link.type == h5py.h5l.TYPE_HARD))
        return True if count > MAX_OBJECTS else None

    with files.object(group) as opened:
        opened.id.links.visit(note, info=True)
    if count > MAX_OBJECTS:
        raise UnsupportedInput(
            f"{group}: has more than {MAX_OBJECTS} objects: say with --dataset which are images"
        )
    return found


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _look(files: Hdf5Files, path: str, name: str, place: Place) -> Found | str:
    """Return a dataset that is an image, or in words what it is instead; empty where that is no matter."""
    with files.object(place) as thing:
        if not isinstance(thing, h5py.Dataset):
            return "a group" if isinstance(thing, h5py.Group) else "a type"
        shape, dtype = thing.shape, thing.dtype
        if shape is None:
            return "empty"
        words = f"{' x '.join(map(str, shape)) or 'one'} {dtype.name}"
        if not _are_numbers(dtype) or not 2 <= len(shape) <= 5 or 0 in shape:
            return words
        texts = attributes(files, thing)
        if texts.get("CLASS") in NOT_IMAGES:
            return ""
        labels, scales = _labels(files, thing), _scales_of(files, thing)
    read = tuple(_scale(files, place.path, *scale, n) for scale, n in zip(scales, shape, strict=True))
    storage = inspect(files, path, name)
    if storage is None:  # it was there a moment ago
        return "gone"
    return Found(name, storage, Said(shape, texts, labels, read))


def _are_numbers(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iufb" and dtype.itemsize <= 8


# HDF5's own functions for labels and scales free memory twice where the attributes are damaged.


def _labels(files: Hdf5Files, dataset: Any) -> tuple[str, ...]:  # noqa: ANN401 - h5py is untyped
    """Return the labels of the dimensions; none where they are not written, or cannot be read."""
    try:
        labels = _several(files, dataset, "DIMENSION_LABELS")
        found = tuple(text_of(label) if isinstance(label, str | bytes) else "" for label in labels)
    except HDF5_ERRORS:
        return ()
    return found if len(found) == len(dataset.shape) else ()


def _scales_of(files: Hdf5Files, dataset: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - h5py is untyped
    """Return the path of the scale of each dimension, and its name; empty where there is none."""
    nothing = [("", "")] * len(dataset.shape)
    try:
        lists = _several(files, dataset, "DIMENSION_LIST")
        found = [_scale_at(files, dataset, references) for references in lists]
    except HDF5_ERRORS:  # what it refers to is not there: then there is none
        return nothing
    return found if len(found) == len(nothing) else nothing


def _several(files: Hdf5Files, dataset: Any, name: str) -> Any:  # noqa: ANN401 - h5py is untyped
    if name not in dataset.attrs:
        return ()
    return of_variable_length(files, dataset, name.encode())


def _scale_at(files: Hdf5Files, dataset: Any, references: Any) -> tuple[str, str]:  # noqa: ANN401
    if not len(references) or not isinstance(references[0], h5py.Reference) or not references[0]:
        return "", ""
    scale = dataset.file[references[0]]
    path = scale.name or ""
    path = _name(path) if isinstance(path, bytes) else path  # as h5py has names that are not UTF-8
    return path, attributes(files, scale).get("NAME") or path.rsplit("/", 1)[-1]


def _scale(files: Hdf5Files, path: str, name: str, called: str, n: int) -> Scale:
    """Read a scale, if it is one of `n` numbers."""
    if not name:
        return Scale()
    storage = inspect(files, path, name, with_table=True)
    if storage is None or storage.shape != (n,) or storage.dtype.kind not in "iuf" or n > MAX_SCALE:
        return Scale(called)
    with files.object(storage.place) as dataset, damage_named(str(storage.place)):
        texts = attributes(files, dataset)
        unit = texts.get("units", texts.get("unit", ""))
    values = np.empty(n, storage.dtype.newbyteorder("="))
    read_box(files, storage, (0,), values)
    return Scale(called, unit, *_even(values.astype(np.float64)))


def _even(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float | None, float | None]:
    """Return the first of some values and the step between them, if they are even."""
    if values.size < 2 or not np.isfinite(values).all():
        return None, None
    step = float(values[-1] - values[0]) / (values.size - 1)
    steps = np.diff(values)
    if not step or np.abs(steps - step).max() > 1e-3 * abs(step):
        return None, None
    return float(values[0]), float(f"{step:.9g}")


def some(names: list[str]) -> str:
    """Return names for a message, the first of many."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
