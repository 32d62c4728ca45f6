"""The index that Operetta and Opera Phenix put beside their images: sizes, positions, channels, the plate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ngff_convert.errors import ReadError
from ngff_convert.model import Calibration
from ngff_convert.ome_schema import local
from ngff_convert.readers.contract import open_file
from ngff_convert.readers.ome_elements import number, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from ngff_convert.model import Channel, Image
    from ngff_convert.readers.file_names import Arrangement

INDICES = ("Index.idx.xml", "Index.xml")
"""What it is called, in the folder of the images."""

_LONGEST = 2**30
_PIECE = 2**20
_UM = 1e6


@dataclass(slots=True)
class Index:
    """What an index says; empty where it says nothing.

    Attributes
    ----------
    path
        The file.
    plate
        What the plate is called.
    size
        Its rows and columns.
    pixel
        Size of a pixel (y, x), micrometres.
    places
        For each file the centre of its image (z, y, x), micrometres; y grows downwards, as in images.
    channels
        Name, wavelength of excitation and emission in nm of each channel, by its number in file names.
    """

    path: str
    plate: str = ""
    size: tuple[int, int] = (1, 1)
    pixel: tuple[float | None, float | None] = (None, None)
    places: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    channels: dict[int, tuple[str | None, float | None, float | None]] = field(default_factory=dict)


def index_beside(name: str, noted: list[str]) -> Index | None:
    """Return the index in the folder of a file; None where there is none, or a damaged one: noted."""
    for path in (Path(name).parent / index for index in INDICES):
        if path.is_file():
            try:
                return _read(str(path))
            except (ReadError, OSError, ValueError, ElementTree.ParseError) as error:
                noted.append(f"{path.name} is not used: {' '.join(str(error).split())}")
    return None


def _read(path: str) -> Index:
    found = Index(str(Path(path).absolute()))
    parser = ElementTree.XMLParser(target=_Builder(found))
    with open(open_file(path), "rb") as file:  # noqa: PTH123 - checked and opened already
        if file.seek(0, 2) > _LONGEST:
            raise ValueError(f"it is larger than {_LONGEST} bytes")
        file.seek(0)
        while piece := file.read(_PIECE):
            parser.feed(piece)
    parser.close()
    return found


class _Builder(ElementTree.TreeBuilder):
    """Takes elements as they end, and forgets them: an index may tell of a hundred thousand images."""

    def __init__(self, found: Index) -> None:
        super().__init__()
        self._found = found

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse a document type declaration."""
        raise ValueError("it has a DOCTYPE, which may do harm")

    def end(self, tag: str) -> Element:
        """Take what an element says."""
        element = super().end(tag)
        kind = local(element)
        if kind in ("Image", "Entry", "Plate") and len(element):
            texts = {local(inner): inner.text or "" for inner in element}
            if kind == "Plate":
                self._found.plate = texts.get("Name") or texts.get("PlateID") or ""
                self._found.size = whole(texts.get("PlateRows")) or 1, whole(texts.get("PlateColumns")) or 1
            else:
                channel = whole(texts.get("ChannelID") or element.get("ChannelID"))
                _take(self._found, texts, channel)
            element.clear()
        return element


def _take(found: Index, texts: dict[str, str], channel: int | None) -> None:
    """Take what is said of an image or, in newer versions, of all images of a channel."""
    if channel is not None and "ChannelName" in texts:
        waves = [number(texts.get(f"Main{which}Wavelength")) for which in ("Excitation", "Emission")]
        excitation, emission = (wave if wave and wave > 0 else None for wave in waves)
        found.channels.setdefault(channel, (texts["ChannelName"] or None, excitation, emission))
    if found.pixel == (None, None):
        sizes = [_um(texts.get(f"ImageResolution{axis}")) for axis in "YX"]
        found.pixel = tuple(size if size and size > 0 else None for size in sizes)  # type: ignore[assignment]
    if "URL" in texts:
        z, y, x = (_um(texts.get(f"Position{axis}")) for axis in "ZYX")
        found.places[texts["URL"].strip()] = z, None if y is None else 0.0 - y, x


def _um(text: str | None) -> float | None:
    metres = number(text)
    return None if metres is None else float(f"{metres * _UM:.12g}")


def described(image: Image, files: Arrangement, index: Index) -> Image:
    """Return the image of a field with what the index says of it; what it does not say stays."""
    column = [files.files[n] for n in files.index[0, 0] if n >= 0]
    places = [index.places.get(Path(name).name, (None, None, None)) for name in column]
    at = index.places.get(Path(files.files[0]).name, (None, None, None))
    own = image.calibration.zyx
    y_um, x_um = index.pixel
    if y_um is None or x_um is None:
        return replace(image, channels=_channels(image, files, index))
    zyx = (_step([place[0] for place in places]), y_um, x_um)
    if zyx[0] is None and image.calibration.unit == "micrometer":
        zyx = (own[0], y_um, x_um)
    height, width = image.pixels.shape[3:]
    calibration = Calibration(
        zyx,
        "micrometer",
        image.calibration.t_s,
        (
            places[0][0] if places else None,
            _first(at[1], height, y_um),
            _first(at[2], width, x_um),
        ),
    )
    return replace(image, calibration=calibration, channels=_channels(image, files, index))


def _first(centre: float | None, count: int, size: float) -> float | None:
    """Return the centre of the first pixel of an image from the centre of the image."""
    return None if centre is None else float(f"{centre - (count - 1) / 2 * size:.12g}")


def _step(heights: Sequence[float | None]) -> float | None:
    """Return the distance of planes, where it is the same for all."""
    known = [height for height in heights if height is not None]
    if len(known) < max(2, len(heights)):
        return None
    steps = [b - a for a, b in pairwise(known)]
    mean = sum(steps) / len(steps)
    even = mean > 0 and all(abs(step - mean) <= 0.01 * mean for step in steps)
    return float(f"{mean:.9g}") if even else None


def _channels(image: Image, files: Arrangement, index: Index) -> tuple[Channel, ...]:
    labels = files.labels.get("c", ())
    if len(labels) != len(image.channels):
        return image.channels
    found = []
    for label, channel in zip(labels, image.channels, strict=True):
        name, excitation, emission = index.channels.get(whole(label) or 0, (None, None, None))
        found.append(
            replace(
                channel,
                name=name or channel.name,
                excitation_nm=excitation or channel.excitation_nm,
                emission_nm=emission or channel.emission_nm,
            )
        )
    return tuple(found)
