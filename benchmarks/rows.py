"""What the benchmark runs: every command line of it, but the peers', in one place; and what came of one."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measure import Run
    from outputs import Output


class Place(Enum):
    """Where a command's output goes."""

    NOWHERE = "nowhere"
    RAM = "ram"
    DISK = "disk"


@dataclass(frozen=True)
class Row:
    """One line of the table: a command with {python}, {product}, {here}, {input}, {big}, {output} to fill."""

    key: str
    title: str
    command: tuple[str, ...]
    place: Place = Place.RAM
    input: str = "input"
    """Which image it converts: `input`, `big`, or none where it converts nothing."""
    once: bool = False
    """Run in the first round only."""
    environment: tuple[tuple[str, str], ...] = ()


BIGGER = 4
"""How many times larger the image of the memory row is."""
PRODUCT = ("{product}", "{input}", "{output}")
COMMON_ROWS = (
    Row("roof", "one thread by hand (the roof)", ("{python}", "{here}/roof.py", "{input}", "{output}")),
    Row("v05", "ngff-convert", PRODUCT),
)
"""What is measured beside the peers, whatever the input."""
IMARIS_ROWS = (
    *COMMON_ROWS,
    Row("v04", "ngff-convert --ngff-version 0.4", (*PRODUCT, "--ngff-version", "0.4")),
    Row("sharded", "ngff-convert --shards 16,1024,1024", (*PRODUCT, "--shards", "16,1024,1024")),
    Row(
        "byhand",
        "the same, chunks encoded by hand",
        ("{python}", "{here}/encode_by_hand.py", "{input}", "{output}"),
    ),
    Row("disk", "ngff-convert, to disk, once", PRODUCT, Place.DISK, once=True),
    Row("big", f"ngff-convert, image {BIGGER} times as large, once", PRODUCT, input="big", once=True),
    Row("help", "ngff-convert --help", ("{product}", "--help"), Place.NOWHERE, ""),
    Row("inspect", "ngff-convert inspect", ("{product}", "inspect", "{input}"), Place.NOWHERE, ""),
    Row("plan", "plan of a simulated 100 TB image", ("{python}", "{here}/plan_100tb.py"), Place.NOWHERE, ""),
)
"""What is measured with Imaris files. `{input}` stands for the larger image in rows that convert that."""


@dataclass
class Result:
    """Everything measured for one row."""

    row: Row
    runs: list[Run] = field(default_factory=list)
    output: Output | None = None
    failure: str = ""
    """Why there are no figures; empty where there are."""

    def values(self, name: str) -> list[float]:
        """Return one measured quantity of every run."""
        return [float(getattr(run, name)) for run in self.runs]

    def median(self, name: str) -> float | None:
        """Return the median of a quantity, or None if the row failed."""
        return None if self.failure or not self.runs else statistics.median(self.values(name))
