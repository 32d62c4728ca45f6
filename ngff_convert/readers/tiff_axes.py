"""What the pages of a TIFF are: which page belongs to which t, c, z. Arithmetic: no file touched.

A file that names its axes is taken at its word. Where it does not, this rule decides: the axis whose pages
follow one another is z (as ImageJ shows it), the next slower one t, the next c, leaving out those that the
file does name. Positions, regions and angles are images of their own. ``--axes`` overrules all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.errors import OptionError, UnsupportedInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Calibration
    from ngff_convert.readers.contract import Reading

PAGE_AXES = "TCZ"
"""Axes that pages can have, as tifffile and ``--axes`` spell them."""

UNNAMED_ARE = "ZTC"
"""What axes without a name are, the fastest first."""

IMAGE_AXES = "RPMA"
"""Axes of tifffile's whose every step is an image: regions, positions, mosaic tiles, angles."""


@dataclass(frozen=True, slots=True)
class PageAxes:
    """The axes along which pages are counted, slowest first: the last one's pages follow one another.

    Attributes
    ----------
    letters
        One for each axis: t, c and z as in `PAGE_AXES`; of `IMAGE_AXES`; others.
    sizes
        Pages along each axis.
    """

    letters: str
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.letters) != len(self.sizes):
            raise ValueError(f"{len(self.letters)} axes {self.letters}, but {len(self.sizes)} sizes")


def asked(axes: PageAxes, reading: Reading, where: str) -> PageAxes:
    """Return the axes that pages have: as the user says, or as the file says and the rule completes."""
    if reading.axes is None:
        return named(axes, where)
    return overruled(axes, reading.axes, reading.shape, where)


def named(axes: PageAxes, where: str) -> PageAxes:
    """Give axes without a name one, by the rule.

    Raises
    ------
    UnsupportedInput
        There are more of them than t, c and z; they have to be told.

    Examples
    --------
    >>> named(PageAxes("IC", (7, 2)), "a.tif").letters, named(PageAxes("QQ", (3, 4)), "a.tif").letters
    ('ZC', 'TZ')
    """
    free = [letter for letter in UNNAMED_ARE if letter not in axes.letters]
    letters: list[str] = []
    for letter in reversed(axes.letters):
        known = letter in PAGE_AXES + IMAGE_AXES
        if not known and not free:
            raise UnsupportedInput(
                f"{where}: pages of {_by(axes.sizes)} along {len(axes.sizes)} axes, more than t, c and z; "
                "say with --axes and --shape what they are"
            )
        letters.append(letter if known else free.pop(0))
    return PageAxes("".join(reversed(letters)), axes.sizes)


def overruled(axes: PageAxes, letters: str, shape: Sequence[int] | None, where: str) -> PageAxes:
    """Return the axes that the user says pages have.

    Parameters
    ----------
    axes
        What the file says.
    letters
        Slowest first, such as ``"tc"``: t, c, z, each at most once.
    shape
        Pages along each; one of them may be -1: what is left. None: those of the file.
    where
        The file, for errors.

    Raises
    ------
    OptionError
        They do not fit the number of pages, or of axes, or say where in a page y and x are.
    """
    n_pages = prod(axes.sizes)
    letters = letters.upper()
    if "Y" in letters:
        raise OptionError(f"--axes {letters}: {where} has pages, of which y and x come last; leave them out")
    if shape is None:
        if len(letters) == len(axes.sizes):
            return PageAxes(letters, axes.sizes)
        if len(letters) == 1:
            return PageAxes(letters, (n_pages,))
        if not letters and n_pages == 1:
            return PageAxes("", ())
        raise OptionError(
            f"--axes {letters}: {where} has {n_pages} pages along {len(axes.sizes)} axes "
            f"({_by(axes.sizes) or 1}), not {len(letters)}; say with --shape how many there are along each"
        )
    known = prod(n for n in shape if n > 0)
    sizes = tuple(n if n > 0 else n_pages // known for n in shape)
    if prod(sizes) != n_pages:
        raise OptionError(f"--shape {','.join(map(str, shape))}: {where} has {n_pages} pages")
    return PageAxes(letters, sizes)


def kept_sizes(known: Calibration, own: PageAxes, stated: PageAxes, warnings: list[str]) -> Calibration:
    """Return a calibration without what a file says of z or t where the user calls that axis another one."""
    moved = {
        letter
        for at, letter in enumerate(own.letters)
        if letter in "ZT" and (len(own.letters) != len(stated.letters) or stated.letters[at] != letter)
    }
    z, y, x = known.zyx
    if "Z" in moved and z is not None:
        warnings.append(f"a spacing of {z:g} is stated for what --axes calls otherwise: unknown along z")
        z = None
    if "T" in moved and known.t_s is not None:
        warnings.append(f"a step of {known.t_s:g} s is stated for what --axes calls otherwise: unknown")
    return replace(known, zyx=(z, y, x), t_s=None if "T" in moved else known.t_s)


def grids(axes: PageAxes) -> list[NDArray[np.int64]]:
    """Return, for each image, which page is at t, c, z: arrays (t, c, z) of numbers from 0.

    Two axes of one letter are one: files that each hold a part of the planes z.

    Examples
    --------
    >>> [grid] = grids(PageAxes("ZC", (3, 2)))
    >>> grid.shape, grid[0, 1].tolist()
    ((1, 2, 3), [1, 3, 5])
    """
    numbers = np.arange(prod(axes.sizes), dtype=np.int64).reshape(axes.sizes)
    images = [i for i, letter in enumerate(axes.letters) if letter not in PAGE_AXES]
    along = [[i for i, letter in enumerate(axes.letters) if letter == a] for a in PAGE_AXES]
    tcz = [prod(axes.sizes[i] for i in those) for those in along]
    return list(numbers.transpose(images + [i for those in along for i in those]).reshape(-1, *tcz))


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
