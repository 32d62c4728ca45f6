"""Holding the pixels of a store against those of its source, box by box and chunk by chunk.

A box of the source is read once, through the format's own library. Level 0 is compared with it; then it is
shrunk, and the next level is compared with that, and so on for all levels of a pass: as in a conversion, but
nothing is believed that was stored. So one wrong voxel of level 0 makes no other level wrong. A later pass
begins at a stored level that the earlier one has compared; where that differed, what it should be is put in.

Voxels are equal where their bits are; but where a value was computed (a mean, another type), any NaN is equal
to any other. Of stores that this program wrote, the part of the last chunks beyond the edge has to be 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
from ngff_convert.stored import StoredLevel, within
from ngff_convert.verification import (
    MAX_DIFFERENCES,
    Difference,
    ImageVerified,
    LevelVerified,
    Observe,
    Progress,
    Verification,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ngff_convert.model import Decided, Pass, PixelArray, Shape

SEED = 20_080_529
"""Chooses the boxes of a sample; any number would do, but the same one lets a sample be repeated."""

KEPT_BYTES = 64 * 2**20
"""So much of what wrong chunks should be is kept for the passes that begin at them."""


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
        What is read once, and compared at which levels; regions are whole chunks at each of them.
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


def verify_images(
    folder: Path,
    decided: Sequence[Decided],
    *,
    source: str,
    share: float = 1.0,
    workers: int | None = None,
    fills: bool = False,
    observe: Observe = lambda _: None,
) -> Verification:
    """Compare all images of a store that was just written, while their source is still open.

    Parameters
    ----------
    folder
        The store, finished or not yet: its arrays are there.
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
    subjects = []
    for number, item in enumerate(decided):
        at_once = min(item.plan.workers, workers or item.plan.workers)
        prefix = f"{item.folder}/" if item.folder else ""
        levels = tuple(
            StoredLevel(folder, f"{prefix}{k}", item.plan.ngff_version, item.plan.axes, at_once)
            for k in range(len(item.plan.levels))
        )
        for level, planned in zip(levels, item.plan.levels, strict=True):
            if (level.shape, level.dtype.name) != (planned.shape, item.plan.dtype):
                raise VerificationError(
                    f"{folder / level.path}: is {level.dtype.name} {level.shape}, "
                    f"not {item.plan.dtype} {planned.shape}"
                )
        native = tuple(lower.pixels for lower in item.image.native_levels)
        subjects.append(
            Subject(
                image=number,
                folder=item.folder,
                source_image=item.number,
                crop=item.crop,
                levels=levels,
                pixels=(item.image.pixels, *native),
                passes=item.plan.passes,
                method=item.plan.method,
                ours=True,
                not_compared="",
                fills=fills,
                workers=at_once,
            )
        )
    return compare_images(subjects, source, str(folder), share, observe)


def compare_images(
    subjects: Sequence[Subject], source: str, store: str, share: float, observe: Observe
) -> Verification:
    """Compare images one after another; parameters and errors are those of `verify_images`."""
    if not 0 < share <= 1:
        raise OptionError(f"a share is above 0 and at most 1 (or 100 %), not {share:g}")
    images = tuple(_compare_image(subject, len(subjects), share, observe) for subject in subjects)
    return Verification(source, store, share, SEED, images)


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
    tallies = [_Tally(level, share >= 1) for level in subject.levels]
    should_be = _ShouldBe()
    done = 0
    for step, numbers, size in zip(subject.passes, boxes, sizes, strict=True):
        task = _Task(subject, step, should_be)
        for parts in engine.run(task, numbers, subject.workers):
            for part in parts:
                tallies[part.level].add(part)
            done += size
            observe(Progress(subject.image, n_images, done, total))
    crop = subject.crop
    return ImageVerified(
        image=subject.image,
        folder=subject.folder,
        source_image=subject.source_image,
        crop=None if crop is None else tuple(zip(crop.start, crop.stop, strict=True)),
        library=subject.pixels[0].library,
        levels=tuple(tally.result(subject, k) for k, tally in enumerate(tallies)),
    )


@dataclass(slots=True)
class _Part:
    """What one box of one level is."""

    level: int
    numbers: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    voxels: int = 0
    undecodable: int = 0
    differing: list[Shape] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def note(self, difference: Difference) -> None:
        self.differing.append(difference.chunk)
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(difference)


class _Tally:
    """What is known of one level so far."""

    def __init__(self, level: StoredLevel, whole: bool) -> None:
        self.level = level
        self.chunks = self.voxels = self.undecodable = 0
        self.differing: set[Shape] = set()
        self.crcs = np.zeros(prod(level.grid), "<u4") if whole else None
        self.differences: list[Difference] = []

    def add(self, part: _Part) -> None:
        self.chunks += len(part.numbers)
        self.voxels += part.voxels
        self.undecodable += part.undecodable
        new = [difference for difference in part.differences if difference.chunk not in self.differing]
        self.differing.update(part.differing)
        if self.crcs is not None:
            self.crcs[part.numbers] = part.crcs
        if new:
            merged = sorted([*self.differences, *new], key=lambda difference: difference.chunk)
            self.differences = merged[:MAX_DIFFERENCES]

    def result(self, subject: Subject, number: int) -> LevelVerified:
        of_chunks = prod(self.level.grid)
        compared = any(number in step.write_levels for step in subject.passes)
        complete = self.crcs is not None and self.chunks == of_chunks and not self.undecodable
        return LevelVerified(
            level=number,
            path=self.level.path,
            compared_with=_compared_with(subject, number) if compared else "",
            not_compared="" if compared else subject.not_compared,
            chunks=self.chunks,
            of_chunks=of_chunks,
            voxels=self.voxels,
            crc32=checksum(self.crcs) if complete and self.crcs is not None else None,
            differing=len(self.differing),
            differences=tuple(self.differences),
        )


def _compared_with(subject: Subject, number: int) -> str:
    if number and subject.method != "native":
        return f"level {number - 1} by {subject.method}"
    library = subject.pixels[number].library
    what = f"the source's level {number}" if number else "the source"
    return f"{what} through {library}" if library else f"{what} by the reader's own code"


class _ShouldBe:
    """What wrong chunks of levels should be, as far as there is room for it."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[int, Shape], NDArray[Any]] = {}
        self._bytes = 0

    def keep(self, level: int, cell: Shape, block: NDArray[Any]) -> None:
        if self._bytes + block.nbytes <= KEPT_BYTES:
            self._bytes += block.nbytes
            self._chunks[level, cell] = block.copy()

    def get(self, level: int, cell: Shape) -> NDArray[Any] | None:
        return self._chunks.get((level, cell))

    def cells(self, level: int) -> list[Shape]:
        return [cell for of_level, cell in self._chunks if of_level == level]


@dataclass(frozen=True, slots=True)
class _Task:
    """What all boxes of a pass share."""

    subject: Subject
    step: Pass
    should_be: _ShouldBe

    def __call__(self, index: int) -> list[_Part]:
        """Compare box number `index` at every level of the pass."""
        step, subject = self.step, self.subject
        box = step.box(index)
        parts: list[_Part] = []
        if step.native:
            block = self._source(box)
        else:
            block, parts = self._stored(box)
            if parts:  # what the levels below are made of is not known
                return parts
        done: tuple[int, ...] = (1,) * len(box.start)
        for level, factor in zip(step.write_levels, step.factors, strict=True):
            ratio = tuple(f // d for f, d in zip(factor, done, strict=True))
            if max(ratio) > 1:
                block = shrink(block, ratio, subject.method)
            done = factor
            parts.append(self._compare(level, step.box_at(box, factor), block))
        return parts

    def _source(self, box: Box) -> NDArray[Any]:
        pixels = self.subject.pixels[self.step.read_level]
        dtype = self.subject.levels[0].dtype
        if self.subject.fills:
            block, _ = fill.read(_OtherWay(pixels), box)
        else:
            block = pixels.read_by_library(box)
        try:
            return cast_exactly(block, dtype, box)
        except OptionError as error:
            raise VerificationError(
                f"{self.subject.levels[0].path}: cannot hold the values that the source has: {error}"
            ) from error

    def _stored(self, box: Box) -> tuple[NDArray[Any], list[_Part]]:
        """Return a box of an earlier level as it should be; or what cannot be read of it."""
        number = self.step.read_level
        level = self.subject.levels[number]
        block, reasons = level.read_what_can_be(box)
        part = _Part(number)
        for cell in self.should_be.cells(number):
            own = level.box_of(cell)
            low = tuple(map(max, own.start, box.start))
            high = tuple(map(min, own.stop, box.stop))
            right = self.should_be.get(number, cell)
            if right is not None and all(a < b for a, b in zip(low, high, strict=True)):
                block[within(Box(low, high), box)] = right[within(Box(low, high), own)]
                reasons.pop(cell, None)
        for cell, reason in reasons.items():
            # Where all is compared, it is noted already; there was no room for what it should be.
            part.note(Difference(self.subject.image, number, cell, None, None, None, 0, reason))
        return block, [part] if reasons else []

    def _compare(self, number: int, box: Box, expected: NDArray[Any]) -> _Part:
        """Compare a box of a stored level, whole chunks, with what it should be."""
        subject, level = self.subject, self.subject.levels[number]
        whole = level.whole_chunks(box) if subject.ours else box
        found, reasons = level.read_what_can_be(whole)
        part = _Part(number)
        casts = subject.pixels[0].dtype != level.dtype
        any_nan = casts or (number > 0 and subject.method != "native")
        for cell in level.cells(box):
            own = level.box_of(cell)
            right = expected[within(own, box)]
            stored = found[within(level.whole_chunks(own) if subject.ours else own, whole)]
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
        self.offset, self.compression, self.library = base.offset, base.compression, base.library

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
