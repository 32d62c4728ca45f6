"""What happens during a conversion, as records that an observer is handed one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ngff_convert.model import Report, WritePlan


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know although the conversion goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class ImageStarted:
    """Pixels of one image are about to be read.

    Attributes
    ----------
    index, count
        Which image of how many, from 0.
    name
        Its name.
    plan
        Everything decided about it.
    """

    index: int
    count: int
    name: str
    plan: WritePlan


@dataclass(frozen=True, slots=True)
class RegionDone:
    """One region is written at every level of its pass.

    Attributes
    ----------
    levels
        First and last level of the pass.
    read_bytes, written_bytes
        Uncompressed bytes that were read, and written at all levels.
    """

    levels: tuple[int, int]
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The output has its final name."""

    report: Report


Event: TypeAlias = Note | ImageStarted | RegionDone | Finished
Observer: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Observe nothing."""
