"""Images, plans and reports in words, and as JSON-ready data, for people and pipelines."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import prod
from typing import TYPE_CHECKING, Any

from ngff_convert import ngff_plate
from ngff_convert.errors import ReadError
from ngff_convert.model import AXES
from ngff_convert.units import SPACE_SYMBOLS
from ngff_convert.write_plan import itemsize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ngff_convert.model import Image
    from ngff_convert.write_plan import Decided, Level, Report, WritePlan

TIMES = "\N{MULTIPLICATION SIGN}"

MAX_SHOWN = 8
"""Images that are shown one by one; more are shown together where they are alike."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(n_bytes: float) -> str:
    """Return a number of bytes as people write it.

    Examples
    --------
    >>> size(999), size(1_070_000_000)
    ('999 B', '1.07 GB')
    """
    unit = 0
    while n_bytes >= 999.5 and unit < len(_UNITS) - 1:
        n_bytes /= 1000
        unit += 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"


def one_line(text: str) -> str:
    """Return text with what would break a line, or command a terminal, escaped; names of files may hold it.

    Examples
    --------
    >>> one_line("a" + chr(27) + "b") == "a" + chr(92) + "x1bb"
    True
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shape(sizes: Sequence[int], axes: str = AXES) -> str:
    """Return sizes with the names of their axes.

    Examples
    --------
    >>> shape((1, 2, 30, 400, 500))
    't1 c2 z30 y400 x500'
    """
    return " ".join(f"{axis}{n}" for axis, n in zip(axes, sizes, strict=True))


def _times(sizes: Sequence[int]) -> str:
    return TIMES.join(map(str, sizes))


def _zyx(values: Sequence[float | None], unit: str | None) -> str:
    """Return z, y, x in their unit, with what is unknown called so."""
    if all(value is None for value in values):
        return "unknown"
    numbers = f" {TIMES} ".join("?" if value is None else f"{value + 0.0:.6g}" for value in values)  # no -0
    return f"{numbers} {SPACE_SYMBOLS[unit] if unit else '(no unit)'}"


# -- images ------------------------------------------------------------------------------------------------


def image_json(image: Image) -> dict[str, Any]:
    """Return what is known about an image as JSON-ready data."""
    pixels, calibration = image.pixels, image.calibration
    return {
        "name": image.name,
        "shape": dict(zip(AXES, pixels.shape, strict=True)),
        "dtype": pixels.dtype.name,
        "bytes": prod(pixels.shape) * pixels.dtype.itemsize,
        "chunks": dict(zip(AXES, pixels.chunks, strict=True)),
        "compression": pixels.compression,
        "spacing": dict(zip("zyx", calibration.zyx, strict=True)),
        "origin": dict(zip("zyx", calibration.origin_zyx, strict=True)),
        "unit": calibration.unit,
        "time_step_s": calibration.t_s,
        "time_stamps": [stamp.isoformat() for stamp in image.time_stamps],
        "channels": [asdict(channel) for channel in image.channels],
        "native_levels": [
            {
                "shape": dict(zip(AXES, level.pixels.shape, strict=True)),
                "factor": dict(zip("zyx", level.factor, strict=True)),
            }
            for level in image.native_levels
        ],
        "is_label": image.is_label,
        "labels": [{"name": label.name, "dtype": label.pixels.dtype.name} for label in image.labels],
    }


def image_lines(image: Image) -> Iterator[str]:
    """Yield what is known about an image, line by line."""
    pixels, calibration = image.pixels, image.calibration
    n_bytes = prod(pixels.shape) * pixels.dtype.itemsize
    yield f"size         {shape(pixels.shape)}, {pixels.dtype.name}, {size(n_bytes)}"
    yield f"chunks       {_times(pixels.chunks[2:])} (z y x), compression {pixels.compression}"
    yield f"voxel        {_zyx(calibration.zyx, calibration.unit)} (z y x)"
    yield f"origin       {_zyx(calibration.origin_zyx, calibration.unit)} (centre of the first voxel)"
    if pixels.shape[0] > 1:
        step = "step unknown or uneven" if calibration.t_s is None else f"every {calibration.t_s:.6g} s"
        yield f"time         {step}"
    if image.time_stamps:
        yield f"taken        {image.time_stamps[0].isoformat(' ')}"
    for number, channel in enumerate(image.channels):
        facts = [channel.name or "(no name)"]
        facts += [f"#{channel.color}"] if channel.color else []
        facts += [f"excitation {channel.excitation_nm:g} nm"] if channel.excitation_nm else []
        facts += [f"emission {channel.emission_nm:g} nm"] if channel.emission_nm else []
        facts += ["window {:g} to {:g}".format(*channel.window)] if channel.window else []
        yield f"channel {number:<4} {', '.join(facts)}"
    native = [_times(level.pixels.shape[2:]) for level in image.native_levels]
    yield f"own levels   {', '.join(native) if native else 'none'}"
    for label in image.labels:
        yield f"labels       {label.name}, {label.pixels.dtype.name}"


# -- plans -------------------------------------------------------------------------------------------------


def plan_lines(plan: WritePlan) -> Iterator[str]:
    """Yield what was decided about an image, line by line."""
    codec = plan.codec.name
    codec += f" level {plan.codec.level}" if plan.codec.level is not None else ""
    codec += f", {plan.codec.shuffle} shuffle" if plan.codec.shuffle else ""
    codec = "chunks copied" if all(level.copied for level in plan.levels) else codec
    yield f"OME-Zarr {plan.ngff_version}, {plan.dtype}, axes {plan.axes}, {codec}, levels by {plan.method}"
    for number, level in enumerate(plan.levels):
        yield f"level {number}  {level_words(level)}"
    for number, step in enumerate(plan.passes):
        written = ", ".join(map(str, step.write_levels))
        source = "the source" if step.native else f"level {step.read_level}"
        regions = f"{counted(step.n_regions, 'region')} of {_times(step.region)}"
        twice = f", {step.decoded_twice:.1%} decoded twice" if step.decoded_twice else ""
        yield (
            f"pass {number}   reads {source} once, writes level {written}: "
            f"{regions}, {step.job_bytes / 2**20:.0f} MiB each{twice}"
        )
    yield f"at once   {counted(plan.workers, 'region')}, within {plan.budget_bytes / 2**20:.0f} MiB"


def decided_lines(decided: Sequence[Decided]) -> Iterator[str]:
    """Yield what was decided about a store, line by line; of many images, those that are alike together."""
    if fields := ngff_plate.fields_of(decided):
        plate, n_wells = fields[0].plate, len({(field.row, field.column) for field in fields})
        whole = f"{len(plate.rows)} {TIMES} {len(plate.columns)}"
        yield f"plate {plate.name}: {n_wells} of {whole} wells, {counted(len(fields), 'field')}"
    for like in _alike([item.plan for item in decided]):
        item = decided[like[0]]
        kind = "image" if item.label_of is None else "labels"
        yield f"{kind} {item.image.name or '(no name)'}{_and_more(like)}"
        for line in plan_lines(item.plan):
            yield f"  {line}"


def decided_json(decided: Sequence[Decided], target: str = "") -> list[dict[str, Any]]:
    """Return what was decided about each image as JSON-ready data, with its store where there are several."""
    where = {"target": target} if target else {}
    return [
        {"name": item.image.name, "folder": item.folder, **where, "plan": item.plan.to_json()}
        for item in decided
    ]


def _alike(plans: Sequence[WritePlan]) -> list[list[int]]:
    """Return numbers of plans, together where there are many that differ in positions at the most."""
    if len(plans) <= MAX_SHOWN:
        return [[number] for number in range(len(plans))]
    groups: dict[WritePlan, list[int]] = {}
    for number, plan in enumerate(plans):
        levels = tuple(replace(level, translation=()) for level in plan.levels)
        groups.setdefault(replace(plan, levels=levels), []).append(number)
    return list(groups.values())


def _and_more(like: Sequence[object]) -> str:
    return f" and {len(like) - 1} more like it" if len(like) > 1 else ""


def levels_json(plan: WritePlan, folder: str) -> dict[str, Any]:
    """Return the levels of a plan as JSON-ready data, in the axes that are stored."""

    def stored(values: Sequence[Any] | None) -> list[Any] | None:
        if values is None:
            return None
        return [value for value, axis in zip(values, AXES, strict=True) if axis in plan.axes]

    return {
        "axes": plan.axes,
        "levels": [
            {
                "path": f"{folder}/{number}".lstrip("/"),
                "shape": stored(level.shape),
                "chunks": stored(level.chunks),
                "shards": stored(level.shards),
                "scale": stored(level.scale),
            }
            for number, level in enumerate(plan.levels)
        ],
    }


def counted(number: int, what: str) -> str:
    """Return a number of things, which are called by their name in the singular.

    Examples
    --------
    >>> counted(1, "error"), counted(0, "error")
    ('1 error', '0 errors')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def level_words(level: Level) -> str:
    """Return a level's size, storage and scale in one line."""
    storage = f"chunks {_times(level.chunks[2:])}"
    storage += f" in shards {_times(level.shards[2:])}" if level.shards else ""
    storage += ", copied" if level.copied else ""
    scale = " ".join(f"{value:.6g}" for value in level.scale[2:])
    return f"{_times(level.shape)}, {storage}, scale {scale}"


def report_lines(report: Report) -> Iterator[str]:
    """Yield what a conversion made, as a tree of the store."""
    rate = report.read_bytes / max(report.seconds, 1e-9)
    pixels = sum(prod(level.shape) * itemsize(plan.dtype) for plan in report.plans for level in plan.levels)
    kept = f"; {size(report.kept_bytes)} had been read before" if report.kept_bytes else ""
    stored = {path: size(n_bytes) for path, n_bytes in report.stored_bytes.items()}
    how_much = f"{stored['']} stored of {size(pixels)}" if stored else f"{size(pixels)} of pixels"
    fast = f" ({size(rate)}/s)" if report.read_bytes else ""
    yield f"{report.target}  {how_much} in {report.seconds:.1f} s{fast}{kept}"
    levels = [
        ([f"{report.folders[image]}/{number}".lstrip("/") for image in like], level)
        for like in _alike(report.plans)
        for number, level in enumerate(report.plans[like[0]].levels)
    ]
    for paths, level in levels:
        corner = "└──" if paths is levels[-1][0] else "├──"
        words = f"{corner} {paths[0]}{_and_more(paths)}  {level_words(level)}"
        n_bytes = size(sum(report.stored_bytes[path] for path in paths)) if stored else None
        yield ", ".join(filter(None, (words, n_bytes)))


def report_json(report: Report) -> dict[str, Any]:
    """Return what a conversion made as JSON-ready data."""
    return {
        "exit_code": ReadError.exit_code if report.filled else 0,
        "target": report.target,
        "seconds": round(report.seconds, 3),
        "read_bytes": report.read_bytes,
        "written_bytes": report.written_bytes,
        "kept_bytes": report.kept_bytes,
        "stored_bytes": report.stored_bytes.get(""),
        "images": [
            {"folder": folder, "dtype": plan.dtype, "digest": plan.digest, **levels_json(plan, folder)}
            for folder, plan in zip(report.folders, report.plans, strict=True)
        ],
        "stored_bytes_of": {path: n for path, n in report.stored_bytes.items() if path},
        "warnings": list(report.warnings),
        "filled": list(report.filled),
        "verification": report.verification and report.verification.to_json(),
    }
