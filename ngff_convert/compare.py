"""Holding the pixels of a store against those of its source, box by box and chunk by chunk.

A box of the source is read once, through the format's own library. Level 0 is compared with it; then it is
shrunk, and the next level is compared with that, and so on for all levels of a pass: as in a conversion, but
nothing is believed that was stored. So one wrong voxel of level 0 makes no other level wrong. A later pass
begins at a stored level that the earlier one has compared; where that differed, what it should be is put in,
or where there is no room for all of that, nothing is compared. Levels that cannot be compared are decoded.

Voxels are equal where their bits are; but where a value was computed (a mean, another type), any NaN is equal
to any other. Of stores that this program wrote, the part of last chunks beyond the edge has to be 0, unless
they were copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert import engine, fill
from ngff_convert.downsample import shrink
from ngff_convert.errors import OptionError, VerificationError
from ngff_convert.model import Box
from ngff_convert.readers.contract import LazyPixels
from ngff_convert.region import cast_exactly, checksum
from ngff_convert.storage import at, storage_of
from ngff_convert.stored import StoredLevel, within
from ngff_convert.tally import Part, ShouldBe, Tally
from ngff_convert.verification import Difference, ImageVerified, Observe, Progress, Verification

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import PixelArray, Shape
    from ngff_convert.storage import Storage
    from ngff_convert.verification import LevelVerified
    from ngff_convert.write_plan import Decided, Pass

SEED = 20_080_529
"""Chooses the boxes of a sample; any number would do, but the same one lets a sample be repeated."""


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """One image of a store, and what it is compared with.

    Attributes
    ----------
    image
        Its number in the store.
    folder
        Its group.
    source_image, crop
        What of the source it is.
    levels
        As stored, largest first.
    pixels
        The source's level 0, and where levels were copied its others.
    passes
        What is read once, and compared at which levels; regions are whole chunks at each of them. A pass that
        compares none only decodes the level it reads.
    method
        How the levels are made; ``"native"`` where they are the source's.
    ours
        Whether this program wrote the store.
    not_compared
        Why levels that no pass has are not compared.
    fills
        Whether what cannot be read of the source is 0 in the store.
    workers
        Boxes in work at once.
    source_shape
        Size of the source's image, all of it, (t, c, z, y, x), voxels; None where that is not known.
    copied
        Levels whose chunks are the source's own: what they hold beyond the edge is its business.
    """

    image: int
    folder: str
    source_image: int
    crop: Box | None
    levels: tuple[StoredLevel, ...]
    pixels: tuple[PixelArray, ...]
    passes: tuple[Pass, ...]
    method: str
    ours: bool
    not_compared: str
    fills: bool
    workers: int
    source_shape: Shape | None = None
    copied: frozenset[int] = frozenset()

    @property
    def compared(self) -> frozenset[int]:
        """Numbers of the levels that are compared."""
        return frozenset(number for step in self.passes for number in step.write_levels)


def verify_images(
    store: str | os.PathLike[str] | Storage,
    decided: Sequence[Decided],
    *,
    source: str,
    share: float = 1.0,
    workers: int | None = None,
    fills: bool = False,
    of_images: int | None = None,
    observe: Observe = lambda _: None,
) -> Verification:
    """Compare all images of a store that was just written, while their source is still open.

    Parameters
    ----------
    store
        Where it is, finished or not yet: its arrays are there.
    decided
        The images.
    source
        What the source is called.
    share
        Of the boxes of each level, how much is compared; 1 is all, and at least one box is.
    workers
        Boxes in work at once; None is what the plan says, which is also the most.
    fills
        Whether what could not be read of the source was to be 0.
    of_images
        How many images the source has; None where that does not matter.
    observe
        Is called after each box, in this thread.

    Raises
    ------
    VerificationError
        A level cannot be opened, or is not of the shape that was decided; pixels that differ are no error
        but in what is returned.
    ReadError
        The source cannot be read.
    """
    root = storage_of(store)
    subjects = [_written(root, n, item, workers, fills=fills) for n, item in enumerate(decided)]
    return compare_images(subjects, source, root.name, share, observe, of_images=of_images)


def _written(root: Storage, number: int, item: Decided, workers: int | None, *, fills: bool) -> Subject:
    """Return an image that was just written and what it is compared with."""
    plan = item.plan
    at_once = min(plan.workers, workers or plan.workers)
    prefix = f"{item.folder}/" if item.folder else ""
    levels = tuple(
        StoredLevel(root, f"{prefix}{k}", plan.ngff_version, plan.axes, at_once)
        for k in range(len(plan.levels))
    )
    for level, planned in zip(levels, plan.levels, strict=True):
        if (level.shape, level.dtype.name) != (planned.shape, plan.dtype):
            raise VerificationError(
                f"{at(root, level.path)}: is {level.dtype.name} {level.shape}, "
                f"not {plan.dtype} {planned.shape}"
            )
    return Subject(
        image=number,
        folder=item.folder,
        source_image=item.number,
        crop=item.crop,
        levels=levels,
        pixels=(item.image.pixels, *(lower.pixels for lower in item.image.native_levels)),
        passes=plan.passes,
        method=plan.method,
        ours=True,
        not_compared="",
        fills=fills,
        workers=at_once,
        source_shape=item.image.pixels.shape if item.crop is None else None,
        copied=frozenset(k for k, level in enumerate(plan.levels) if level.copied),
    )


def compare_images(
    subjects: Sequence[Subject],
    source: str,
    store: str,
    share: float,
    observe: Observe,
    *,
    of_images: int | None = None,
    lost: Sequence[int] = (),
    missing: Sequence[str] = (),
) -> Verification:
    """Compare images one after another.

    Parameters, errors and what is returned are those of `verify_images`; `lost` are images of the source that
    should be in the store and are not, and `missing` is what the source itself lacks.
    """
    if not 0 < share <= 1:
        raise OptionError(f"a share is above 0 and at most 1 (or 100 %), not {share:g}")
    images = tuple(_compare_image(subject, len(subjects), share, observe) for subject in subjects)
    return Verification(source, store, share, SEED, images, of_images, tuple(lost), tuple(missing))


def chosen(count: int, share: float, random: Random) -> list[int]:
    """Choose some of `count` boxes, spread evenly over their order, which is t, c, z, y, x; at least one.

    Examples
    --------
    >>> [n // 10 for n in chosen(50, 0.1, Random(1))]
    [0, 1, 2, 3, 4]
    """
    wanted = min(count, max(1, ceil(share * count)))
    edges = [n * count // wanted for n in range(wanted + 1)]
    return [random.randrange(a, b) for a, b in pairwise(edges)]


def _compare_image(subject: Subject, n_images: int, share: float, observe: Observe) -> ImageVerified:
    random = Random(SEED)
    boxes = [chosen(step.n_regions, share, random) for step in subject.passes]
    sizes = [prod(step.region) for step in subject.passes]
    total = sum(len(numbers) * size for numbers, size in zip(boxes, sizes, strict=True))
    compared = subject.compared
    tallies = [Tally(level, checked=share >= 1 and k in compared) for k, level in enumerate(subject.levels)]
    should_be = ShouldBe()
    filled: list[str] = []
    done = 0
    for step, numbers, size in zip(subject.passes, boxes, sizes, strict=True):
        task = _Task(subject, step, should_be)
        for parts in engine.run(task, numbers, subject.workers):
            for part in parts:
                tallies[part.level].add(part)
                filled += part.filled
            done += size
            observe(Progress(subject.image, n_images, done, total, subject.folder))
    crop = subject.crop
    return ImageVerified(
        image=subject.image,
        folder=subject.folder,
        source_image=subject.source_image,
        crop=None if crop is None else tuple(zip(crop.start, crop.stop, strict=True)),
        source_shape=subject.source_shape,
        library=subject.pixels[0].library,
        shared=subject.pixels[0].shared if subject.pixels[0].library else "",
        levels=tuple(_result(subject, k, tally) for k, tally in enumerate(tallies)),
        filled=tuple(filled),
    )


def _result(subject: Subject, number: int, tally: Tally) -> LevelVerified:
    if number not in subject.compared:
        return tally.result(number, "", subject.not_compared, None)
    crcs = tally.checksums()
    return tally.result(number, _compared_with(subject, number), "", None if crcs is None else checksum(crcs))


def _compared_with(subject: Subject, number: int) -> str:
    if number and subject.method != "native":
        return f"level {number - 1} by {subject.method}"
    library = subject.pixels[number].library
    what = f"the source's level {number}" if number else "the source"
    return f"{what} through {library}" if library else f"{what} as conversions read it"


@dataclass(frozen=True, slots=True)
class _Task:
    """What all boxes of a pass share."""

    subject: Subject
    step: Pass
    should_be: ShouldBe

    def __call__(self, index: int) -> list[Part]:
        """Compare box number `index` at every level of the pass."""
        step, subject = self.step, self.subject
        box = step.box(index)
        if not step.write_levels:
            return [self._decode(box)]
        parts: list[Part] = []
        filled: tuple[str, ...] = ()
        if step.native:
            block, filled = self._source(box)
        else:
            block, parts = self._stored(box)
            if parts:
                return parts
        done: tuple[int, ...] = (1,) * len(box.start)
        for level, factor in zip(step.write_levels, step.factors, strict=True):
            ratio = tuple(f // d for f, d in zip(factor, done, strict=True))
            if max(ratio) > 1:
                block = shrink(block, ratio, subject.method)
            done = factor
            parts.append(self._compare(level, step.box_at(box, factor), block))
        parts[0].filled = filled
        return parts

    def _source(self, box: Box) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Return what a box of the source should be in the store, and what of it cannot be read."""
        pixels = self.subject.pixels[self.step.read_level]
        dtype = self.subject.levels[0].dtype
        if self.subject.fills:
            block, filled = fill.read(_OtherWay(pixels), box)
        else:
            block, filled = pixels.read_by_library(box), ()
        try:
            return cast_exactly(block, dtype, box), filled
        except OptionError as error:
            raise VerificationError(
                f"{self.subject.levels[0].path}: cannot hold the values that the source has: it is of type "
                f"{dtype.name}, but not all values at {box} are; is it the store of another source?"
            ) from error

    def _stored(self, box: Box) -> tuple[NDArray[Any], list[Part]]:
        """Return a box of an earlier level as it should be; or, if that is unknown, what is not compared."""
        number = self.step.read_level
        level = self.subject.levels[number]
        block, reasons = level.read_what_can_be(box)
        unknown = False
        for cell, right in self.should_be.within(level, number, box).items():
            reasons.pop(cell, None)  # it is noted already
            if right is None:
                unknown = True
                continue
            own = level.box_of(cell)
            both = Box(tuple(map(max, own.start, box.start)), tuple(map(min, own.stop, box.stop)))
            block[within(both, box)] = right[within(both, own)]
        if not unknown and not reasons:
            return block, []
        part = Part(number)  # of a sample, these were not among the boxes of that level
        for cell, reason in reasons.items():
            part.note(Difference(self.subject.image, number, cell, None, None, None, 0, reason))
        skipped = [
            Part(k, skipped=sum(1 for _ in self.subject.levels[k].cells(self.step.box_at(box, factor))))
            for k, factor in zip(self.step.write_levels, self.step.factors, strict=True)
        ]
        return block, [part, *skipped]

    def _decode(self, box: Box) -> Part:
        """Decode a box of a level, whole chunks, that cannot be compared."""
        number = self.step.read_level
        level = self.subject.levels[number]
        _, reasons = level.read_what_can_be(box)
        part = Part(number, decoded=sum(1 for _ in level.cells(box)) - len(reasons))
        for cell, reason in reasons.items():
            part.note(Difference(self.subject.image, number, cell, None, None, None, 0, reason))
        return part

    def _compare(self, number: int, box: Box, expected: NDArray[Any]) -> Part:
        """Compare a box of a stored level, whole chunks, with what it should be."""
        subject, level = self.subject, self.subject.levels[number]
        ours = subject.ours and number not in subject.copied
        whole = level.whole_chunks(box) if ours else box
        found, reasons = level.read_what_can_be(whole)
        part = Part(number)
        casts = subject.pixels[0].dtype != level.dtype
        any_nan = casts or (number > 0 and subject.method != "native")
        for cell in level.cells(box):
            own = level.box_of(cell)
            right = expected[within(own, box)]
            stored = found[within(level.whole_chunks(own) if ours else own, whole)]
            part.numbers.append(int(np.ravel_multi_index(cell, level.grid)))
            part.voxels += right.size
            difference = None
            if cell in reasons:
                part.undecodable += 1
                part.crcs.append(0)
                difference = Difference(subject.image, number, cell, None, None, None, 0, reasons[cell])
            else:
                part.crcs.append(checksum(stored[tuple(map(slice, right.shape))]))
                wrong = _wrong(stored, right, any_nan=any_nan)
                if wrong is not None:
                    difference = self._difference(number, cell, wrong, stored, right)
            if difference is not None:
                part.note(difference)
                self.should_be.keep(number, cell, right)
        return part

    def _difference(
        self,
        number: int,
        cell: Shape,
        wrong: NDArray[np.bool_],
        found: NDArray[Any],
        expected: NDArray[Any],
    ) -> Difference:
        level = self.subject.levels[number]
        at = tuple(int(n) for n in np.argwhere(wrong)[0])
        inside = all(a < n for a, n in zip(at, expected.shape, strict=True))
        reason = "" if inside else "beyond the level's edge"
        if not found.any() and (path := level.missing(cell)):
            reason = f"{path} is not there"
        return Difference(
            image=self.subject.image,
            level=number,
            chunk=cell,
            index=tuple(a + n * c for a, n, c in zip(at, cell, level.chunks, strict=True)),
            expected=expected[at].item() if inside else found.dtype.type(0).item(),
            found=found[at].item(),
            count=int(wrong.sum()),
            reason=reason,
        )


class _OtherWay(LazyPixels):
    """Pixels that are read by their library."""

    def __init__(self, base: PixelArray) -> None:
        self.base = base
        self.shape, self.dtype, self.chunks = base.shape, base.dtype, base.chunks
        self.offset, self.compression = base.offset, base.compression

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box the other way."""
        return self.base.read_by_library(box)


def _wrong(found: NDArray[Any], expected: NDArray[Any], *, any_nan: bool) -> NDArray[np.bool_] | None:
    """Return where a chunk is not what it should be, beyond the edge 0; None where all is right."""
    bits = f"u{found.dtype.itemsize}"
    if found.shape != expected.shape:
        whole = np.zeros(found.shape, found.dtype)
        whole[tuple(map(slice, expected.shape))] = expected
        expected = whole
    wrong: NDArray[np.bool_] = found.view(bits) != expected.view(bits)
    if not wrong.any():
        return None
    if any_nan and found.dtype.kind == "f":
        wrong &= ~(np.isnan(found) & np.isnan(expected))
    return wrong if wrong.any() else None
