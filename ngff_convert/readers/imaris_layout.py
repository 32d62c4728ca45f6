"""Which images, levels, time points and channels a file has: names are listed, no dataset is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py

from ngff_convert.errors import ReadError
from ngff_convert.readers.hdf5_files import Place, damage_named, external_target, locate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ngff_convert.readers.hdf5_files import Hdf5Files, OpenFile

IMAGE_NAME = re.compile(r"DataSet(\d{0,6})")

MAX_NAMED = 10
"""Groups that a warning names before it only counts."""


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

    def data(self, t: int, c: int) -> str:
        """Return the path of the dataset of one time point and channel."""
        return f"{self.name}/TimePoint {t}/Channel {c}/Data"

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
    place = locate(files, path, name)
    for level in _children(files, place, "ResolutionLevel") if place else []:
        group = f"{name}/{level.name}"
        levels[level.number] = LevelGroup(group, _channels(files, path, group, targets))
    return ImageGroup(name, f"DataSetInfo{suffix}", levels, frozenset(targets))


def _channels(files: Hdf5Files, path: str, level: str, targets: set[str]) -> dict[int, frozenset[int]]:
    place = locate(files, path, level)
    if place is None:
        return {}
    found: dict[int, frozenset[int]] = {}
    same: dict[frozenset[int], frozenset[int]] = {}
    with files.using(place.path) as file:
        times = _open_group(file, place)
        for time in _numbered(times, "TimePoint", place):
            at: Place | None = Place(place.path, f"{place.name}/{time.name}")
            if time.is_hard:  # ten thousand of them are usual: no path is walked for these
                children = _numbered(_open_group(file, place, times, time.name), "Channel", place)
            else:
                at = locate(files, place.path, f"{place.name}/{time.name}")
                children = _children(files, at, "Channel") if at else []
            if at:
                targets.update(_link_targets(files, at, children))
            numbers = frozenset(child.number for child in children)
            found[time.number] = same.setdefault(numbers, numbers)
    return found


def _children(files: Hdf5Files, place: Place, word: str) -> list[_Child]:
    with files.using(place.path) as file:
        return _numbered(_open_group(file, place), word, place)


def _open_group(file: OpenFile, place: Place, parent: Any = None, name: str | None = None) -> Any:  # noqa: ANN401
    """Open a group in the low-level interface, which takes a tenth of the time."""
    with damage_named(f"{place.path}: {place.name}: {name}" if name else f"{place.path}: {place.name}"):
        return h5py.h5g.open(parent or file.h5.id, (name or place.name).encode("utf-8", "surrogateescape"))


def _numbered(group: Any, word: str, place: Place) -> list[_Child]:  # noqa: ANN401
    """List the children called ``{word} N`` by number; text order would be 0, 1, 10, 2."""
    pattern = re.compile(rf"{word} (0|[1-9]\d{{0,8}})".encode())
    children: list[_Child] = []

    def note(name: bytes, link: Any) -> None:  # noqa: ANN401
        if match := pattern.fullmatch(name):
            children.append(_Child(int(match[1]), name.decode(), link.type == h5py.h5l.TYPE_HARD))

    with damage_named(f"{place.path}: {place.name}"):
        group.links.iterate(note, info=True)
    return sorted(children)


def _link_targets(files: Hdf5Files, place: Place, children: Iterable[_Child]) -> set[str]:
    """Return the files that external links among the children lead to; an error if one is not there."""
    links = [child for child in children if not child.is_hard]
    if not links:
        return set()
    with files.using(place.path) as file, damage_named(f"{place.path}: {place.name}"):
        group = file.h5[place.name]
        values = {child.name: group.get(child.name, getlink=True) for child in links}
    return {
        external_target(place.path, f"{place.name.lstrip('/')}/{name}", link.filename)
        for name, link in values.items()
        if isinstance(link, h5py.ExternalLink)
    }


def outside(path: str, targets: Iterable[str]) -> list[str]:
    """Return the link targets that do not lie in the folder of the file, or below it."""
    folders = Path(path).parent, Path(path).resolve().parent
    found = ((target, Path(os.path.normpath(target))) for target in targets)
    return sorted(name for name, target in found if not any(map(target.is_relative_to, folders)))


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


def describe_missing(gaps: frozenset[tuple[int, int]], n_c: int) -> str:
    """Name missing groups compactly.

    Examples
    --------
    >>> describe_missing(frozenset({(2, 0), (2, 1), (3, 0), (3, 1), (7, 1)}), 2)
    'TimePoint 2-3, TimePoint 7/Channel 1'
    """
    by_time: dict[int, set[int]] = {}
    for t, c in gaps:
        by_time.setdefault(t, set()).add(c)
    whole = sorted(t for t, cs in by_time.items() if len(cs) == n_c)
    named = [f"TimePoint {span}" for span in _spans(whole)]
    named += [f"TimePoint {t}/Channel {c}" for t, c in sorted(gaps) if len(by_time[t]) < n_c]
    more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return ", ".join(named[:MAX_NAMED]) + more


def _spans(numbers: list[int]) -> list[str]:
    spans: list[list[int]] = []
    for n in numbers:
        if spans and spans[-1][-1] == n - 1:
            spans[-1].append(n)
        else:
            spans.append([n])
    return [str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans]
