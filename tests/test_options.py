from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngff_convert.errors import OptionError
from ngff_convert.options import Options
from ngff_convert.readers.contract import Reading

WHOLE = ((None, None),) * 4


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("chunks", "foo", "--chunks takes 3 .* or auto, not 'foo'"),
        ("chunks", "none", "--chunks takes 3"),
        ("chunks", (8, 64), "--chunks takes 3 .* such as 64,256,256, or auto, not 8,64"),
        ("chunks", (8, 0, 64), "--chunks takes"),
        ("chunks", (8.5, 64, 64), "--chunks takes"),
        ("chunks", None, "--chunks takes"),
        ("shards", "foo", "--shards takes 3 .* or auto or none, not 'foo'"),
        ("factors", ((2, 2),), "--factors: a step is three whole numbers .* not 2,2"),
        ("factors", ((0, 2, 2),), "--factors"),
        ("factors", (2, 2, 2), "--factors"),
        ("factors", 2, "--factors takes a list"),
        ("spacing", (1.0, 1.0), "--spacing takes three numbers z,y,x"),
        ("spacing", (1.0, 0.0, 1.0), "--spacing: a voxel size is above 0, not 1.0,0.0,1.0"),
        ("spacing", (1.0, float("inf"), 1.0), "--spacing takes three numbers"),
        ("spacing", (1.0, None, 1.0), "--spacing takes three numbers"),
        ("origin", (1.0, 1.0, 1.0, 1.0), "--origin takes three numbers"),
        ("origin", (float("nan"), 0.0, 0.0), "--origin takes three numbers"),
        ("crop", ((None, None),) * 4, "crop is a pair .* for each of t, c, z, y, x"),
        ("crop", ((1, 2, 3), *WHOLE), "crop is a pair"),
        ("crop", ((5, 3), *WHOLE), "--t 5:3: a range begins at 0 or later and ends after that, such as 3:8"),
        ("crop", ((None, 0), *WHOLE), "--t :0: "),
        ("crop", ((-1, None), *WHOLE), "--t -1:: "),
        ("unit", "pixel", "'pixel' is not a unit of length that OME-NGFF knows"),
        ("unit", "", "is not a unit"),
        ("unit", 3, "is not a unit"),
        ("channel_colors", ("FF00",), "FF00 is not a colour: 6 hex digits, or one of red"),
        ("channel_colors", "red", "--channel-colors takes a list"),
        ("channel_names", "DAPI", "--channel-names takes a list, not 'DAPI'"),
        ("channel_names", ("\udcff",), "--channel-names takes text in UTF-8"),
        ("name", "\udcff", "--name takes text in UTF-8"),
        ("images", (), "--images takes numbers from 0, such as 0,2"),
        ("images", (0, -1), "--images takes numbers from 0"),
        ("dtype", "uint17", "--dtype: 'uint17' is not one of bool, uint8"),
        ("dtype", "", "--dtype"),
        ("dtype", int, "--dtype"),
        ("method", "", "--method: '' is not one of mean"),
        ("ngff_version", "0.7", "--ngff-version: '0.7' is not one of 0.4, 0.5, 0.6"),
        ("layout", None, "--layout"),
        ("levels", 0, "--levels is a whole number of at least 1, not 0"),
        ("levels", 2.5, "--levels is"),
        ("min_size", "3", "--min-size is"),
        ("workers", -1, "--workers is"),
        ("memory", 0, "--memory is"),
        ("axes", "XZ", r"--axes takes axes, slowest first, such as TZCYX .*, not 'XZ'"),
        ("axes", "TTYX", "--axes takes axes"),
        ("axes", "TYXT", "--axes takes axes"),
        ("axes", "TIYX", "--axes takes axes"),
        ("axes", "", "--axes takes axes"),
        ("axes", ("t", "z"), "--axes takes axes"),
        ("shape", (2, 0), r"--shape takes numbers of pages or files .* such as 5,20,3, .* not 2,0"),
        ("shape", (-1, -1), "--shape takes numbers"),
        ("shape", (-2, 3), "--shape takes numbers"),
        ("shape", (), "--shape takes numbers"),
        ("shape", "2,3", "--shape takes numbers"),
        ("shape", 6, "--shape takes numbers"),
        ("on_error", "ignore", "--on-error: 'ignore' is not one of stop, fill"),
        ("on_error", None, "--on-error"),
        ("files_from", 3, "--files-from takes the name of a file, not 3"),
        ("files_from", "", "--files-from takes the name of a file"),
        ("codec", "zstd", r"codec is a Codec, such as Codec\('zstd', 3\), not 'zstd'"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(field: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        Options(**{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("chunks", [8, np.int64(64), 64], (8, 64, 64)),
        ("shards", "none", "none"),
        ("factors", [[1, 2, 2]], ((1, 2, 2),)),
        ("spacing", [2, 1, 1], (2.0, 1.0, 1.0)),
        ("origin", np.array([0.0, 0.0, -7.5]), (0.0, 0.0, -7.5)),
        ("crop", [[0, 3], *WHOLE], ((0, 3), *WHOLE)),
        ("unit", "\N{MICRO SIGN}m", "micrometer"),
        ("unit", "Microns", "micrometer"),
        ("channel_colors", ["#ff00aa", "Green"], ("FF00AA", "00FF00")),
        ("channel_names", ["DAPI"], ("DAPI",)),
        ("images", range(2), (0, 1)),
        ("dtype", np.dtype(">u2"), "uint16"),
        ("dtype", np.uint8, "uint8"),
        ("axes", "TZCYX", "tzc"),
        ("axes", "tcz", "tcz"),
        ("axes", "TCYXS", "tc"),
        ("axes", "CSYX", "c"),
        ("axes", "YX", ""),
        ("axes", "ZYXC", "zyxc"),
        ("axes", "XYZ", "xyz"),
        ("dataset", ["a/b"], ("a/b",)),
        ("files_from", Path("a/list.txt"), "a/list.txt"),
    ],
)
def test_any_usual_spelling_is_kept_in_one(field: str, value: Any, kept: object) -> None:
    assert getattr(Options(**{field: value}), field) == kept


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ngff_version": "0.4", "shards": (8, 64, 64)}, "NGFF 0.4 has no shards"),
        ({"pyramid": "native", "method": "max"}, "copies levels"),
        ({"factors": ((2, 2, 2),), "min_size": 3}, "states the levels"),
        ({"shape": (2, 3)}, "--shape says how many there are along each of --axes: give --axes too"),
        ({"shape": (2, 3), "axes": "ZYX"}, "--shape 2,3: --axes has 1 axes besides y and x, not 2"),
        ({"shape": (1,), "axes": "YX"}, "--shape 1: --axes has 0 axes besides y and x, not 1"),
    ],
)
def test_options_that_exclude_each_other(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Options(**settings)


def test_what_a_reader_is_told() -> None:
    assert Options().reading == Reading()
    options = Options(axes="TZYX", shape=[2, np.int64(-1)], files_from="list")  # type: ignore[arg-type]
    assert options.reading == Reading("tz", (2, -1), "list")
