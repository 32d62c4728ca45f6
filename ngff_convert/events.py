"""What happens during a conversion, as records that an observer is handed one by one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ngff_convert.verification import Progress, Verification
    from ngff_convert.write_plan import Decided, Report, WritePlan


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know although the conversion goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class ImageStarted:
    """Pixels of one image are about to be read; said of all images before the first `RegionDone`.

    Attributes
    ----------
    index, count
        Which image of how many, from 0. Label images are counted too, and come after all others.
    name
        Its name.
    folder
        Where its group is in the store: ``""`` is the root.
    plan
        Everything decided about it.
    total_bytes
        What is to be read, by all its passes; or by a part of the work.
    finished_bytes
        Of these, what an earlier run has done already.
    label_of
        The group of the image that it is a label image of; None where it is no label image.
    n_labels
        How many of `count` are label images.
    """

    index: int
    count: int
    name: str
    folder: str
    plan: WritePlan
    total_bytes: int
    finished_bytes: int
    label_of: str | None = None
    n_labels: int = 0

    @classmethod
    def of(
        cls, decided: Sequence[Decided], index: int, total_bytes: int, finished_bytes: int
    ) -> ImageStarted:
        """Return that of one of the images of a conversion, in their order: label images come last."""
        item, count = decided[index], len(decided)
        n_labels = count - bisect_left(decided, True, key=lambda other: other.label_of is not None)
        name, plan = item.image.name, item.plan
        return cls(
            index, count, name, item.folder, plan, total_bytes, finished_bytes, item.label_of, n_labels
        )


@dataclass(frozen=True, slots=True)
class RegionDone:
    """One region is written at every level of its pass.

    Attributes
    ----------
    image, step, region
        Numbers of the image, of the pass, and of the region in it, from 0.
    levels
        First and last level of the pass.
    read_bytes, written_bytes
        Uncompressed bytes that were read, and written at all levels.
    crc32
        CRC-32 of the pixels written, in C order and little-endian, level after level.
    filled
        What of the source could not be read and was filled, one line each.
    values
        Of level 0 of a label image, the values that are there, ascending; None where they are too many.
    """

    image: int
    step: int
    region: int
    levels: tuple[int, int]
    read_bytes: int
    written_bytes: int
    crc32: int = 0
    filled: tuple[str, ...] = ()
    values: tuple[int, ...] | None = ()


@dataclass(frozen=True, slots=True)
class LevelDone:
    """All pixels of one level are written.

    Attributes
    ----------
    image, level
        Their numbers, from 0.
    path
        Where the level is in the store.
    """

    image: int
    level: int
    path: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The pixels were held against the source; the output has its final name only if nothing differs."""

    verification: Verification


@dataclass(frozen=True, slots=True)
class Finished:
    """The output has its final name."""

    report: Report


Event: TypeAlias = "Note | ImageStarted | RegionDone | LevelDone | Progress | Verified | Finished"
Observer: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Observe nothing."""
