"""A finished store against its source, both opened anew; the store's own metadata say what it was made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from math import lcm, prod
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert import machine, overrides
from ngff_convert.compare import Subject, compare_images
from ngff_convert.convert import open_with
from ngff_convert.downsample import METHODS
from ngff_convert.errors import VerificationError
from ngff_convert.model import AXES, Pass
from ngff_convert.options import Options
from ngff_convert.pyramid import level_shape
from ngff_convert.stored import StoredLevel, images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Factor, Image, PixelArray, Shape
    from ngff_convert.readers.contract import Source
    from ngff_convert.stored import StoredImage
    from ngff_convert.verification import Observe, Verification

BOX_BYTES = 16 * 2**20
"""A box is this large at the most; only large chunks make it larger."""

SMALLEST_BOX_BYTES = 4 * 2**20
BOXES = 64
"""Boxes are not grown beyond what makes so many of an image, or beyond the smallest of them."""

SPARE_BYTES = 16 * 2**20
"""What one box in work takes besides pixels: buffers of files, and of shrinking."""

BLOCKS = 4
"""So many times a box is in memory: as read, as shrunk, as stored, and as it was decoded."""

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
    program made are not compared, because how is not known.

    Parameters
    ----------
    source
        The input of the conversion.
    store
        The folder of the store: OME-NGFF 0.4 or 0.5.
    options
        How the input is read, if not by default: `reader`, `axes`, `shape`, `files_from`, `on_error`; how
        many boxes are in work at once, and in what memory: `workers`, `memory`. Of a store that another
        program made also which `images` of the input are in it, and the `crop`.
    share
        Of the boxes of each level, how much is compared; 1 is all. At least one box is.
    observe
        Is called after each box, in this thread.

    Returns
    -------
    Verification
        What was compared, and every difference; none is an error here.

    Raises
    ------
    ReadError, UnsupportedInput
        The source cannot be read.
    VerificationError
        The store cannot be read, or is not of this source: other images, shapes or types of pixels.
    """
    options = options or Options()
    root = Path(store)
    stored = images(root)
    with open_with(os.fspath(source), options) as opened:
        subjects = [_subject(root, item, opened, n, options) for n, item in enumerate(stored)]
        return compare_images(subjects, os.fspath(source), str(root), share, observe)


def _subject(root: Path, stored: StoredImage, source: Source, number: int, options: Options) -> Subject:
    """Return an image of a store and what it is to be compared with."""
    resources = machine.resources()
    workers, memory = options.workers or resources.workers, options.memory or resources.memory
    where = root / stored.folder
    in_source, image = _image(stored, source, number, options, where)
    levels = tuple(StoredLevel(root, path, stored.version, stored.axes, workers) for path in stored.paths)
    method, factors, reason = _method(stored, levels, where)
    pixels = (image.pixels, *(level.pixels for level in image.native_levels))
    if levels[0].shape != image.pixels.shape:
        raise VerificationError(
            f"{root / levels[0].path}: is of {_by(levels[0].shape)} voxels (t, c, z, y, x), the source's "
            f"image {in_source} of {_by(image.pixels.shape)}: is it the store of another source?"
        )
    if method == NATIVE:
        if [level.shape for level in levels] != [level.shape for level in pixels[: len(levels)]]:
            raise VerificationError(f"{where}: its levels are not of the sizes that the source's own have")
    elif any(level.dtype != levels[0].dtype for level in levels):
        raise VerificationError(f"{where}: its levels are of several types; convert again")
    request = Request(levels, factors, pixels, method == NATIVE, min(BOX_BYTES, memory // BLOCKS // workers))
    passes = request.passes()
    return Subject(
        image=number,
        folder=stored.folder,
        source_image=in_source,
        crop=stored.crop,
        levels=levels,
        pixels=pixels,
        passes=passes,
        method=method,
        ours=stored.kwargs is not None,
        not_compared=reason,
        fills=options.on_error == "fill",
        workers=max(1, min(workers, memory // max(step.job_bytes for step in passes))),
    )


def _image(
    stored: StoredImage, source: Source, number: int, options: Options, where: Path
) -> tuple[int, Image]:
    """Return the image of the source that a stored one was made of, cropped as that is; and its number."""
    if stored.number is not None:
        number = stored.number
    elif options.images is not None and number < len(options.images):
        number = options.images[number]
    if not 0 <= number < len(source.images):
        raise VerificationError(
            f"{where}: was made of image {number}, but the source has {len(source.images)}: "
            "is it the store of another source?"
        )
    image = source.images[number]
    crop = options.crop
    if stored.kwargs is not None:
        box = stored.crop
        crop = ((None, None),) * len(AXES) if box is None else tuple(zip(box.start, box.stop, strict=True))
    return number, overrides.apply(image, Options(crop=crop))


def _method(
    stored: StoredImage, levels: Sequence[StoredLevel], where: Path
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
    except (TypeError, ValueError):
        factors = ()
    expected = [level_shape(levels[0].shape, factor) for factor in factors]
    whole = all(b % a == 0 for up, low in pairwise(factors) for a, b in zip(up, low, strict=True))
    if method not in METHODS or not whole or expected != [level.shape for level in levels]:
        raise VerificationError(
            f"{where}: its levels are not of the sizes that its metadata state "
            f"(method {method!r}, factors {stated!r}); convert again"
        )
    return method, factors, ""


def _five(factor: Sequence[float], axes: str) -> Factor:
    stored = dict(zip(axes, factor, strict=True))
    five = tuple(stored.get(axis, 1) for axis in AXES)
    if any(not isinstance(n, int | float) or n < 1 or n != int(n) for n in five):
        raise ValueError(f"{factor} are not whole numbers of at least 1")
    return tuple(map(int, five))


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape))


@dataclass(frozen=True, slots=True)
class Request:
    """What boxes are made for.

    Attributes
    ----------
    levels
        Largest first.
    factors
        Of those that are compared.
    pixels
        Levels of the source.
    native
        Whether each level is compared with the source's own.
    box_bytes
        The largest box, unless chunks are larger.
    """

    levels: tuple[StoredLevel, ...]
    factors: tuple[Factor, ...]
    pixels: tuple[PixelArray, ...]
    native: bool
    box_bytes: int

    def passes(self) -> tuple[Pass, ...]:
        """Return what is read once each, with as many levels at once as a box has room for."""
        if self.native:
            return tuple(self._step(True, k, (k,)) for k in range(len(self.factors)))
        passes: list[Pass] = []
        first, end = 0, len(self.factors)
        while first < end:
            native, read = first == 0, max(0, first - 1)
            for last in range(end - 1, first - 1, -1):
                written = tuple(range(first, last + 1))
                if last == first or self._bytes(self._smallest(read, written)) <= self.box_bytes:
                    break
            passes.append(self._step(native, read, written))
            first = last + 1
        return tuple(passes)

    def _bytes(self, region: Shape) -> int:
        return prod(region) * self.levels[0].dtype.itemsize

    def _ratios(self, read: int, written: Sequence[int]) -> tuple[Factor, ...]:
        base = self.factors[read]
        return tuple(tuple(f // b for f, b in zip(self.factors[k], base, strict=True)) for k in written)

    def _smallest(self, read: int, written: Sequence[int]) -> Shape:
        """Return the smallest region that is whole chunks at every level."""
        sides = [
            [chunk * f for chunk, f in zip(self.levels[k].chunks, ratio, strict=True)]
            for k, ratio in zip(written, self._ratios(read, written), strict=True)
        ]
        along = zip(self.levels[read].shape, *sides, strict=True)
        return tuple(min(n, lcm(*chunks)) for n, *chunks in along)

    def _step(self, native: bool, read: int, written: tuple[int, ...]) -> Pass:
        shape = self.levels[read].shape
        region = list(self._smallest(read, written))
        source = self.pixels[read].chunks if native else self.levels[read].chunks

        def grow(axis: int, size: int, limit: int) -> bool:
            larger = [
                min(size, n) if a == axis else r for a, (r, n) in enumerate(zip(region, shape, strict=True))
            ]
            if larger == region or self._bytes(tuple(larger)) > limit:
                return False
            region[:] = larger
            return True

        for axis in reversed(range(len(AXES))):
            grow(axis, lcm(region[axis], source[axis]), self.box_bytes)
        wanted = min(self.box_bytes, max(SMALLEST_BOX_BYTES, self._bytes(shape) // BOXES))
        for axis in reversed(range(len(AXES))):
            while grow(axis, 2 * region[axis], wanted):
                pass
        job_bytes = BLOCKS * self._bytes(tuple(region)) + SPARE_BYTES
        if native:
            job_bytes += 3 * prod(source) * self.pixels[read].dtype.itemsize
        return Pass(
            native=native,
            read_level=read,
            shape=shape,
            write_levels=written,
            factors=self._ratios(read, written),
            region=tuple(region),
            job_bytes=job_bytes,
            decoded_twice=0.0,
        )
