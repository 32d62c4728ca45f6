"""An open OME-Zarr: which images are in it, and each of them as soon as somebody asks for it.

A plate may have thousands of images, so only groups that list others are read on opening.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Calibration, Channel, Image, NativeLevel, SourceOme
from ngff_convert.readers import ome_zarr_metadata as meaning
from ngff_convert.readers import ome_zarr_places as places
from ngff_convert.readers.contract import is_remote
from ngff_convert.readers.images_on_demand import ImagesOnDemand
from ngff_convert.readers.native_levels import native_level
from ngff_convert.readers.ome_zarr_scene import placed_in
from ngff_convert.readers.zarr_nodes import Nodes, StoredFile, below, list_of, object_of, text_of
from ngff_convert.readers.zarr_pixels import Life, ZarrPixels
from ngff_convert.storage import Zipped, at, joined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ngff_convert.readers.ome_xml import OmeDocument, OmeImage
    from ngff_convert.readers.zarr_nodes import Group, Json
    from ngff_convert.storage import Storage

XML = "OME/METADATA.ome.xml"

MAX_LEVELS = 64
"""That an image may list."""

MAX_LABELS = 1000
"""Of one image."""

MAX_KEPT, LONGEST_KEPT = 100, 10_000
"""Attributes of a group that are carried on as text, and characters of each."""


class OmeZarrSource:
    """An open store.

    Parameters
    ----------
    path
        As the user gave it, absolute.
    storage
        The same.

    Attributes
    ----------
    images
        Each is opened when it is asked for.
    paths
        The metadata files that were read on opening; of an archive, that. Files of chunks are far too many.
    """

    def __init__(self, path: str, storage: Storage) -> None:
        self.warnings: list[str] = []
        self.missing: list[str] = []
        storage.reach()
        self._nodes = Nodes(storage)
        self._life = Life()
        root = self._nodes.group("")
        if root is None:
            raise UnsupportedInput(f"{path}: is a Zarr array, not an image; give the group that it is in")
        self._root = root
        found = places.images_in(self._nodes, root, self.warnings)
        self.images: Sequence[Image] = ImagesOnDemand(len(found), lambda n: self.image(found[n], n))
        self._xml = _XmlOf(
            self._nodes, self.warnings, by_number="plate" not in root.ome and "well" not in root.ome
        )
        if len(self.images) == 1:
            _ = self.images[0]  # so its files are known
        self.paths = _paths(path, storage, self._nodes.files)

    def __enter__(self) -> OmeZarrSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._life.closed = True

    def image(self, place: places.Place, number: int) -> Image:
        """Open an image.

        Raises
        ------
        ReadError
            It is not there, or its metadata are damaged.
        UnsupportedInput
            It has axes, transformations, a type or a codec that is not handled.
        """
        group = self._root if not place.folder else self._nodes.group(place.folder)
        if group is None:
            raise ReadError(f"{at(self._nodes.storage, place.folder)}: is an array, not an image")
        warnings: list[str] = []
        stated = self._xml.image(place.folder, number, len(self.images))
        scene = self._root.ome.get("scene") if place.folder else None
        image = _opened(self._nodes, group, place, scene, stated, self._life, warnings)
        if not image.is_label:
            image = replace(image, labels=_labels(self._nodes, place.folder, self._life, warnings))
        named = f"{place.name or image.name or f'image {number}'}: " if len(self.images) > 1 else ""
        self.warnings += [f"{named}{line}" for line in dict.fromkeys(warnings)]
        return image


def _paths(path: str, storage: Storage, files: Sequence[str]) -> list[str]:
    if isinstance(storage, Zipped):
        return [path]
    files = sorted(set(files))  # some are read at once, in any order
    names = [f"{path.rstrip('/')}/{file}" for file in files]
    if not is_remote(path):
        return names
    found: list[str] = []
    for name, file in zip(names, files, strict=True):
        stored = StoredFile(name)
        stored.storage, stored.within = storage, file
        found.append(stored)
    return found


# -- one image -----------------------------------------------------------------------------------------------


def _opened(
    nodes: Nodes,
    group: Group,
    place: places.Place,
    scene: Any,  # noqa: ANN401 - from foreign metadata
    stated: _Stated,
    life: Life,
    warnings: list[str],
) -> Image:
    where = at(nodes.storage, place.folder)
    every = list_of(group.ome.get("multiscales"))
    if place.number >= len(every):
        raise ReadError(f"{where}: has no multiscales; is the store whole?")
    multiscales = object_of(every[place.number])
    axes = meaning.axes_of(multiscales, meaning.version_of(multiscales, group.ome, where), where)
    levels = _levels(nodes, group, multiscales, axes, life, warnings)
    pixels, position = levels[0]
    position = placed_in(scene, place.folder, multiscales, axes, position, warnings)
    calibration = meaning.calibration(axes, position, warnings)
    omero = object_of(group.ome.get("omero"))
    channels = meaning.channels(omero, pixels.shape[1], warnings)
    ome = stated.of(pixels, warnings)
    if ome is not None:
        channels = _with_stated(channels, ome)
        calibration = ome.calibration if calibration == Calibration() else calibration
    stamps = meaning.time_stamps(multiscales, pixels.shape[0])
    return Image(
        name=meaning.name_of(multiscales, group.ome, place.folder) or place.name or (ome.name if ome else ""),
        pixels=pixels,
        channels=channels or (Channel(),) * pixels.shape[1],
        calibration=calibration,
        time_stamps=stamps or (ome.time_stamps if ome else ()),
        native_levels=_native(levels, axes, warnings),
        is_label="image-label" in group.ome and pixels.dtype.kind in "iu",
        legend=meaning.legend(object_of(group.ome.get("image-label"))),
        original_metadata=_others(group, multiscales),
        ome=stated.carried if ome is not None else None,
        plate_field=place.plate_field or (ome.plate_field if ome else None),
    )


def _labels(nodes: Nodes, folder: str, life: Life, warnings: list[str]) -> tuple[Image, ...]:
    """Return the label images of an image, named as they are listed; none that cannot be read."""
    path = joined(folder, "labels")
    if not nodes.is_there(path):
        return ()
    found: list[Image] = []
    try:
        group = nodes.group(path)
        names = list_of(group.ome.get("labels")) if group else []
        if len(names) > MAX_LABELS:
            raise ReadError(f"{at(nodes.storage, path)}: lists {len(names)} label images; is it whole?")
    except ReadError as error:
        warnings.append(f"its label images are left out: {error}")
        return ()
    for name in dict.fromkeys(map(text_of, names)):
        own: list[str] = []
        try:
            place = places.Place(below(nodes.storage, path, name))
            group = nodes.group(place.folder)
            if group is None:
                raise ReadError(f"{at(nodes.storage, place.folder)}: is an array, not a label image")
            image = _opened(nodes, group, place, None, _Stated(None, 0), life, own)
            found.append(replace(image, name=name, is_label=True))
        except (ReadError, UnsupportedInput) as error:
            warnings.append(f"its label image {name} is left out: {error}")
        warnings += [f"label image {name}: {line}" for line in own]
    return tuple(found)


_Level = tuple[ZarrPixels, "meaning.Placed | None"]


def _levels(
    nodes: Nodes,
    group: Group,
    multiscales: Json,
    axes: Sequence[meaning.Axis],
    life: Life,
    warnings: list[str],
) -> list[_Level]:
    """Return the levels; only the first where a lower one is not there or damaged."""
    where = at(nodes.storage, group.path)
    datasets = [object_of(dataset) for dataset in list_of(multiscales.get("datasets"))]
    if not 0 < len(datasets) <= MAX_LEVELS:
        raise ReadError(f"{where}: lists {len(datasets)} levels; is the store whole?")
    letters = "".join(axis.letter for axis in axes)
    found: list[_Level] = []
    for dataset in datasets:
        try:
            path = below(nodes.storage, group.path, dataset.get("path"))
            pixels = ZarrPixels(nodes.storage, path, nodes.array(path), letters, life)
            found.append((pixels, meaning.placed(multiscales, dataset, len(axes), where)))
        except (ReadError, UnsupportedInput) as error:
            if not found:
                raise
            warnings.append(f"its lower levels are not complete: {error}")
            return found[:1]
    return found


def _native(
    levels: Sequence[_Level], axes: Sequence[meaning.Axis], warnings: list[str]
) -> tuple[NativeLevel, ...]:
    """Return the lower levels; none where they are of another kind than the full one."""
    (full, position), *lower = levels
    found = []
    above = full.shape
    for pixels, own in lower:
        fits = pixels.dtype == full.dtype and pixels.shape[:2] == full.shape[:2]
        if not fits or any(a < b for a, b in zip(above, pixels.shape, strict=True)):
            warnings.append("its lower levels are not used: their type, t, c or order of sizes is another")
            return ()
        above = pixels.shape
        level = native_level(full.shape, pixels)
        if position is not None and own is not None:
            ratio, shift = meaning.factors(position, own, axes)
            level = NativeLevel(
                pixels, *(_zyx(numbers, other) for numbers, other in ((ratio, 1.0), (shift, 0.0)))
            )
        found.append(level)
    return tuple(found)


def _zyx(numbers: dict[str, float], otherwise: float) -> tuple[float, float, float]:
    z, y, x = (numbers.get(axis, otherwise) for axis in "zyx")
    return z, y, x


def _with_stated(channels: tuple[Channel, ...] | None, ome: OmeImage) -> tuple[Channel, ...]:
    """Return the channels with what only the OME-XML says of them."""
    if channels is None:
        return ome.channels
    return tuple(
        replace(
            own,
            name=own.name or other.name,
            color=own.color or other.color,
            emission_nm=other.emission_nm,
            excitation_nm=other.excitation_nm,
        )
        for own, other in zip(channels, ome.channels, strict=True)
    )


_UNDERSTOOD = {
    *("multiscales", "omero", "image-label", "version", "labels", "plate", "well", "series"),
    "bioformats2raw.layout",
}


def _others(group: Group, multiscales: Json) -> dict[str, dict[str, str]]:
    """Return what else the group says, as text."""
    kept: dict[str, Any] = {k: v for k, v in group.ome.items() if k not in _UNDERSTOOD} | group.others
    sections = {"attributes": kept, "image-label": object_of(group.ome.get("image-label"))}
    return {
        section: {
            str(key)[:LONGEST_KEPT]: (value if isinstance(value, str) else json.dumps(value))[:LONGEST_KEPT]
            for key, value in list(entries.items())[:MAX_KEPT]
        }
        for section, entries in sections.items()
        if entries
    }


# -- OME-XML -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the OME-XML says of an image, if anything."""

    document: OmeDocument | None
    index: int

    @property
    def carried(self) -> SourceOme | None:
        xml = self.document.xml if self.document else ""
        return SourceOme(xml, self.index) if xml else None

    def of(self, pixels: ZarrPixels, warnings: list[str]) -> OmeImage | None:
        """Return it, unless it is of another size."""
        if self.document is None or not 0 <= self.index < len(self.document.images):
            return None
        found = self.document.images[self.index]
        if found.shape == pixels.shape:
            return found
        sizes = " x ".join(map(str, found.shape))
        warnings.append(f"the OME-XML says {sizes} (t, c, z, y, x), which the pixels are not: it is left out")
        return None


class _XmlOf:
    """The OME-XML of a store, read when the first image is opened."""

    def __init__(self, nodes: Nodes, warnings: list[str], *, by_number: bool) -> None:
        self._nodes, self._warnings, self._by_number = nodes, warnings, by_number
        self._document: OmeDocument | None = None
        self._series: list[str] = []
        self._looked = False

    def image(self, folder: str, number: int, count: int) -> _Stated:
        """Return what it says of an image: by the list of series, else by its number if all are described."""
        self._look()
        if folder in self._series:
            return _Stated(self._document, self._series.index(folder))
        described = len(self._document.images) if self._document else 0
        fits = self._by_number and not self._series and described == count
        return _Stated(self._document if fits else None, number)

    def _look(self) -> None:
        if self._looked:
            return
        self._looked = True
        try:
            text = self._nodes.text(XML)
            if text is None:
                return
            self._series = places.listed_series(self._nodes)
            from ngff_convert.readers import ome_xml

            self._document = ome_xml.parse(text, at(self._nodes.storage, XML))
            self._warnings += self._document.warnings
        except ReadError as error:
            self._warnings.append(f"the OME-XML is left out: {error}")
