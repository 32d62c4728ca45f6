"""A finished store against its source, both opened anew; the store's own metadata say what it was made of."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ngff_convert import machine, overrides
from ngff_convert.compare import Subject, compare_images
from ngff_convert.convert import open_with
from ngff_convert.downsample import METHODS
from ngff_convert.errors import MemoryBudgetError, OptionError, ReadError, VerificationError
from ngff_convert.model import AXES, Box
from ngff_convert.options import Options
from ngff_convert.pyramid import level_shape
from ngff_convert.storage import Folder, Unreachable, at, storage_of
from ngff_convert.stored import StoredLevel, images
from ngff_convert.stored_labels import labels_of
from ngff_convert.validation.findings import shown
from ngff_convert.verify_boxes import BLOCKS, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Image, Shape
    from ngff_convert.readers.contract import Source
    from ngff_convert.storage import Storage
    from ngff_convert.stored import StoredImage
    from ngff_convert.verification import Observe, Verification
    from ngff_convert.write_plan import Factor

BOX_BYTES = 16 * 2**20
"""A box is this large at the most; only large chunks make it larger."""

NATIVE = "native"


def verify(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    options: Options | None = None,
    share: float = 1.0,
    observe: Observe = lambda _: None,
) -> Verification:
    """Compare a finished OME-Zarr store with the file it was made of, which is read in another way.

    Level 0 is compared with the source; every lower level with what becomes of the source, or where that
    would be too much at once, with what becomes of the level above. Lower levels of stores that another
    program made are not compared, because how they were made is not known; they are decoded.

    Parameters
    ----------
    source
        The input of the conversion.
    store
        OME-NGFF 0.4, 0.5 or 0.6: its folder, its archive, or its address: ``s3://``, ``gs://``, ``http://``.
    options
        How the input is read, if not by default: `reader`, `axes`, `shape`, `files_from`, `dataset`,
        `on_error`; how many boxes are in work at once, and in what memory: `workers`, `memory`. Of a store
        that another program made also which `images` of the input are in it, and the `crop`; stores of this
        program say that themselves. How buckets are reached: `storage_options`.
    share
        Of the boxes of each level, how much is compared; 1 is all. At least one box is.
    observe
        Is called after each box, in this thread.

    Returns
    -------
    Verification
        What was compared, and every difference; none is an error here. What of the source is not in the
        store is in it too.

    Raises
    ------
    ReadError, UnsupportedInput
        The source cannot be read; or the store cannot be reached, or not any more.
    VerificationError
        The store is damaged, or is not of this source: other images, shapes or types of pixels.
    OptionError
        `images` or `crop` are not those that the store itself states, or not as many as it has images.
    MemoryBudgetError
        A chunk is too large for the memory given.
    """
    options = options or Options()
    root = storage_of(store, options.storage_options)
    if isinstance(root, Folder) and not os.path.isdir(root.name):  # noqa: PTH112
        raise ReadError(f"{root.name}: is no folder; give an OME-Zarr store")
    try:
        root.reach()
        return _verified(source, root, options, share, observe)
    except Unreachable as error:
        raise ReadError(str(error)) from error


def _verified(
    source: str | os.PathLike[str], root: Storage, options: Options, share: float, observe: Observe
) -> Verification:
    stored = images(root)
    with open_with(os.fspath(source), options) as opened:
        if opened.missing and options.on_error == "stop":
            raise ReadError(
                f"{source}: {'; '.join(opened.missing)}; use --on-error fill to compare all the same"
            )
        if options.images is not None and len(options.images) != len(stored):
            raise OptionError(
                f"--images gives {len(options.images)}, but {root.name} has {len(stored)}: give one for "
                "each, or leave --images out"
            )
        subjects = [_subject(root, item, opened, n, options) for n, item in enumerate(stored)]
        lost = _lost(root, stored, subjects)
        labels, unknown = _labels(root, stored, subjects, opened, options)
        verification = compare_images(
            [*subjects, *labels],
            os.fspath(source),
            root.name,
            share,
            observe,
            of_images=len(opened.images),
            lost=lost,
            missing=opened.missing,
        )
        return replace(verification, labels_not_compared=tuple(unknown))


def _lost(root: Storage, stored: Sequence[StoredImage], subjects: Sequence[Subject]) -> list[int]:
    """Return the images of the source that a store should have and has not; refuse one that it has twice."""
    parts = Counter((subject.source_image, subject.crop) for subject in subjects)
    (number, _), times = max(parts.items(), key=lambda item: item[1])
    if times > 1:
        folders = [subject.folder for subject in subjects if subject.source_image == number]
        raise VerificationError(
            f"{root.name}: image {number} of the source is in it {times} times, as {', '.join(folders[:10])}"
            ": another one may be lost; convert again"
        )
    chosen = {number for item in stored for number in item.chosen}
    return sorted(chosen - {subject.source_image for subject in subjects})


def _subject(root: Storage, stored: StoredImage, source: Source, number: int, options: Options) -> Subject:
    """Return an image of a store and what it is to be compared with."""
    in_source, image = _image(stored, source, number, options, at(root, stored.folder))
    return _subject_of(root, stored, in_source, image, source.images[in_source].pixels.shape, number, options)


def _labels(
    root: Storage, stored: Sequence[StoredImage], of: Sequence[Subject], source: Source, options: Options
) -> tuple[list[Subject], list[str]]:
    """Return the label images of the images of a store, and the groups of those whose source is not known."""
    found: list[Subject] = []
    unknown: list[str] = []
    for item, image in zip(stored, of, strict=True):
        sources = {label.name: label for label in source.images[image.source_image].labels}
        for name, label in labels_of(root, item).items():
            if name not in sources:
                unknown.append(label.folder)
                continue
            pixels = sources[name].pixels
            box = label.crop or (image.crop if label.kwargs is None else None) or whole_of(pixels.shape)
            own = overrides.apply(sources[name], Options(crop=tuple(zip(box.start, box.stop, strict=True))))
            place = len(of) + len(found)
            found.append(_subject_of(root, label, image.source_image, own, pixels.shape, place, options))
    return found, unknown


def _subject_of(
    root: Storage,
    stored: StoredImage,
    in_source: int,
    image: Image,
    source_shape: Shape,
    number: int,
    options: Options,
) -> Subject:
    """Return an image of a store, and that of the source, cropped, that it is to be compared with."""
    resources = machine.resources()
    workers, memory = options.workers or resources.workers, options.memory or resources.memory
    where = at(root, stored.folder)
    levels = tuple(
        StoredLevel(root, path, stored.version, stored.axes, workers, wary=True) for path in stored.paths
    )
    _check_levels(root, levels)
    method, factors, reason = _method(stored, levels, where)
    pixels = (image.pixels, *(level.pixels for level in image.native_levels))
    if levels[0].shape != image.pixels.shape:
        raise VerificationError(
            f"{at(root, levels[0].path)}: is of {_by(levels[0].shape)} voxels (t, c, z, y, x), the source's "
            f"image {in_source} of {_by(image.pixels.shape)}: is it the store of another source?"
        )
    sizes = [level.shape for level in levels]
    if method == NATIVE and sizes != [level.shape for level in pixels[: len(levels)]]:
        raise VerificationError(f"{where}: its levels are not of the sizes that the source's own have")
    request = Request(levels, factors, pixels, method == NATIVE, min(BOX_BYTES, memory // BLOCKS // workers))
    passes = request.passes()
    spare = memory - request.kept_bytes()
    largest = max(step.job_bytes for step in passes)
    if largest > spare:
        raise MemoryBudgetError(
            f"{where}: to compare it, {(memory - spare + largest) / 2**20:.0f} MiB are needed, but --memory "
            f"allows {memory / 2**20:.0f} MiB: give more memory"
        )
    return Subject(
        image=number,
        folder=stored.folder,
        source_image=in_source,
        crop=overrides.crop_of(image),
        levels=levels,
        pixels=pixels,
        passes=passes,
        method=method,
        ours=stored.kwargs is not None,
        not_compared=reason,
        fills=options.on_error == "fill",
        workers=max(1, min(workers, spare // largest)),
        source_shape=source_shape,
        copied=stored.copied,
    )


def _check_levels(root: Storage, levels: Sequence[StoredLevel]) -> None:
    """Refuse levels that are no numbers, of several types, or in another order than largest first."""
    for level in levels:
        if level.dtype.kind not in "biuf":
            raise VerificationError(
                f"{at(root, level.path)}: is of type {level.dtype.name}; only whole numbers and floats "
                "are known"
            )
        if level.dtype != levels[0].dtype:
            raise VerificationError(
                f"{at(root, level.path)}: its levels are of several types, {level.dtype.name} and "
                f"{levels[0].dtype.name}; convert again"
            )
    for above, level in pairwise(levels):
        if any(a < b for a, b in zip(above.shape, level.shape, strict=True)):
            raise VerificationError(
                f"{at(root, level.path)}: is larger than the level above it; convert again"
            )


def _image(
    stored: StoredImage, source: Source, number: int, options: Options, where: str
) -> tuple[int, Image]:
    """Return the image of the source that a stored one was made of, cropped as that is; and its number."""
    wished = number if options.images is None else options.images[number]
    if stored.number is not None and options.images is not None and wished != stored.number:
        raise OptionError(
            f"--images: {where} was made of image {stored.number}, not {wished}; leave --images out"
        )
    number = wished if stored.number is None else stored.number
    if not 0 <= number < len(source.images):
        raise VerificationError(
            f"{where}: was made of image {number}, but the source has {len(source.images)}: "
            "is it the store of another source?"
        )
    image = source.images[number]
    if stored.kwargs is None:
        return number, overrides.apply(image, Options(crop=options.crop))
    shape = image.pixels.shape
    box = stored.crop or whole_of(shape)
    if any(b > n for b, n in zip(box.stop, shape, strict=True)):
        raise VerificationError(
            f"{where}: crop {box} is not within image {number} of the source, {_by(shape)} (t, c, z, y, x): "
            "is it the store of another source?"
        )
    if any(span != (None, None) for span in options.crop):
        cropped = overrides.crop_of(overrides.apply(image, Options(crop=options.crop)))
        if (cropped or whole_of(shape)) != box:
            raise OptionError(
                f"{_flags(options)}: {where} was made of {box}, as it says; leave {_flags(options)} out"
            )
    return number, overrides.apply(image, Options(crop=tuple(zip(box.start, box.stop, strict=True))))


def whole_of(shape: Shape) -> Box:
    """Return all of an image as a box."""
    return Box((0,) * len(AXES), shape)


def _flags(options: Options) -> str:
    return ", ".join(
        f"--{axis}" for axis, span in zip(AXES, options.crop, strict=True) if span != (None, None)
    )


def _method(
    stored: StoredImage, levels: Sequence[StoredLevel], where: str
) -> tuple[str, tuple[Factor, ...], str]:
    """Return how lower levels were made, the factors of those to be compared, and why others are not."""
    one: Factor = (1,) * len(AXES)
    if stored.kwargs is None:
        return "", (one,), "how it was made is not known, because another program did"
    method, stated = stored.kwargs.get("method"), stored.kwargs.get("factors")
    if method == NATIVE:
        return method, (one,) * len(levels), ""
    try:
        factors = tuple(_five(factor, stored.axes) for factor in stated or ())
    except (TypeError, ValueError, OverflowError):
        factors = ()
    expected = [level_shape(levels[0].shape, factor) for factor in factors]
    whole = all(b % a == 0 for up, low in pairwise(factors) for a, b in zip(up, low, strict=True))
    if (
        not isinstance(method, str)
        or method not in METHODS
        or not whole
        or expected != [level.shape for level in levels]
    ):
        raise VerificationError(
            f"{where}: its levels are not of the sizes that its metadata state "
            f"(method {shown(method)}, factors {shown(stated)}); convert again"
        )
    return method, factors, ""


def _five(factor: Sequence[float], axes: str) -> Factor:
    stored = dict(zip(axes, factor, strict=True))
    five = tuple(stored.get(axis, 1) for axis in AXES)
    if any(not isinstance(n, int | float) or n < 1 or n != int(n) for n in five):  # int(inf) overflows
        raise ValueError(f"{factor} are not whole numbers of at least 1")
    return tuple(map(int, five))


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape))
