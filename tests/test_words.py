from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest

from ngff_convert.words import BYTES, NAMES, NUMBERS, SIZES, SPAN, STEP, TRIPLE

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SIZES, "64,256,256", (64, 256, 256)),
        (SIZES, "64x256x256", (64, 256, 256)),
        (SIZES, "auto", "auto"),
        (STEP, "1,2,2", (1, 2, 2)),
        (TRIPLE, "-5,0,2.5", (-5.0, 0.0, 2.5)),
        (BYTES, "2GiB", 2 * 2**30),
        (BYTES, "500MB", 500_000_000),
        (BYTES, "1.5 GiB", 3 * 2**29),
        (BYTES, "64k", 64_000),
        (BYTES, "123", 123),
        (BYTES, "9" * 400 + "k", int("9" * 28 + "0" * 375) + 10**375),
        (SPAN, "3", (3, 4)),
        (SPAN, "3:", (3, None)),
        (SPAN, ":7", (None, 7)),
        (SPAN, ":", (None, None)),
        (NUMBERS, "0,2", (0, 2)),
        (NUMBERS, "5, 20,-1", (5, 20, -1)),
        (NAMES, "a, b c", ("a", "b c")),
    ],
)
def test_words(kind: Callable[..., Any], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (SIZES, "8,,64", "such as 64,256,256"),
        (SIZES, "8,x,64", "such as 64,256,256"),
        (SIZES, "", "such as 64,256,256"),
        (STEP, "auto", "three whole numbers z,y,x are needed, such as 1,2,2"),
        (TRIPLE, "1,,1", "three numbers z,y,x are needed, such as 0.5,0.2,0.2"),
        (SPAN, "a:b", "a range is FROM:TO in whole numbers, such as 3:8"),
        (SPAN, "", "a range is FROM:TO"),
        (SPAN, "1:2:3", "a range is FROM:TO"),
        (NUMBERS, "1-2", "such as 0,2"),
        (NUMBERS, "5,", "such as 0,2"),
        (NUMBERS, "2x3", "such as 0,2"),
        (BYTES, "much", "a number with a unit, such as 500MB"),
        (BYTES, "1.2.3GB", "a number with a unit"),
    ],
)
def test_a_word_of_another_form_is_told_the_form(kind: click.ParamType[Any], text: str, said: str) -> None:
    with pytest.raises(click.BadParameter, match=said) as caught:
        kind(text)
    assert "invalid literal" not in str(caught.value)
