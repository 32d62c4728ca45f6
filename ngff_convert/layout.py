"""Which images are written, and where: at the root of the store, numbered below it, as fields of a plate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ngff_convert import ngff_plate, overrides, wells
from ngff_convert.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Image
    from ngff_convert.options import Options
    from ngff_convert.plates import Plate
    from ngff_convert.write_plan import Decided

MAX_NAMED = 10
"""Fields or plates that a message names before it only counts."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An image and its place in the store.

    Attributes
    ----------
    image
        As it is written: named, cropped, with every override applied, and in the unit of the other images.
    original
        As the source has it.
    number
        Which of the source's images it is, from 0.
    folder
        Where its group is: ``""`` is the root.
    """

    image: Image
    original: Image
    number: int
    folder: str


def placed(images: Sequence[Image], options: Options, name: str) -> list[Placed]:
    """Choose from the images of a source, and give each that is to be written its name and its place.

    Parameters
    ----------
    images
        All of the source.
    options
        What is chosen of them, how they are laid out, and what is said about them.
    name
        What an image is called that has no name of its own; several get a number too. Of a plate too.

    Raises
    ------
    OptionError
        There is no such image, or the images cannot be laid out as is asked for, or an override does not fit.
    """
    wanted = chosen(images, options)
    if _as_plate(wanted, options):
        # A name that is given is the plate's: its fields have their own.
        made = _fields(wanted, name, options)
    else:
        if options.layout in ("single", "separate") and len(wanted) > 1:
            raise OptionError(_ONE_IMAGE[options.layout].format(len(wanted)))
        at_root = options.layout != "bioformats2raw" and len(wanted) == 1
        made = [
            Placed(
                _named(overrides.apply(image, options), name if len(wanted) == 1 else f"{name} {at}"),
                image,
                number,
                "" if at_root else str(at),
            )
            for at, (number, image) in enumerate(wanted)
        ]
    return _in_one_unit(made)


_ONE_IMAGE = {
    "single": "--layout single takes one image, but {} are to be written: choose one with --images",
    "separate": "--layout separate makes {} stores, which is for `ngff-convert convert` alone: "
    "choose one image with --images, or another --layout",
}


def chosen(images: Sequence[Image], options: Options) -> list[tuple[int, Image]]:
    """Return the images to be written, each with its number in the source.

    Raises
    ------
    OptionError
        There is no such image, well or field.
    """
    numbers = range(len(images)) if options.images is None else options.images
    outside = [number for number in numbers if not 0 <= number < len(images)]
    if outside or not numbers:
        wanted = ",".join(map(str, outside))
        raise OptionError(f"--images {wanted}: the input has images 0 to {len(images) - 1}")
    return wells.selected([(number, images[number]) for number in numbers], options.wells, options.fields)


def _named(image: Image, otherwise: str) -> Image:
    return image if image.name else replace(image, name=otherwise)


# -- plates ------------------------------------------------------------------------------------------------


def _as_plate(wanted: Sequence[tuple[int, Image]], options: Options) -> bool:
    """Return whether the images become a plate; refuse those that are asked for as one and are none."""
    alone = len(wanted) == 1 and options.images is not None  # who asks for one image wants it at the root
    if options.layout != "plate" and (options.layout != "auto" or alone):
        return False
    fields = [image.plate_field for _, image in wanted]
    plates = set({id(field.plate): field.plate for field in fields if field}.values())
    if len(plates) == 1 and all(fields):
        return True
    if options.layout == "auto":
        return False
    if not plates:
        raise OptionError("--layout plate: none of the images is a field of a plate; use another --layout")
    if others := [str(number) for number, image in wanted if not image.plate_field]:
        raise OptionError(
            f"--layout plate: these images are not of the plate: {_some(others)}; choose others with --images"
        )
    names = sorted(plate.name for plate in plates)
    raise OptionError(
        f"--layout plate: the images are of {len(plates)} plates, {_some(names)}; "
        "choose those of one with --images"
    )


def _fields(wanted: Sequence[tuple[int, Image]], name: str, options: Options) -> list[Placed]:
    own = replace(options, name=None)
    made = []
    plate: Plate | None = None
    for number, original in wanted:
        field = original.plate_field
        assert field is not None  # `_as_plate` has seen to that
        plate = plate or replace(field.plate, name=options.name or field.plate.name or name)
        field = replace(field, plate=plate)
        image = replace(overrides.apply(original, own), plate_field=field)
        where = ngff_plate.path_of(field)
        made.append(Placed(_named(image, f"{plate.name} {where}"), original, number, where))
    _check_twice(made)
    return made


def _check_twice(made: Sequence[Placed]) -> None:
    """Refuse two images that would be written to one place."""
    folder, times = Counter(item.folder.lower() for item in made).most_common(1)[0]
    if times > 1:
        alike = [item for item in made if item.folder.lower() == folder]
        numbers = _some([str(item.number) for item in alike])
        raise OptionError(
            f"the images {numbers} are all the field {alike[0].folder} of the plate: choose one of them "
            "with --images, or use --layout bioformats2raw"
        )


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - MAX_NAMED} more" if len(words) > MAX_NAMED else ""
    return ", ".join(words[:MAX_NAMED]) + more


# -- several images ----------------------------------------------------------------------------------------


def _in_one_unit(made: list[Placed]) -> list[Placed]:
    """Give sizes and positions of all images in the first unit there is, so that positions compare."""
    unit = next((item.image.calibration.unit for item in made if item.image.calibration.unit), None)
    return [
        replace(item, image=replace(item.image, calibration=known))
        if (known := overrides.in_unit(item.image.calibration, unit)) != item.image.calibration
        else item
        for item in made
    ]


def remarks(decided: Sequence[Decided], options: Options) -> list[str]:
    """Return what the user should know about the layout."""
    if options.origin is None or len(decided) < 2:
        return []
    return [f"--origin puts the first voxel of all {len(decided)} images at one place"]
