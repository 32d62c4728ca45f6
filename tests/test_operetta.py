"""The index of Operetta and Opera Phenix: what it says of images is taken over, damage is told."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plates import coded, field_of, write_field

import ngff_convert

if TYPE_CHECKING:
    from pathlib import Path

NAME = "r{row:02}c03f{field:02}p{z:02}-ch{c}sk1fk1fl1.tiff"
SHAPE = (1, 2, 3, 4, 6)
PIXEL = 5e-7
XMLNS = "http://www.perkinelmer.com/PEHH/HarmonyV5"


def write(folder: Path, index: str = "Index.idx.xml", *, by_channel: bool = False, step: float = 2e-6) -> str:
    """Write two fields of a well with their index; return its text."""
    size = (
        f'<ImageResolutionX Unit="m">{PIXEL}</ImageResolutionX>'
        '<ImageResolutionY Unit="m">1E-6</ImageResolutionY>'
    )
    channel = {
        c: f"<ChannelName>{name}</ChannelName>{size}<MainExcitationWavelength Unit='nm'>{wave}"
        f"</MainExcitationWavelength><MainEmissionWavelength Unit='nm'>{wave + 50}</MainEmissionWavelength>"
        for c, name, wave in ((1, "HOECHST", 375), (2, "Alexa 488", 488))
    }
    images = ""
    for field in (1, 2):
        write_field(folder, NAME, coded(1, 2, field, SHAPE), row=2, field=field)
        for z, c in product((1, 2, 3), (1, 2)):
            url = NAME.format(row=2, field=field, z=z, c=c)
            images += (
                f"<Image><URL>{url}</URL><ChannelID>{c}</ChannelID>{'' if by_channel else channel[c]}"
                f"<PositionX Unit='m'>{field * 1e-4}</PositionX><PositionY Unit='m'>2E-4</PositionY>"
                f"<PositionZ Unit='m'>{z * step + (z == 3) * (step - 2e-6)}</PositionZ></Image>"
            )
    entries = "".join(f'<Entry ChannelID="{c}">{text}</Entry>' for c, text in channel.items())
    text = (
        f'<EvaluationInputData xmlns="{XMLNS}"><Plates><Plate><PlateID>1234</PlateID><Name>my screen</Name>'
        f"<PlateRows>16</PlateRows><PlateColumns>24</PlateColumns><Well id='0203'/></Plate></Plates>"
        f"<Maps><Map>{entries if by_channel else ''}</Map></Maps><Images>{images}</Images>"
        "</EvaluationInputData>"
    )
    (folder / index).write_text(text)
    return text


@pytest.mark.parametrize("by_channel", [False, True])
def test_the_index_is_followed(tmp_path: Path, by_channel: bool) -> None:
    write(tmp_path / "Images", "Index.xml" if by_channel else "Index.idx.xml", by_channel=by_channel)
    with ngff_convert.open(str(tmp_path)) as source:
        first, second = source.images
        plate = field_of(first).plate
        np.testing.assert_array_equal(second.pixels[...], coded(1, 2, 2, SHAPE))
        assert first.calibration.zyx == (2, 1, 0.5)
        assert first.calibration.unit == "micrometer"
        # The middle of 4 x 6 pixels of 1 x 0.5 micrometres is there; y is the other way round.
        assert first.calibration.origin_zyx == (2, -200 - 1.5, 100 - 1.25)
        assert second.calibration.origin_zyx == (2, -200 - 1.5, 200 - 1.25)
        assert [(c.name, c.excitation_nm, c.emission_nm) for c in first.channels] == [
            ("HOECHST", 375, 425),
            ("Alexa 488", 488, 538),
        ]
        assert str(tmp_path / "Images" / ("Index.xml" if by_channel else "Index.idx.xml")) in source.paths
    assert (plate.name, len(plate.rows), len(plate.columns)) == ("my screen", 16, 24)


def test_uneven_planes_have_no_distance(tmp_path: Path) -> None:
    write(tmp_path, step=3e-6)
    with ngff_convert.open(str(tmp_path)) as source:
        assert source.images[0].calibration.zyx == (None, 1, 0.5)


@pytest.mark.parametrize("damage", ["truncated", "doctype", "empty", "absurd"])
def test_a_damaged_index_is_told_or_left_out(tmp_path: Path, damage: str) -> None:
    text = write(tmp_path)
    entity = '<!DOCTYPE x [<!ENTITY a "b">]>'
    absurd = (
        text.replace(str(PIXEL), "-1").replace("1E-6", "INF").replace("<PlateRows>16", "<PlateRows>99999")
    )
    damaged = {"truncated": text[:-40], "doctype": entity + text, "empty": "", "absurd": absurd}[damage]
    (tmp_path / "Index.idx.xml").write_text(damaged)
    with ngff_convert.open(str(tmp_path)) as source:
        assert source.images[0].calibration.zyx == (None, None, None)
        assert len(field_of(source.images[0]).plate.rows) in (2, 3)
        told = [line for line in source.warnings if line.startswith("Index.idx.xml is not used: ")]
        assert len(told) == (damage != "absurd")
