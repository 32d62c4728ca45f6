"""Many files, one image: which file holds which time point, channel and plane, from the names alone.

What a name says is told by a pattern (`file_patterns`), given or guessed (`file_guess`). How the texts in its
braces become places: see `places_of`. No file is touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from itertools import pairwise
from math import gcd, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.readers import gaps
from ngff_convert.readers.file_guess import guess
from ngff_convert.readers.file_patterns import AXES, NUMBER, natural, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.file_patterns import Pattern

SPARSEST = 16
"""Places for each file, at the most, in a grid of more than `SMALL_GRID` places."""

SMALL_GRID = 1000

_RANKED = re.compile(r"0{0,3}([0-9]{1,3})[-_. ]?([^\W\d_].*)", re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Which file is where.

    Attributes
    ----------
    axes
        Those that the names tell, a subset of ``tcz``; the others have size 1.
    files
        In natural order.
    index
        int32 (t, c, z): number in `files`, -1 where there is no file.
    labels
        For each of `axes` the text in its brace at each place; at a gap that no name shows, the text that
        its name would have.
    pattern
        As given or understood.
    unmatched
        Names that do not match the pattern, and are left out.
    """

    axes: str
    files: tuple[str, ...]
    index: NDArray[np.int32]
    labels: Mapping[str, tuple[str, ...]]
    pattern: str
    unmatched: int


def arrange(names: Sequence[str], pattern: Pattern | None = None) -> Arrangement:
    """Find the place of every file.

    Parameters
    ----------
    names
        Paths; one given twice counts once.
    pattern
        What the names look like; None to guess it.

    Raises
    ------
    ReadError
        There is no name, or none matches.
    OptionError
        Two files have one place, the names make a grid that is almost empty, or cannot be understood.
    """
    names = natural(dict.fromkeys(names))
    if pattern is None:
        pattern = guess([plain(name) for name in names])
    matched = [(name, match) for name in names if (match := pattern.match(name))]
    if not matched:
        looked = f"{len(names)} looked at, e.g. {shown(names[0])}; " if names else ""
        raise ReadError(f"{shown(pattern.text)}: no file matches; {looked}check the folder and the pattern")
    places = {axis: places_of([match[axis] for _, match in matched], axis) for axis in pattern.axes}
    return placed(matched, places, pattern, len(names) - len(matched))


def placed(
    matched: Sequence[tuple[str, re.Match[str]]],
    places: Mapping[str, Places],
    pattern: Pattern,
    unmatched: int = 0,
) -> Arrangement:
    """Put files where their names say.

    Parameters
    ----------
    matched
        Names with what the pattern finds in them.
    places
        Of each axis of the pattern.
    pattern
        What the names look like.
    unmatched
        How many other names there are.

    Raises
    ------
    OptionError
        Two files have one place, or the names make a grid that is almost empty.
    """
    files = tuple(name for name, _ in matched)
    shape = tuple(len(places[axis].labels) if axis in places else 1 for axis in AXES)
    if prod(shape) > max(SMALL_GRID, SPARSEST * len(files)):
        sizes = " x ".join(f"{len(places[axis].labels)} {axis}" for axis in pattern.axes)
        raise OptionError(
            f"{shown(pattern.text)}: {len(files)} files for {sizes} = {prod(shape)} places, e.g. "
            f"{shown(files[0])}; give a pattern whose braces hold what counts t, c and z"
        )
    flat = np.zeros(len(files), np.int64)
    for axis, size in zip(AXES, shape, strict=True):
        flat *= size
        if axis in places:
            position = places[axis].position
            flat += np.fromiter((position[match[axis]] for _, match in matched), np.int64, len(files))
    index = np.full(shape, -1, np.int32)
    numbers = np.arange(len(files), dtype=np.int32)
    index.reshape(-1)[flat] = numbers
    if (clash := np.flatnonzero(index.reshape(-1)[flat] != numbers)).size:
        one, other = int(clash[0]), int(index.reshape(-1)[flat[clash[0]]])
        where = " ".join(f"{axis}={shown(matched[one][1][axis])}" for axis in pattern.axes)
        raise OptionError(
            f"{shown(files[one])} and {shown(files[other])} are both {where or 'the only place'}"
            f"{_unlike(matched[one][1], matched[other][1])}; "
            "give a pattern, or files, with one file for each place"
        )
    index.flags.writeable = False
    return Arrangement(
        axes=pattern.axes,
        files=files,
        index=index,
        labels={axis: places[axis].labels for axis in pattern.axes},
        pattern=pattern.text,
        unmatched=unmatched,
    )


def _unlike(one: re.Match[str], other: re.Match[str]) -> str:
    """Return in what two names differ that a pattern knows of, though no axis counts it, as words."""
    told = one.groupdict(default="nothing"), other.groupdict(default="nothing")
    differ = (name for name in told[0] if told[0][name] != told[1][name])
    return "".join(f", but {name} is {' and '.join(shown(names[name]) for names in told)}" for name in differ)


class Places(NamedTuple):
    """Where the texts of one axis are.

    Attributes
    ----------
    position
        Of each text.
    labels
        The text of each position.
    counted
        Whether they are whole numbers in steps, so that one which is left out is seen.
    """

    position: dict[str, int]
    labels: tuple[str, ...]
    counted: bool = False


def places_of(texts: Iterable[str], axis: str) -> Places:
    """Give the texts of an axis their positions.

    Numbers come in the order of their values, ``1`` and ``001`` being one; anything else in natural order.
    Whole numbers of t and z count in the step that all of them have in common, and a number that is left out
    has a position without a file, so that a lost time point is seen. Where more than half of them would be
    left out, and for c, only values that are there have a position.
    """
    distinct = natural(set(texts))
    if not all(map(NUMBER.fullmatch, distinct)):
        return Places({text: n for n, text in enumerate(distinct)}, tuple(distinct))
    value = {text: Decimal(text) for text in distinct}
    label: dict[Decimal, str] = {}
    for text in distinct:
        label.setdefault(value[text], text)
    values = sorted(label)
    # Beyond 18 digits a number is a date or a hash; int() would refuse, and nothing counts that far.
    if axis in ("t", "z") and all(text.isdigit() and len(text) <= 18 for text in distinct):
        whole = [int(v) for v in values]
        step = reduce(gcd, (b - a for a, b in pairwise(whole)), 0) or 1
        count = (whole[-1] - whole[0]) // step + 1
        if count <= 2 * len(whole):
            width = min(map(len, distinct))
            every = range(whole[0], whole[0] + count * step, step)
            labels = tuple(label.get(Decimal(n)) or str(n).zfill(width) for n in every)
            position = {text: (int(text) - whole[0]) // step for text in distinct}
            return Places(position, labels, counted=True)
    order = {v: n for n, v in enumerate(values)}
    return Places({text: order[v] for text, v in value.items()}, tuple(label[v] for v in values))


def gaps_in_words(arrangement: Arrangement) -> str:
    """Name the places without a file by the texts in their braces; an axis that is not named is meant whole.

    Examples
    --------
    >>> gaps_in_words(arrange([f"t{t}_z{z}.tif" for t in range(4) for z in range(5) if t != 2 or z < 2]))
    't 2, z 2-4'
    """
    return gaps.gaps_in_words(arrangement.index < 0, AXES, arrangement.labels)


def channel_names(arrangement: Arrangement) -> tuple[str | None, ...]:
    """Return the name of each channel where its label is more than a number.

    Where every label starts with its own rank, as in MetaMorph's ``w1DAPI``, ``w2GFP``, the rank is left out.

    Examples
    --------
    >>> channel_names(arrange(["a_w1DAPI.TIF", "a_w2GFP.TIF"]))
    ('DAPI', 'GFP')
    >>> channel_names(arrange(["a_c0.tif", "a_c1.tif"]))
    (None, None)
    """
    labels = arrangement.labels.get("c")
    if labels is None:
        return (None,)
    if len(labels) > 1:
        ranked = [_RANKED.fullmatch(label) for label in labels]
        for first in (0, 1):
            bare: list[str] = [m[2] for n, m in enumerate(ranked, first) if m is not None and int(m[1]) == n]
            if len(bare) == len(labels):
                return tuple(bare)
    return tuple(None if NUMBER.fullmatch(label) else label for label in labels)


def span(labels: Mapping[str, Sequence[str]], longest: int = 4) -> list[str]:
    """Say which time points, channels, planes and the like there are; of many, the first and the last.

    Examples
    --------
    >>> span({"t": [str(n) for n in range(9)], "c": ("DAPI", "GFP")})
    ['t 0 to 8 (9)', 'c DAPI GFP']
    """
    lists = {
        axis: " ".join(texts) if len(texts) <= longest else f"{texts[0]} to {texts[-1]} ({len(texts)})"
        for axis, texts in labels.items()
    }
    return [shown(f"{axis} {words}") for axis, words in lists.items()]
