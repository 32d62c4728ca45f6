"""A made format, so that tests can have any plate or collection: a JSON file that describes the images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from images import ArrayPixels

from ngff_convert.model import Calibration, Channel, Image, SourceOme
from ngff_convert.plates import Acquisition, Plate, PlateField
from ngff_convert.readers import registry
from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ROWS, COLUMNS = ("A", "B", "C"), ("01", "02", "03", "04")
SHAPE = (1, 2, 1, 40, 50)
RUNS = (Acquisition(0, "first"), Acquisition(3, "second", "again"))


def pixels_of(number: int) -> NDArray[Any]:
    """Return the pixels of image `number`: no two of fifteen are alike."""
    block: NDArray[Any] = coded_pixels(SHAPE, "uint16") + np.uint16(4000 * number % 60_000)
    return block


class Source:
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __init__(self, path: str) -> None:
        self.paths = (path,)
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            described = json.load(file)
        plates = [_plate(plate) for plate in described["plates"]]
        self.images = tuple(
            _image(number, item, plates, described.get("xml"))
            for number, item in enumerate(described["images"])
        )

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


def _plate(said: dict[str, Any]) -> Plate:
    runs = tuple(RUNS[number] for number in said["runs"])
    return Plate(said["name"], tuple(said["rows"]), tuple(said["columns"]), runs)


def _image(number: int, said: dict[str, Any], plates: Sequence[Plate], xml: str | None) -> Image:
    field = None
    if "well" in said:
        row, column = said["well"].split("/")
        field = PlateField(plates[said.get("plate", 0)], row, column, said["field"], said.get("run"))
    return Image(
        name=said.get("name", ""),
        pixels=ArrayPixels(pixels_of(number), (1, 1, 1, 16, 32)),
        channels=(Channel("DAPI", "0000FF"), Channel("GFP", "00FF00")),
        calibration=Calibration(
            (None, 0.5, 0.5),
            said.get("unit", "micrometer"),
            None,
            tuple(said.get("origin", (None, 1.5, 2.5))),
        ),
        ome=None if xml is None else SourceOme(xml, number),
        plate_field=field,
    )


class Reader:
    name = "made"
    description = "for tests"
    suffixes = (".made",)
    settings: frozenset[str] = frozenset()

    def can_read(self, path: str, head: bytes) -> bool:
        return head.startswith(b'{"made"')

    def open(self, path: str, _reading: Any = None) -> Source:
        return Source(path)


def write(
    path: Path,
    images: Iterable[dict[str, Any]],
    *,
    plates: Sequence[dict[str, Any]] | None = None,
    name: str = "run 7",
    runs: Sequence[int] = (),
    xml: str | None = None,
) -> Path:
    """Write a file of the format.

    Parameters
    ----------
    images
        For each, what is to be said: `name`, `unit`, `origin`; of a plate `well`, ``"B/02"``, `field`, `run`.
    plates, name, runs
        Of one plate, or all that is said of several.
    xml
        The source's own OME-XML.
    """
    one = {"name": name, "rows": ROWS, "columns": COLUMNS, "runs": runs}
    said = {"made": 1, "plates": plates or [one], "images": list(images), "xml": xml}
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


FIELDS = [
    *({"well": "A/01", "field": "0"}, {"well": "A/01", "field": "1"}),
    *({"well": "B/02", "field": "0"}, {"well": "B/02", "field": "1"}),
    {"well": "C/04", "field": "1"},
]
"""Images of a plate of 3 x 4 wells, of which the last lacks its field 0."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the format read in this process."""
    known = {**registry.readers(), Reader.name: Reader()}
    monkeypatch.setattr(registry, "readers", lambda: known)


IN_PROCESS = """
import sys
sys.path.insert(0, {tests!r})
import plate_source
from ngff_convert.readers import registry
known = {{**registry.readers(), "made": plate_source.Reader()}}
registry.readers = lambda: known
from ngff_convert.cli import main
sys.exit(main({words!r}))
"""
"""A program that runs the command with the format known, for another process."""
