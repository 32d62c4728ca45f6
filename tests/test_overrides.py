from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from images import ArrayPixels, image

from ngff_convert import overrides
from ngff_convert.errors import OptionError
from ngff_convert.model import UNKNOWN, Calibration
from ngff_convert.options import Options

IN_MM = Calibration(zyx=(0.5, 0.25, 0.1), unit="millimeter", t_s=2.0, origin_zyx=(10.25, None, -3.0))


def calibration(known: Calibration, **settings: Any) -> Calibration:
    pixels = ArrayPixels(np.zeros((2, 1, 8, 8, 8), "uint16"), (1, 1, 4, 4, 4))
    return overrides.apply(replace(image(pixels), calibration=known), Options(**settings)).calibration


@pytest.mark.parametrize(
    ("settings", "zyx", "unit", "origin"),
    [
        ({}, (0.5, 0.25, 0.1), "millimeter", (10.25, None, -3.0)),
        # What is kept of the source is converted into the unit of what is given.
        ({"spacing": (2, 1, 1), "unit": "um"}, (2, 1, 1), "micrometer", (10250, None, -3000)),
        ({"origin": (7, 0, 0), "unit": "um"}, (500, 250, 100), "micrometer", (7, 0, 0)),
        ({"spacing": (2, 1, 1), "origin": (7, 0, 0), "unit": "nm"}, (2, 1, 1), "nanometer", (7, 0, 0)),
        # Given alone, a unit corrects the source's.
        ({"unit": "um"}, (0.5, 0.25, 0.1), "micrometer", (10.25, None, -3.0)),
        # Without one, numbers are in the source's.
        ({"spacing": (2, 1, 1)}, (2, 1, 1), "millimeter", (10.25, None, -3.0)),
        ({"origin": (7, 0, 0)}, (0.5, 0.25, 0.1), "millimeter", (7, 0, 0)),
    ],
)
def test_sizes_and_positions_end_in_one_unit(
    settings: dict[str, Any], zyx: tuple[float, ...], unit: str, origin: tuple[float | None, ...]
) -> None:
    assert calibration(IN_MM, **settings) == Calibration(zyx, unit, 2.0, origin)


def test_numbers_of_a_source_without_a_unit_cannot_be_converted() -> None:
    known = Calibration(zyx=UNKNOWN, origin_zyx=(10.25, 0.0, 0.0))
    found = calibration(known, spacing=(2, 1, 1), unit="um")
    assert found == Calibration((2, 1, 1), "micrometer", None, (10.25, 0.0, 0.0))


def test_what_is_not_converted_keeps_every_digit() -> None:
    known = Calibration(zyx=(0.1 + 0.2, 1 / 3, 1.0), unit="micrometer")
    assert calibration(known, origin=(0, 0, 0), unit="um").zyx == known.zyx


def test_a_crop_begins_where_it_was_in_the_unit_given() -> None:
    crop = ((None, None), (None, None), (2, 4), (None, None), (3, None))
    found = calibration(IN_MM, crop=crop, origin=(7, 0, 0), unit="um")
    assert found.origin_zyx == (7 + 2 * 500, 0, 3 * 100)


@pytest.mark.parametrize(("step", "start"), [(0.1, 0.3), (None, 0.0)])
def test_a_crop_begins_when_it_was(step: float | None, start: float) -> None:
    pixels = ArrayPixels(np.zeros((5, 1, 2, 2, 2), "uint16"), (1, 1, 2, 2, 2))
    crop = ((3, None), *[(None, None)] * 4)
    whole = image(pixels, calibration=Calibration(t_s=step))
    assert overrides.apply(whole, Options(crop=crop)).calibration == Calibration(t_s=step, start_s=start)
    assert overrides.apply(whole, Options()).calibration == Calibration(t_s=step)


def test_a_range_outside_the_image_is_refused() -> None:
    crop = ((None, None), (None, None), (8, None), (None, None), (None, None))
    with pytest.raises(OptionError, match="--z 8:8 is not within the image, which has z from 0:8"):
        calibration(IN_MM, crop=crop)
