"""Convert with chunks that are encoded and written by hand, to hold tensorstore against.

Everything else is the program itself: reader, plan, regions, threads, metadata. OME-Zarr 0.5, no shards.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from ngff_convert import Options, convert, sink
from ngff_convert.machine import tune_process

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ngff_convert.model import Box
    from ngff_convert.write_plan import WritePlan

CHUNKS: dict[str, tuple[int, ...]] = {}
"""Of each level of each image, noted when its array is made."""


class Written:
    """Pixels that are stored already."""

    def finish(self) -> None:
        """Do nothing."""


def write(self: sink.Sink, level: int, box: Box, block: NDArray[Any], **_: bool) -> Written:
    """Encode a block chunk by chunk, in the caller's thread, and write each to its file."""
    chunks = CHUNKS[self.name(level)]
    stored = [axis for axis, name in enumerate("tczyx") if name in self.axes]
    for at in product(*(range(0, n, c) for n, c in zip(block.shape, chunks, strict=True))):
        part = block[tuple(slice(a, a + c) for a, c in zip(at, chunks, strict=True))]
        if not part.any():
            continue
        whole = np.zeros(chunks, block.dtype)
        if part.shape == chunks:
            whole = np.ascontiguousarray(part)
        else:
            whole[tuple(map(slice, part.shape))] = part
        encoded = imagecodecs.blosc_encode(
            whole,  # type: ignore[arg-type]  # any buffer will do
            level=5,
            compressor="lz4",
            shuffle="bitshuffle",
            typesize=block.dtype.itemsize,
            numthreads=1,
        )
        key = [(box.start[axis] + at[axis]) // chunks[axis] for axis in stored]
        path = Path(self.name(level), "c", *map(str, key))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    return Written()


def main(source: str, target: str) -> None:
    """Convert `source` to `target`."""
    create = sink.Sink.create

    def create_and_note(self: sink.Sink, plan: WritePlan) -> None:
        CHUNKS.update({self.name(number): level.chunks for number, level in enumerate(plan.levels)})
        create(self, plan)

    sink.Sink.create = create_and_note  # type: ignore[method-assign]
    sink.Sink.write = write  # type: ignore[method-assign, assignment]
    tune_process()
    convert(source, target, Options(shards="none"))


if __name__ == "__main__":
    main(*sys.argv[1:])
