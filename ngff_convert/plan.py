"""Image + options -> everything decided before the first byte is written. Arithmetic: no file touched.

The plan answers four questions, in this order:

1. Chunks: the source's own grid where it is useful, so that one source chunk becomes one output chunk; else
   about 1 MiB, near-cubic in physical space as far as a region of them can be whole source chunks.
2. Levels: `pyramid.levels`.
3. Passes: as many levels as possible are made from one reading. A region is a box of the level that is read;
   at every level of the pass it is whole write objects (or ends at the image's edge), so no two regions touch
   one file and nothing is locked. Its size is therefore a multiple of the least common multiple, over those
   levels, of chunk times factor; a pass ends where such a region would be too large. The next pass reads the
   last level of this one. A shard is what a region covers, or less: at a lower level the shards are smaller.
4. Memory: the bytes that one region needs, and how many regions fit the budget at once. Regions are made
   smaller, then fewer at once, before the plan is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, gcd, lcm, prod
from typing import TYPE_CHECKING

from ngff_convert import chunking, pyramid
from ngff_convert.errors import MemoryBudgetError, OptionError
from ngff_convert.model import AXES, Calibration, Shape
from ngff_convert.units import along
from ngff_convert.write_plan import SOURCE, Codec, Factor, Level, Pass, WritePlan, itemsize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ngff_convert.model import Image, PixelArray
    from ngff_convert.options import Options
    from ngff_convert.write_plan import Copied

REGION_BYTES = 32 * 2**20
"""What a region is at the most, in the level that is read; only large chunks or shards make it larger."""

REGIONS_A_WORKER = 4
"""A region is not grown beyond what leaves each worker this many, so that none has to wait for another."""

SMALLEST_GROWN_BYTES = 8 * 2**20
"""But it is always grown to this, which is worth a job."""

UNSHARDED_CHUNKS = 10_000
"""A level of more chunks than this is sharded."""

MOST_DECODED_TWICE = 0.25
"""Regions grow up to what the memory allows rather than have more than this share of chunks decoded again."""

READ_BYTES = 2**20
"""Buffer of a read of small chunks that are neighbours in the file."""

CHUNK_TASK_BYTES = 6 * 2**10
"""What tensorstore keeps about each chunk that it is about to write; measured, with chunks of one voxel."""

PLACE_BYTES = 128
"""What a reader keeps about each source chunk that it is about to read."""

SHRINK_BYTES = 8 * 2**20
"""Working memory of shrinking one block, besides the block and what it becomes."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What this process may use: processors, and bytes of memory."""

    workers: int
    memory: int


def build(
    image: Image,
    options: Options,
    resources: Resources,
    copies: Sequence[tuple[Shape, Copied]] = (),
) -> WritePlan:
    """Decide how an image is written.

    Parameters
    ----------
    image
        As it will be written: cropped and with every override applied.
    options
        What the user chose.
    resources
        Used where the options leave workers or memory open.
    copies
        The chunks of the first levels, (t, c, z, y, x), and how they are stored, where they are copied.

    Raises
    ------
    OptionError
        An option does not fit the image.
    MemoryBudgetError
        Not even one smallest region fits the memory given.
    """
    if options.pyramid == "native" and not image.native_levels:
        cropped = any(span != (None, None) for span in options.crop)
        reason = "lower levels cannot be cropped" if cropped else "the source has no complete lower levels"
        raise OptionError(f"--pyramid native: {reason}; use --pyramid build")
    dtype = options.dtype or image.pixels.dtype.name
    method = options.method or ("mode" if image.is_label else "mean")
    chunks = copies[0][0] if copies else chunking.chunk_shape(image, options, itemsize(dtype), REGION_BYTES)
    levels = _levels(image, options, method, chunks)
    first = [replace(level, chunks=c, copied=how) for level, (c, how) in zip(levels, copies, strict=False)]
    levels = (*first, *levels[len(first) :])
    native = options.pyramid == "native"
    read = (image.pixels, *(level.pixels for level in image.native_levels if native))
    request = _Request(
        source=image.pixels,
        native=tuple(level.pixels for level in image.native_levels),
        levels=levels,
        chunks=chunks,
        shards=_explicit_shards(chunks, options),
        itemsize=itemsize(dtype),
        casts=dtype != image.pixels.dtype.name,
        budget=options.memory or resources.memory,
        index=sum(pixels.index_bytes for pixels in read),
        workers=options.workers or resources.workers,
    )
    passes = _native_passes(request) if native else _built_passes(request)
    return WritePlan(
        levels=_with_shards(request, passes, options),
        passes=passes,
        dtype=dtype,
        codec=Codec() if options.codec.name == SOURCE else options.codec,
        ngff_version=options.ngff_version,
        axes=AXES if options.output_axes == AXES or image.pixels.shape[0] > 1 else AXES[1:],
        method="native" if native else method,
        workers=min(request.workers, *(request.for_jobs // step.job_bytes for step in passes)),
        budget_bytes=request.budget,
    )


# -- levels ------------------------------------------------------------------------------------------------


def _levels(image: Image, options: Options, method: str, chunks: Shape) -> tuple[Level, ...]:
    """Return the levels, not sharded yet."""
    shape, calibration = image.pixels.shape, image.calibration
    if options.pyramid == "native":
        return native_levels(image, chunks)[: options.levels]
    limit = (options.min_size,) * 3 if options.min_size else chunks[2:]
    factors = pyramid.levels(shape, calibration.zyx, limit, count=options.levels, steps=options.factors)
    # The first voxel of each cell stays where it was; what is made of the whole cell is at its centre.
    centre = 0.0 if method == "nearest" else 0.5
    return tuple(
        _level(
            pyramid.level_shape(shape, factor),
            factor[2:],
            tuple((f - 1) * centre for f in factor[2:]),
            chunks,
            calibration,
        )
        for factor in factors
    )


def native_levels(image: Image, chunks: Shape) -> tuple[Level, ...]:
    """Return the levels of an image that are those of its source: level 0 and, if it has them, lower ones."""
    calibration = image.calibration
    return (
        _level(image.pixels.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), chunks, calibration),
        *(_level(n.pixels.shape, n.factor, n.shift, chunks, calibration) for n in image.native_levels),
    )


def _level(
    shape: Shape,
    factor_zyx: Sequence[float],
    shift_zyx: Sequence[float],
    chunks: Shape,
    calibration: Calibration,
) -> Level:
    voxel = [size or 1.0 for size in calibration.zyx]
    origin = [at or 0.0 for at in calibration.origin_zyx]
    scale = [along(0.0, v, f) for v, f in zip(voxel, factor_zyx, strict=True)]
    translation = [along(o, v, s) for o, v, s in zip(origin, voxel, shift_zyx, strict=True)]
    return Level(
        shape=shape,
        factor=(1, 1, *factor_zyx),
        chunks=_clip(chunks, shape),
        shards=None,
        scale=(calibration.t_s or 1.0, 1.0, *scale),
        translation=(calibration.start_s, 0.0, *translation),
    )


def _divided(region: Shape, factor: Factor) -> Shape:
    return tuple(ceil(r / f) for r, f in zip(region, factor, strict=True))


def _clip(sizes: Shape, shape: Shape) -> Shape:
    return tuple(map(min, sizes, shape))


# -- passes and regions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    """What the search for regions starts from; `chunks` and `shards` are not clipped to any level yet."""

    source: PixelArray
    native: tuple[PixelArray, ...]
    levels: tuple[Level, ...]
    chunks: Shape
    shards: Shape | None
    itemsize: int
    casts: bool
    budget: int
    index: int
    workers: int

    @property
    def for_jobs(self) -> int:
        """What the budget leaves beside what a reader keeps about its files."""
        return self.budget - self.index

    def pixels(self, level: int) -> PixelArray:
        return self.native[level - 1] if level else self.source


def _explicit_shards(chunks: Shape, options: Options) -> Shape | None:
    if isinstance(options.shards, str):
        return None
    shards = chunking.five(options.shards)
    if any(s % c for s, c in zip(shards, chunks, strict=True)):
        raise OptionError(f"--shards {_commas(shards)} is not a multiple of the chunk {_commas(chunks)}")
    return shards


def _commas(sizes: Iterable[int]) -> str:
    return ",".join(map(str, sizes))


def _native_passes(request: _Request) -> tuple[Pass, ...]:
    own = [replace(request, chunks=level.chunks) if level.copied else request for level in request.levels]
    steps = [_step(request, True, k, (k,)) for k, request in enumerate(own)]
    _check_memory(request, max(steps, key=lambda step: step.job_bytes))
    return tuple(_grown(request, step) for request, step in zip(own, steps, strict=True))


def _built_passes(request: _Request) -> tuple[Pass, ...]:
    """Make as many levels as possible from each reading."""
    count = len(request.levels)
    # One level at a time takes the least memory; the hardest one is told, not the first.
    single = [_step(request, k == 0, max(0, k - 1), (k,)) for k in range(count)]
    _check_memory(request, max(single, key=lambda step: step.job_bytes))
    passes: list[Pass] = []
    first = 0
    while first < count:
        native, read = first == 0, max(0, first - 1)
        for last in range(count - 1, first - 1, -1):
            step = _step(request, native, read, tuple(range(first, last + 1)))
            if last == first or _fits(request, step, _largest(request)):
                break
        passes.append(_grown(request, step))
        first = last + 1
    return tuple(passes)


def _largest(request: _Request) -> int:
    """Return how many bytes a region has at the most: the aim, or a larger source chunk or shard."""
    source = prod(request.source.chunks) * request.source.dtype.itemsize
    return max(REGION_BYTES, source, prod(request.shards or ()) * request.itemsize)


def _fits(request: _Request, step: Pass, region_bytes: int) -> bool:
    """Whether a region is at most so large, and as many as there are workers fit the budget."""
    within = prod(step.region) * request.itemsize <= region_bytes
    return within and step.job_bytes * request.workers <= request.for_jobs


def _step(request: _Request, native: bool, read: int, written: tuple[int, ...]) -> Pass:
    """Return a pass with the smallest region that owns whole chunks at every level, and shards at the first.

    A level that is made from another one has shards as large as its regions at the most, see `_with_shards`.
    """
    base = request.levels[read].factor
    factors = tuple(_ratio(request.levels[k].factor, base) for k in written)
    shape = request.levels[read].shape
    shards = request.shards if native and request.shards else request.chunks
    # Samples of one pixel are decoded together, whoever wants one of them.
    together = request.pixels(read).chunks[:2] if native else (1, 1)
    region = tuple(
        min(n, lcm(shard, one, *(chunk * f[axis] for f in factors)))
        for axis, (n, chunk, shard, one) in enumerate(
            zip(shape, request.chunks, shards, (*together, 1, 1, 1), strict=True)
        )
    )
    return _measured(request, Pass(native, read, shape, written, factors, region, 0, 0.0))


def _ratio(factor: Sequence[float], base: Sequence[float]) -> Factor:
    return tuple(round(f / b) for f, b in zip(factor, base, strict=True))


def _check_memory(request: _Request, step: Pass) -> None:
    """Refuse a pass whose smallest region does not fit the memory given."""
    if step.job_bytes > request.for_jobs:
        source = prod(request.source.chunks) * request.source.dtype.itemsize
        if step.native and 3 * source > request.budget:
            cause = f"give more memory: the source's chunks of {source / 2**20:.0f} MiB are decoded whole"
        elif request.index > request.budget // 2:
            needed = f"{request.index / 2**20:.0f} MiB"
            cause = f"give more memory: {needed} of it go into where the source's chunks lie"
        else:
            cause = "give more memory, or smaller --chunks or --shards"
        raise MemoryBudgetError(
            f"level {step.read_level}: a region of {_commas(step.region)} voxels (t,c,z,y,x), the smallest "
            f"possible, needs {step.job_bytes / 2**20:.0f} MiB, but --memory allows "
            f"{request.budget / 2**20:.0f} MiB: {cause}"
        )


def _grown(request: _Request, step: Pass) -> Pass:
    """Grow a region to the source's chunk edges where that is cheap, then to a size worth a job."""
    if step.native:
        step = _aligned(request, step)
    share = prod(step.shape) * request.itemsize // (REGIONS_A_WORKER * request.workers)
    wanted = min(REGION_BYTES, max(SMALLEST_GROWN_BYTES, share))
    for axis in reversed(range(len(AXES))):
        while step.region[axis] < step.shape[axis]:
            larger = _replaced(request, step, axis, 2 * step.region[axis], wanted)
            if larger is step:
                break
            step = larger
    return step


def _aligned(request: _Request, step: Pass) -> Pass:
    """Grow a region to edges of source chunks, which are then decoded once."""
    source = request.pixels(step.read_level).chunks
    for axis in reversed(range(len(AXES))):
        step = _replaced(request, step, axis, lcm(step.region[axis], source[axis]), _largest(request))
    for axis in reversed(range(len(AXES))):
        wanted = min(source[axis], step.shape[axis])
        while step.decoded_twice > MOST_DECODED_TWICE and step.region[axis] < wanted:
            larger = _replaced(request, step, axis, 2 * step.region[axis], request.for_jobs)
            if larger is step:
                break
            step = larger
    return step


def _replaced(request: _Request, step: Pass, axis: int, size: int, region_bytes: int) -> Pass:
    """Return the pass with another size of region along an axis, or itself where that is too large."""
    region = list(step.region)
    region[axis] = min(size, step.shape[axis])
    changed = _measured(request, replace(step, region=tuple(region)))
    return changed if _fits(request, changed, region_bytes) else step


def _measured(request: _Request, step: Pass) -> Pass:
    """Return the pass with the bytes that one of its regions needs, and what it decodes twice.

    A job holds what it read, every level made of it, and - until they are written - their encoded chunks,
    which for noise are as large as the pixels and at the image's edge are whole chunks all the same. Reading
    adds a source chunk: as it is stored, decoded, and between two filters; and the places of all of them. A
    change of dtype adds the block before it.
    """
    itemsize = request.itemsize
    block = prod(step.region) * itemsize
    written = sum(prod(_divided(step.region, factor)) for factor in step.factors)
    held = written * itemsize + (0 if step.write_levels[0] == step.read_level else block)
    chunks = [request.levels[k].chunks for k in step.write_levels]
    counts = [
        prod(ceil(r / c) for r, c in zip(_divided(step.region, factor), chunk, strict=True))
        for factor, chunk in zip(step.factors, chunks, strict=True)
    ]
    encoded = sum(n * (prod(c) * itemsize + CHUNK_TASK_BYTES) for n, c in zip(counts, chunks, strict=True))
    twice = 0.0
    if step.native:
        pixels = request.pixels(step.read_level)
        decode = READ_BYTES + 3 * prod(pixels.chunks) * pixels.dtype.itemsize
        decode += PLACE_BYTES * prod(
            r // c + 2 for r, c in zip(step.region, pixels.chunks, strict=True) if c < r
        )
        cast = prod(step.region) * pixels.dtype.itemsize if request.casts else 0
        twice = _decoded_twice(step, pixels)
    else:
        decode = READ_BYTES + 3 * prod(request.levels[step.read_level].chunks) * itemsize
        cast = 0
    if step.native and len(step.write_levels) == 1 and request.levels[step.write_levels[0]].copied:
        held = decode = 0  # nothing is decoded; on their way to a bucket all chunks are in memory
        encoded += 2 * prod(chunks[0]) * itemsize
    total = held + encoded + decode + cast + SHRINK_BYTES
    return replace(step, job_bytes=total, decoded_twice=twice)


def _decoded_twice(step: Pass, pixels: PixelArray) -> float:
    """Return the share of source chunks that are decoded again because a region's edge cuts them."""
    touched, there = 1, 1
    for n, region, chunk, offset in zip(step.shape, step.region, pixels.chunks, pixels.offset, strict=True):
        chunks = -(-(offset + n) // chunk) - offset // chunk
        edges = -(-n // region) - 1
        there *= chunks
        touched *= chunks + edges - _edges_on_chunks(edges, region, chunk, offset)
    return touched / there - 1


def _edges_on_chunks(edges: int, region: int, chunk: int, offset: int) -> int:
    """Return how many k of 1 to `edges` have an `offset` + k * `region` that is a multiple of `chunk`.

    Examples
    --------
    >>> _edges_on_chunks(9, 6, 4, 2), sum((2 + k * 6) % 4 == 0 for k in range(1, 10))
    (5, 5)
    """
    common = gcd(region, chunk)
    if offset % common:
        return 0
    every = chunk // common
    first = -offset // common * pow(region // common, -1, every) % every
    return (edges - first) // every - (-first) // every


# -- shards ------------------------------------------------------------------------------------------------


def _with_shards(request: _Request, passes: tuple[Pass, ...], options: Options) -> tuple[Level, ...]:
    """Return the levels with their shards: what a region covers of a level, or less where less is asked for.

    Without a word from the user, only levels of many chunks are sharded. Regions own whole shards: where
    there are several regions along an axis, a shard divides them.
    """
    sharded = list(request.levels)
    for step in passes:
        for k, factor in zip(step.write_levels, step.factors, strict=True):
            level = request.levels[k]
            many = options.shards == "auto" and _n_chunks(level) > UNSHARDED_CHUNKS
            if options.ngff_version == "0.4" or level.copied or not (many or request.shards):
                continue
            covered = _clip(_divided(step.region, factor), level.shape)
            wanted = request.shards or covered
            shards = tuple(
                c * (ceil(min(w, own) / c) if own == n else gcd(w // c, own // c))
                for w, own, c, n in zip(wanted, covered, level.chunks, level.shape, strict=True)
            )
            sharded[k] = replace(level, shards=None if shards == level.chunks else shards)
    return tuple(sharded)


def _n_chunks(level: Level) -> int:
    return prod(-(-n // c) for n, c in zip(level.shape, level.chunks, strict=True))
