"""Label images of the images that are converted: whether they fit, and how they are written.

A label image is one of the images of the conversion: it is planned, written, journalled, compared and checked
like any other. It has the name of a file given with it, or that of the source's own label image, and stands
on the grid of voxels of its image, with as many levels, each made by the same factors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ngff_convert import label_colors, overrides, plan
from ngff_convert.errors import OptionError
from ngff_convert.events import Note
from ngff_convert.model import AXES, Box, values_of
from ngff_convert.units import SPACE_SYMBOLS, space_factor
from ngff_convert.validation.findings import shown
from ngff_convert.write_plan import Decided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.events import Observer
    from ngff_convert.journal import Noted
    from ngff_convert.model import Calibration, Image, Shape
    from ngff_convert.options import Options
    from ngff_convert.plan import Resources

SAME_SPACING = 0.01
"""Voxel sizes that differ by no more than this share are the same."""

NEARLY = 0.05
"""Factors that differ by no more than this share from a whole number are that number."""

# -- whether they fit, and how they are written ------------------------------------------------------------


def decided(of: Decided, original: Image, options: Options, available: Resources) -> list[Decided]:
    """Decide how the label images of an image are written.

    Parameters
    ----------
    of
        The image, as decided.
    original
        The image as the source has it, with its label images.
    options, available
        As `convert.decide` has them.

    Raises
    ------
    OptionError
        One of them does not fit the image.
    MemoryBudgetError
        No plan fits the memory given.
    """
    grid = Grid(original.pixels.shape, of.image.pixels.shape, (original.calibration, of.image.calibration))
    given = dict(options.labels)
    found = []
    for label in original.labels:
        try:
            found.append(_decided(label, of, grid, options, available, f"--labels {label.name}"))
        except OptionError as error:
            if label.name in given:
                raise
            raise OptionError(
                f"{str(error).replace('--labels', 'label image')}; or leave the input's out: --no-labels"
            ) from error
    return found


def _decided(
    label: Image, of: Decided, grid: Grid, options: Options, available: Resources, where: str
) -> Decided:
    steps = steps_of([(level.factor[2:], level.shape[2:]) for level in of.plan.levels], where)
    image = fitted(label, grid, options, where)
    return planned(image, of.plan.axes, steps, of.folder, of.number, options, available, where)


@dataclass(frozen=True, slots=True)
class Grid:
    """The voxels of an image that label images have to lie on.

    Attributes
    ----------
    shape
        Of the source's image, all of it, (t, c, z, y, x).
    written
        Of what of it is written.
    calibrations
        What its voxel sizes may be: as the source says, and, last, as they are written.
    """

    shape: Shape
    written: Shape
    calibrations: tuple[Calibration, ...]


def fitted(label: Image, grid: Grid, options: Options, where: str) -> Image:
    """Return a label image on the grid of voxels of its image, cropped as that is.

    Raises
    ------
    OptionError
        It is none, or of another size or spacing.
    """
    kind = label.pixels.dtype
    if kind.kind not in "biu":
        raise OptionError(
            f"{where}: is of type {kind.name}, but labels are whole numbers; save it as integers, such as "
            "uint16 or uint32, if all its values are"
        )
    _check_values(label, where)
    shape = label.pixels.shape
    if shape[1] != 1:
        raise OptionError(
            f"{where}: has {shape[1]} channels; a label image has one: {_if_pages(label, grid)}save each "
            "channel as a file of its own"
        )
    spans = [
        _span(axis, n, whole, written, span)
        for axis, n, whole, written, span in zip(
            AXES, shape, grid.shape, grid.written, options.crop, strict=True
        )
    ]
    if None in spans:
        parts = f", of which {_sizes(grid.written)} are written" if grid.written != grid.shape else ""
        raise OptionError(
            f"{where}: is of {_sizes(shape)} voxels, its image of {_sizes(grid.shape)}{parts}: z, y and x "
            f"have to be the same, and t the same or 1: {_if_pages(label, grid)}is it of another image?"
        )
    _check_spacing(label.calibration, grid, where)
    box = Box(*(tuple(end) for end in zip(*(span or (0, 1) for span in spans), strict=True)))
    return replace(
        label,
        pixels=label.pixels if box.shape == shape else overrides.Cropped(label.pixels, box),
        calibration=grid.calibrations[-1],
        is_label=True,
        time_stamps=(),
        native_levels=(),
        labels=(),
    )


def _check_values(label: Image, where: str) -> None:
    """Refuse properties of values that the label image cannot have."""
    kind = label.pixels.dtype
    values = values_of(kind)
    for value in label.legend.properties:
        if value not in values:
            raise OptionError(
                f"{where}: its properties are of the value {shown(value)}, which {kind.name} cannot hold; "
                "are they those of another label image?"
            )


def _if_pages(label: Image, grid: Grid) -> str:
    """Return how to say what the pages of a file are, where the image has as many planes."""
    t, c, z, *page = label.pixels.shape
    n_t, _, n_z, *plane = grid.shape
    n_pages = t * c * z
    if page != plane or n_pages not in (n_z, n_t * n_z):
        return ""
    one_axis = "Z" if n_pages == n_z else "T" if n_z == 1 else None
    axes = f"--axes {one_axis}" if one_axis else f"--axes TZ --shape {n_t},{n_z}"
    return f"if its pages are others, ngff-convert labels add OUT {label.name}=FILE {axes}; else "


def _span(
    axis: str, n: int, whole: int, written: int, crop: tuple[int | None, int | None]
) -> tuple[int, int] | None:
    """Return what of a label image is written along an axis; None where it does not fit."""
    if axis == "c":
        return 0, 1
    if n == whole:
        start, stop = crop
        return 0 if start is None else start, n if stop is None else stop
    return (0, n) if n == written or (axis == "t" and n == 1) else None


def _check_spacing(own: Calibration, grid: Grid, where: str) -> None:
    """Refuse a label image whose voxels are known, and of another size."""
    if any(_same(own, of, flat=grid.shape[2] == 1) for of in grid.calibrations):
        return
    image = grid.calibrations[-1]
    raise OptionError(
        f"{where}: its voxels are {_voxel(own)} (z y x), those of its image {_voxel(image)}: is it of "
        "another image? If not, save it with the image's spacing, or with none"
    )


def _same(own: Calibration, of: Calibration, *, flat: bool) -> bool:
    if (own.unit is None) != (of.unit is None):
        return True  # numbers without a unit are no sizes
    factor = space_factor(own.unit, of.unit) if own.unit and of.unit else 1.0
    pairs = list(zip(own.zyx, of.zyx, strict=True))[1 if flat else 0 :]
    return all(a is None or b is None or abs(a * factor - b) <= SAME_SPACING * b for a, b in pairs)


def _voxel(of: Calibration) -> str:
    sizes = " x ".join("?" if size is None else f"{size:.6g}" for size in of.zyx)
    return f"{sizes} {SPACE_SYMBOLS[of.unit] if of.unit else '(no unit)'}"


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, (shape[0], *shape[2:]))) + " (t z y x)"


def steps_of(
    levels: Sequence[tuple[Sequence[float], Sequence[int]]], where: str
) -> tuple[tuple[int, int, int], ...]:
    """Return the factors from each level of an image to the next.

    Other programs state 71 / 35 where they leave out every other of 71 voxels: that is 2.

    Parameters
    ----------
    levels
        For each level its factor and its size, both (z, y, x).
    where
        What the label image is called in a message.

    Raises
    ------
    OptionError
        They are no whole numbers: by others, no voxel of a label image can be made.
    """
    steps = []
    for (above, sizes), (level, smaller) in pairwise(levels):
        ratios = [b / a for a, b in zip(above, level, strict=True)]
        z, y, x = (max(1, round(ratio)) for ratio in ratios)
        step = (z, y, x)
        for factor, ratio, size, left in zip(step, ratios, sizes, smaller, strict=True):
            if abs(factor - ratio) > NEARLY * factor and left not in (size // factor, -(-size // factor)):
                by = " x ".join(f"{one:.4g}" for one in ratios)
                raise OptionError(
                    f"{where}: a level of its image is {by} times (z y x) smaller than the one above; label "
                    "images are made smaller by whole numbers: make the image with --pyramid build"
                )
        steps.append(step)
    return tuple(steps)


def planned(
    image: Image,
    axes: str,
    steps: tuple[tuple[int, int, int], ...],
    of: str | None,
    number: int,
    options: Options,
    available: Resources,
    where: str,
) -> Decided:
    """Decide how a label image of `fitted` is written.

    Parameters
    ----------
    image
        The label image.
    axes
        Those that its image is stored with.
    steps
        Factors from each level of its image to the next.
    of
        The group of its image; None where the label image is a store of its own.
    number
        Which image of the source it is of.
    where
        What it is called in a message.
    """
    own = replace(
        options,
        method=options.label_method or "mode",
        factors=steps,
        levels=len(steps) + 1,
        min_size=None,
        pyramid="build",
        dtype="uint8" if image.pixels.dtype.kind == "b" else None,
    )
    made = plan.build(image, own, available)
    if len(made.levels) != len(steps) + 1:
        raise OptionError(
            f"{where}: its image has {len(steps) + 1} levels, of which only {len(made.levels)} are smaller "
            "than the one above; use fewer --levels"
        )
    kept = [axis for axis in axes if axis != "c" and (axis != "t" or image.pixels.shape[0] > 1)]
    folder = "" if of is None else f"{of}/labels/{image.name}".lstrip("/")
    return Decided(
        image,
        replace(made, axes="".join(kept)),
        folder,
        number,
        overrides.crop_of(image),
        of or "",
    )


# -- what is in them ---------------------------------------------------------------------------------------


def coloured(decided: Sequence[Decided], journal: Noted, observe: Observer) -> tuple[Decided, ...]:
    """Return the images with a colour for each value of their label images.

    The values are those that every region noted of level 0, in this run or an earlier one.
    """
    numbers = [
        number
        for number, item in enumerate(decided)
        if item.label_of is not None and not item.image.legend.colors
    ]
    if not numbers:
        return tuple(decided)
    parts: dict[int, list[tuple[int, ...] | None]] = {number: [] for number in numbers}
    for done, _ in journal.finished():
        if done.image in parts and done.levels[0] == 0:
            parts[done.image] = [label_colors.together([*parts[done.image], done.values])]
    found = list(decided)
    for number in numbers:
        item = decided[number]
        values = label_colors.together([*parts[number], tuple(item.image.legend.properties)])
        if values is None:
            limit = label_colors.MAX_COLORS
            line = f"labels {item.image.name}: has more than {limit} values: viewers choose their colours"
            observe(Note(line))
            continue
        legend = replace(item.image.legend, colors=label_colors.colors(values))
        found[number] = replace(item, image=replace(item.image, legend=legend))
    return tuple(found)
