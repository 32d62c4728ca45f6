"""What an Imaris file holds besides pixels: its images, levels, time points and channels, and their texts.

Groups are listed, no dataset of pixels is opened. The vendor writes an attribute as an array of one-character
strings, one element a byte, cut at the first NUL. Others write whole strings, strings of variable length, or
numbers. Text is UTF-8, or what the writer's Windows had. A text over 1024 bytes is a dataset beside the
attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py

from ngff_convert.errors import ReadError
from ngff_convert.readers.hdf5_attributes import MAX_TEXT_BYTES, attributes, text_of
from ngff_convert.readers.hdf5_files import (
    HDF5_ERRORS,
    Place,
    damage_named,
    external_target,
    lies_elsewhere,
    locate,
    name_bytes,
    opened,
)
from ngff_convert.readers.imaris_metadata import (
    Section,
    histogram_window,
    number,
    size_zyx,
    unescape,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ngff_convert.readers.hdf5_files import Hdf5Files

IMAGE_NAME = re.compile(r"DataSet(\d{0,6})")

MAX_HISTOGRAM_BINS = 2**16


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """One image of a file.

    Attributes
    ----------
    name, info
        The groups with its pixels and its description.
    levels
        What each level holds, by number.
    targets
        Files that its pixels are links to.
    """

    name: str
    info: str
    levels: dict[int, LevelGroup]
    targets: frozenset[str]


@dataclass(frozen=True, slots=True)
class LevelGroup:
    """One level.

    Attributes
    ----------
    name
        The group: ``"DataSet/ResolutionLevel 0"``.
    channels
        Numbers of the channels that each time point has, by number of the time point.
    """

    name: str
    channels: dict[int, frozenset[int]]

    def channel(self, t: int, c: int) -> str:
        """Return the path of the group of one time point and channel."""
        return f"{self.name}/TimePoint {t}/Channel {c}"

    @property
    def pairs(self) -> set[tuple[int, int]]:
        """(t, c) of every group there is."""
        return {(t, c) for t, cs in self.channels.items() for c in cs}


class _Child(NamedTuple):
    number: int
    name: str
    is_hard: bool


def has_image(files: Hdf5Files, path: str) -> bool:
    """Whether a file holds an image in the layout of Imaris; its links are looked at, not followed far."""
    names = [f"DataSet{suffix}" for suffix in _image_suffixes(files, path)]
    return any(locate(files, path, f"{name}/ResolutionLevel 0") is not None for name in names)


def _image_suffixes(files: Hdf5Files, path: str) -> list[str]:
    with files.using(path) as file, damage_named(path):
        found = (IMAGE_NAME.fullmatch(name) for name in file.h5)
        return sorted((match[1] for match in found if match), key=lambda digits: int(digits or 0))


def list_images(files: Hdf5Files, path: str) -> list[ImageGroup]:
    """List every image of a file that has pixels, in the order of their numbers.

    Raises
    ------
    ReadError
        A link leads nowhere, or a group is damaged.
    """
    images = [_image(files, path, suffix) for suffix in _image_suffixes(files, path)]
    return [image for image in images if image.levels.get(0) and image.levels[0].pairs]


def _image(files: Hdf5Files, path: str, suffix: str) -> ImageGroup:
    name = f"DataSet{suffix}"
    levels: dict[int, LevelGroup] = {}
    targets: set[str] = set()
    for level in _children(files, locate(files, path, name), "ResolutionLevel"):
        group = f"{name}/{level.name}"
        levels[level.number] = LevelGroup(group, _channels(files, locate(files, path, group), targets))
    return ImageGroup(name, f"DataSetInfo{suffix}", levels, frozenset(targets))


def _channels(files: Hdf5Files, level: Place | None, targets: set[str]) -> dict[int, frozenset[int]]:
    if level is None:
        return {}
    listed: dict[int, frozenset[int]] = {}
    same: dict[frozenset[int], frozenset[int]] = {}
    with files.using(level.path) as file:
        times = _open_group(file.h5.id, level)
        for time in _numbered(times, "TimePoint", level):
            at: Place | None = Place(level.path, f"{level.name}/{time.name}")
            if time.is_hard:  # ten thousand of them are usual: no path is walked for these
                children = _numbered(_open_group(times, level, time.name), "Channel", level)
            else:
                at = locate(files, level.path, f"{level.name}/{time.name}")
                children = _children(files, at, "Channel")
            if at:
                targets.update(_link_targets(files, at, children))
            numbers = frozenset(child.number for child in children)
            listed[time.number] = same.setdefault(numbers, numbers)
    return listed


def _children(files: Hdf5Files, place: Place | None, word: str) -> list[_Child]:
    if place is None:
        return []
    with files.using(place.path) as file:
        return _numbered(_open_group(file.h5.id, place), word, place)


def _open_group(parent: Any, place: Place, name: str = "") -> Any:  # noqa: ANN401 - h5py is untyped
    """Open a group in the low-level interface, which takes a tenth of the time."""
    with damage_named(f"{place}/{name}" if name else str(place)):
        return h5py.h5g.open(parent, name_bytes(name or place.name))


def _numbered(group: Any, word: str, place: Place) -> list[_Child]:  # noqa: ANN401
    """List the children called ``{word} N`` by number; text order would be 0, 1, 10, 2."""
    pattern = re.compile(rf"{word} (0|[1-9]\d{{0,8}})".encode())
    children: list[_Child] = []

    def note(name: bytes, link: Any) -> None:  # noqa: ANN401
        if match := pattern.fullmatch(name):
            children.append(_Child(int(match[1]), name.decode(), link.type == h5py.h5l.TYPE_HARD))

    with damage_named(str(place)):
        group.links.iterate(note, info=True)
    return sorted(children)


def _link_targets(files: Hdf5Files, place: Place, children: Iterable[_Child]) -> set[str]:
    """Return the files that external links among the children lead to; an error if one is not there."""
    links = [child.name for child in children if not child.is_hard]
    if not links:
        return set()
    with files.object(place) as group:
        values = {name: group.get(name, getlink=True) for name in links}
    return {
        external_target(files, place.path, f"{place.name.lstrip('/')}/{name}", link.filename)
        for name, link in values.items()
        if isinstance(link, h5py.ExternalLink)
    }


def grid(level: LevelGroup, path: str) -> tuple[int, int]:
    """Return how many time points and channels there are, by the highest numbers of the groups.

    Raises
    ------
    ReadError
        Almost none of the groups that the numbers call for exist.
    """
    pairs = level.pairs
    n_t, n_c = 1 + max(t for t, _ in pairs), 1 + max(c for _, c in pairs)
    if n_t * n_c > 10_000 + 100 * len(pairs):
        raise ReadError(
            f"{path}: {level.name}: {n_t} time points of {n_c} channels by the names of the groups, "
            f"but only {len(pairs)} of them exist"
        )
    return n_t, n_c


def missing(level: LevelGroup, n_t: int, n_c: int) -> frozenset[tuple[int, int]]:
    """Return (t, c) of every group that does not exist."""
    whole = frozenset(range(n_c))
    gaps = ((t, whole - level.channels.get(t, frozenset())) for t in range(n_t))
    return frozenset((t, c) for t, cs in gaps for c in cs)


def stated_size(files: Hdf5Files, path: str, group: str) -> tuple[int, int, int] | None:
    """Return ``ImageSizeZ``, Y and X of a channel group, voxels."""
    with opened(files, path, group) as owner:
        return size_zyx(attributes(files, owner), "ImageSize") if owner else None


def window(files: Hdf5Files, path: str, level: LevelGroup, c: int) -> tuple[float, float] | None:
    """Return the display window of a channel by the histogram of its first time point."""
    t = next((t for t in sorted(level.channels) if c in level.channels[t]), None)
    if t is None:
        return None
    try:
        with opened(files, path, level.channel(t, c)) as group:
            limits = attributes(files, group)
        with opened(files, path, f"{level.channel(t, c)}/Histogram") as histogram:
            if not 2 <= prod(histogram.shape) <= MAX_HISTOGRAM_BINS or len(histogram.shape) != 1:
                return None
            if lies_elsewhere(histogram):
                return None
            counts = histogram[()].astype(float).tolist()
    except HDF5_ERRORS:  # a histogram is a convenience
        return None
    return histogram_window(counts, number(limits.get("HistogramMin")), number(limits.get("HistogramMax")))


def sections(files: Hdf5Files, path: str, name: str, warnings: list[str]) -> dict[str, Section]:
    """Return the sections of a ``DataSetInfo`` group, names unescaped; empty if there is none.

    Those that are damaged are left out, with a line to `warnings`: pixels may be whole all the same.
    """
    read: dict[str, Section] = {}
    try:
        with opened(files, path, name) as info:
            children = list(info or ())
    except HDF5_ERRORS as error:
        warnings.append(f"{name} cannot be read: {error}")
        return {}
    for child in children:
        try:
            with opened(files, path, f"{name}/{child}") as group:
                if isinstance(group, h5py.Group):
                    read[unescape(child)] = _section(files, group)
        except HDF5_ERRORS as error:
            warnings.append(f"{name}/{child} cannot be read: {error}")
    return read


def _section(files: Hdf5Files, group: Any) -> Section:  # noqa: ANN401
    texts = {unescape(child): _long_text(files, group, child) for child in group}
    return attributes(files, group) | {name: text for name, text in texts.items() if text is not None}


def _long_text(files: Hdf5Files, group: Any, name: str) -> str | None:  # noqa: ANN401
    """Return a text that is a dataset; None for anything else (histograms, tables)."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    dataset = group[name]
    if (
        not isinstance(dataset, h5py.Dataset)
        or h5py.check_string_dtype(dataset.dtype) is None
        or dataset.shape is None
    ):
        return None
    if lies_elsewhere(dataset):
        return "(kept in another file, left out)"
    n_bytes = prod(dataset.shape) * dataset.dtype.itemsize
    if n_bytes > MAX_TEXT_BYTES:
        return f"({n_bytes} bytes, left out)"
    with files.checked(dataset) as same:
        return text_of(same[()])
