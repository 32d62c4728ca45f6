"""What a verification found, as records, in words and as JSON-ready data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.model import Shape

MAX_DIFFERENCES = 1000
"""Differing chunks that are kept of each level; the others are only counted."""

MAX_SHOWN = 10
"""Differing chunks of each level that are shown to people."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a verification is, after each box.

    Attributes
    ----------
    image, of_images
        Which image of how many, from 0.
    done, total
        Voxels that were read of the source or of a level above, of those that will be for this image.
    """

    image: int
    of_images: int
    done: int
    total: int


Observe: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """One chunk that is not what it should be.

    Attributes
    ----------
    image, level
        Their numbers in the store, from 0.
    chunk
        Its place in the grid of chunks, (t, c, z, y, x).
    index
        The first voxel that differs, (t, c, z, y, x); it lies beyond the level's edge where the padding of
        a last chunk does. None where the chunk cannot be decoded.
    expected, found
        The two values; None where the chunk cannot be decoded.
    count
        Voxels of the chunk that differ.
    reason
        Why the chunk cannot be read; that it is not there; or empty.
    """

    image: int
    level: int
    chunk: Shape
    index: Shape | None
    expected: float | None
    found: float | None
    count: int
    reason: str = ""

    def __str__(self) -> str:
        where = f"image {self.image}, level {self.level}, chunk {_commas(self.chunk)}"
        why = f": {self.reason}" if self.reason else ""
        if self.index is None:
            return f"{where}{why}"
        return (
            f"{where}: {self.count} voxel{'' if self.count == 1 else 's'}, the first at "
            f"{_commas(self.index)} is {self.found}, not {self.expected}{why}"
        )


@dataclass(frozen=True, slots=True)
class LevelVerified:
    """What was compared of one level.

    Attributes
    ----------
    level
        Its number, from 0.
    path
        From the store's root.
    compared_with
        What: ``"the source through h5py"``, ``"level 0 by mean"``; empty where it was not compared.
    not_compared
        Why it was not, or not all of it that was chosen; else empty.
    chunks, of_chunks
        Chunks that were compared, and how many there are.
    voxels
        Voxels that were compared.
    crc32
        Where all of the level was compared and could be decoded, a checksum of what is stored: for each
        chunk, in C order of the grid t, c, z, y, x, the CRC-32 of its voxels within the level's shape (C
        order, little-endian); then the CRC-32 of these numbers, four little-endian bytes each. Else None.
    differing
        Chunks that differ.
    differences
        The first `MAX_DIFFERENCES` of them, in C order.
    """

    level: int
    path: str
    compared_with: str
    not_compared: str
    chunks: int
    of_chunks: int
    voxels: int
    crc32: int | None
    differing: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class ImageVerified:
    """What was compared of one image.

    Attributes
    ----------
    image
        Its number in the store, from 0.
    folder
        Its group; ``""`` is the root.
    source_image
        Its number in the source.
    crop
        First voxel and the one after the last along t, c, z, y, x of the source's image; None is all.
    library
        What the source was read through: ``"h5py"``; empty where only the reader's own code can read it.
    levels
        Largest first.
    """

    image: int
    folder: str
    source_image: int
    crop: tuple[tuple[int, int], ...] | None
    library: str
    levels: tuple[LevelVerified, ...]

    @property
    def independent(self) -> bool:
        """Whether the source was read in another way than a conversion reads it."""
        return bool(self.library)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and what is not as it should be.

    Attributes
    ----------
    source, store
        What was compared.
    share
        Of the boxes of each level, how much was to be compared; 1 is all.
    seed
        Chooses the boxes of a sample.
    images
        In the order of the store.
    """

    source: str
    store: str
    share: float
    seed: int
    images: tuple[ImageVerified, ...]

    @property
    def differing(self) -> int:
        """Chunks that differ, of all levels."""
        return sum(level.differing for image in self.images for level in image.levels)

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.differing

    @property
    def summary(self) -> str:
        """How many chunks differ, and the first of them."""
        chunks = "1 chunk differs" if self.differing == 1 else f"{self.differing} chunks differ"
        return f"{chunks} from {self.source}" + (f": {self.differences[0]}" if self.differences else "")

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Those that are kept, of all levels."""
        return tuple(d for image in self.images for level in image.levels for d in level.differences)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data; a number that is not finite is text."""
        data: dict[str, Any] = {
            **asdict(self),
            "passed": self.passed,
            "differing": self.differing,
            "images": [{**asdict(image), "independent": image.independent} for image in self.images],
        }
        for image in data["images"]:
            for level in image["levels"]:
                level["crc32"] = None if level["crc32"] is None else f"{level['crc32']:08x}"
                for difference in level["differences"]:
                    for key in ("expected", "found"):
                        difference[key] = _finite(difference[key])
        return data


def _finite(value: float | None) -> float | str | None:
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return str(value)
    return value


def _commas(numbers: Shape) -> str:
    return ",".join(map(str, numbers))


def verification_lines(verified: Verification) -> Iterator[str]:
    """Yield what was compared, line by line, the verdict last."""
    for image in verified.images:
        where = image.folder or "the only image"
        if not image.independent:
            yield f"{where}: the source was read by the code that conversions use: its reader has no other"
        for level in image.levels:
            yield f"{level.path}  {_level_words(level)}"
            for difference in level.differences[:MAX_SHOWN]:
                yield f"  {difference}"
            if level.differing > MAX_SHOWN:
                yield f"  and {level.differing - MAX_SHOWN} more chunks"
    kind = (
        "every chunk"
        if verified.share >= 1
        else f"{100 * verified.share:.3g}% of the boxes, seed {verified.seed}"
    )
    if verified.passed:
        yield f"{verified.store} is the same as {verified.source} ({kind})"
    else:
        chunks = "1 chunk differs" if verified.differing == 1 else f"{verified.differing} chunks differ"
        yield f"{verified.store}: {chunks} from {verified.source} ({kind})"


def _level_words(level: LevelVerified) -> str:
    if not level.compared_with:
        return f"not compared: {level.not_compared}"
    words = f"{level.chunks} of {level.of_chunks} chunks compared with {level.compared_with}: "
    differing = f"{level.differing} differ{'s' if level.differing == 1 else ''}"
    words += differing if level.differing else "the same"
    words += f", CRC-32 {level.crc32:08x}" if level.crc32 is not None else ""
    return words + (f" ({level.not_compared})" if level.not_compared else "")
