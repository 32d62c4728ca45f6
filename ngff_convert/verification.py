"""What a verification found, as records, in words and as JSON-ready data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.model import AXES

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
        Which image of how many, from 0; label images are counted too.
    done, total
        Voxels that were read of the source or of a level above, of those that will be for this image.
    folder
        Where its group is in the store: ``""`` is the root.
    """

    image: int
    of_images: int
    done: int
    total: int
    folder: str = ""


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
    decoded
        Chunks that were not compared, but could be decoded.
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
    decoded: int
    voxels: int
    crc32: int | None
    differing: int
    differences: tuple[Difference, ...]

    @property
    def complete(self) -> bool:
        """Whether every chunk was compared."""
        return bool(self.compared_with) and self.chunks == self.of_chunks


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
    source_shape
        Size of the source's image, all of it, (t, c, z, y, x), voxels; None where that is not known.
    library
        What the source was read through: ``"h5py"``; empty where it was read as conversions read it.
    shared
        What reading it has in common with how conversions read it all the same; empty is nothing, or all
        where `library` is empty.
    levels
        Largest first.
    filled
        What of the source cannot be read and should be 0 in the store, one line for each box and cause.
    """

    image: int
    folder: str
    source_image: int
    crop: tuple[tuple[int, int], ...] | None
    source_shape: Shape | None
    library: str
    shared: str
    levels: tuple[LevelVerified, ...]
    filled: tuple[str, ...] = ()

    @property
    def independent(self) -> bool:
        """Whether the source was read in another way than a conversion reads it, but for `shared`."""
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
    of_images
        How many images the source has; None where that is not known.
    lost
        Numbers of images of the source that, as the store says, should be in it, and are not.
    missing
        What the source itself lacks, such as files, and should be 0 in the store, one line each.
    labels_not_compared
        Groups of label images whose source was not given.
    """

    source: str
    store: str
    share: float
    seed: int
    images: tuple[ImageVerified, ...]
    of_images: int | None = None
    lost: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    labels_not_compared: tuple[str, ...] = ()

    @property
    def filled(self) -> tuple[str, ...]:
        """All that is 0 in the store because it could not be read."""
        return (*self.missing, *(line for image in self.images for line in image.filled))

    @property
    def differing(self) -> int:
        """Chunks that differ, of all levels."""
        return sum(level.differing for image in self.images for level in image.levels)

    @property
    def passed(self) -> bool:
        """Whether nothing differs, and no image is lost."""
        return not self.differing and not self.lost

    @property
    def complete(self) -> bool:
        """Whether every chunk of every level in the store was compared."""
        whole = all(level.complete for image in self.images for level in image.levels)
        return whole and not self.labels_not_compared

    @property
    def left_out(self) -> tuple[int, ...]:
        """Numbers of the images of the source that are not in the store."""
        stored = {image.source_image for image in self.images}
        return tuple(number for number in range(self.of_images or 0) if number not in stored)

    @property
    def summary(self) -> str:
        """What is wrong: images that are lost, how many chunks differ, and the first of them."""
        parts = [self.lost_in_words] if self.lost else []
        if self.differing or not self.lost:
            chunks = "1 chunk differs" if self.differing == 1 else f"{self.differing} chunks differ"
            parts.append(f"{chunks} from {self.source}")
        return "; ".join(parts) + (f": {self.differences[0]}" if self.differences else "")

    @property
    def lost_in_words(self) -> str:
        """Which images are lost."""
        numbers = ", ".join(map(str, self.lost[:MAX_SHOWN])) + (", ..." if len(self.lost) > MAX_SHOWN else "")
        what = f"image {numbers} is" if len(self.lost) == 1 else f"images {numbers} are"
        return f"{what} not in it, though it was made with {'it' if len(self.lost) == 1 else 'them'}"

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Those that are kept, of all levels."""
        return tuple(d for image in self.images for level in image.levels for d in level.differences)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data; a number that is not finite is text."""
        data: dict[str, Any] = {
            **asdict(self),
            "passed": self.passed,
            "complete": self.complete,
            "left_out": self.left_out,
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
            yield f"{where}: the source was read by the code that conversions use: there is no other for it"
        if image.crop is not None:
            yield f"{where}: is only {_crop_words(image)} of the source's image {image.source_image}"
        for level in image.levels:
            yield f"{level.path}  {_level_words(level)}"
            for difference in level.differences[:MAX_SHOWN]:
                yield f"  {difference}"
            if level.differing > MAX_SHOWN:
                yield f"  and {level.differing - MAX_SHOWN} more chunks"
    for line in verified.filled[:MAX_SHOWN]:
        yield f"0 in place of what cannot be read: {line}"
    for folder in verified.labels_not_compared[:MAX_SHOWN]:
        name = folder.rpartition("/")[2]
        yield f"{folder}  not compared: say by --labels {name}=FILE what it was made of"
    for shared in sorted({image.shared for image in verified.images} - {""}):
        yield f"the source was read another way than by a conversion, but {shared}"
    yield _verdict(verified)


def _verdict(verified: Verification) -> str:
    """Say what is the same as what, and no more than was compared."""
    levels = [level for image in verified.images for level in image.levels]
    n_others = sum(not level.compared_with for level in levels)
    kind = (
        "every chunk"
        if verified.share >= 1
        else f"{100 * verified.share:.3g}% of the boxes, seed {verified.seed}"
    )
    others = f"; {n_others} level{'' if n_others == 1 else 's'} not compared" if n_others else ""
    if n_labels := len(verified.labels_not_compared):
        others += f"; {n_labels} label image{'' if n_labels == 1 else 's'} not compared"
    if not verified.passed:
        lost = f"{verified.lost_in_words}; " if verified.lost else ""
        chunks = "1 chunk differs" if verified.differing == 1 else f"{verified.differing} chunks differ"
        return f"{verified.store}: {lost}{chunks} from {verified.source} ({kind}){others}"
    what = verified.source
    if verified.left_out:
        stored = {image.source_image for image in verified.images}
        what = f"{len(stored)} of {verified.of_images} images of {what}"
    if any(image.crop is not None for image in verified.images):
        what = f"a part of {what}"
    subject = verified.store
    if n_others:
        numbers = sorted({level.level for level in levels if level.compared_with})
        subject += f": level{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
    verb = "is" if not n_others or len(numbers) == 1 else "are"
    but = f", but for what of it cannot be read: {len(verified.filled)} places" if verified.filled else ""
    return f"{subject} {verb} the same as {what}{but} ({kind}){others}"


def _crop_words(image: ImageVerified) -> str:
    sizes = image.source_shape or (None,) * len(AXES)
    spans = zip(AXES, image.crop or (), sizes, strict=True)
    return ", ".join(f"{axis} {a}:{b}" for axis, (a, b), n in spans if (a, b) != (0, n))


def _level_words(level: LevelVerified) -> str:
    if not level.compared_with:
        undecodable = f", {level.differing} cannot be" if level.differing else ""
        decoded = f"{level.decoded} of {level.of_chunks} chunks can be decoded{undecodable}"
        return f"not compared: {level.not_compared}; {decoded}"
    words = f"{level.chunks} of {level.of_chunks} chunks compared with {level.compared_with}: "
    differing = f"{level.differing} differ{'s' if level.differing == 1 else ''}"
    words += differing if level.differing else "the same"
    words += f", CRC-32 {level.crc32:08x}" if level.crc32 is not None else ""
    return words + (f" ({level.not_compared})" if level.not_compared else "")
