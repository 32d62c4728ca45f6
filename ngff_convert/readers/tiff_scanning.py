"""What laser scanning microscopes write into TIFF files: Zeiss LSM, ScanImage, Olympus FluoView.

tifffile parses their binary structures and texts; what its dictionaries mean is worked out here.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ngff_convert.model import Channel
from ngff_convert.readers.tiff_values import (
    Found,
    Length,
    MaybeLengths,
    Sizes,
    as_sections,
    bare,
    even_step,
    length,
    lengths_in,
    named,
    number,
    positive,
    rgb,
    scaled,
    text_or_none,
    uneven,
    wavelength,
    window,
)
from ngff_convert.units import TIME_UNITS, space_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import tifffile


def lsm(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the CZ_LSMINFO structure of a Zeiss LSM file; None for other files and for its thumbnails.

    Voxel sizes are in metres and times in seconds (Zeiss, "LSM 510 file format"). ``OriginX`` and
    ``OriginY`` are the centre of the image relative to the optical axis; both 0 is what files without an
    offset have, and unknown. ``Sample0time`` is days since 1899-12-30.
    """
    if not tif.is_lsm or series.keyframe.is_reduced:
        return None
    data = tif.lsm_metadata or {}
    info = data.get("ScanInformation")
    scan: dict[str, Any] = info if isinstance(info, dict) else {}
    z, y, x = (length(data.get(f"VoxelSize{axis}"), factor=1e6) for axis in "ZYX")
    time_stamps, t_s = _lsm_times(data, scan, sizes, warnings)
    return Found(
        name=text_or_none(scan.get("Name")) or text_or_none(data.get("Name")) or "",
        channels=lsm_channels(data, scan, sizes.c),
        size=(z, y, x),
        origin=_lsm_origin(data, (y, x), (sizes.y, sizes.x)),
        t_s=t_s,
        time_stamps=time_stamps,
        sections=as_sections("LSM", data),
    )


def _lsm_origin(
    data: Mapping[str, Any], size_yx: tuple[Length | None, Length | None], pixels_yx: tuple[int, int]
) -> MaybeLengths:
    centres = [number(data.get(f"Origin{axis}")) for axis in "YX"]
    if not any(centres):
        return None, None, None
    found = [
        None if centre is None or size is None else Length(scaled(centre, 1e6) - (n - 1) / 2 * size.value)
        for centre, size, n in zip(centres, size_yx, pixels_yx, strict=True)
    ]
    return None, found[0], found[1]


def _lsm_times(
    data: Mapping[str, Any], scan: Mapping[str, Any], sizes: Sizes, warnings: list[str]
) -> tuple[tuple[datetime, ...], float | None]:
    days = number(scan.get("Sample0time"))
    start = None
    if days is not None and 30_000 < days < 75_000:  # 1982 to 2105; anything else is no date
        start = datetime(1899, 12, 30) + timedelta(milliseconds=round(days * 86_400_000))
    listed = data.get("TimeStamps")
    seconds = [float(s) for s in listed] if listed is not None and len(listed) == sizes.t else []
    if any(number(s) is None for s in seconds):
        seconds = []
    stamps: tuple[datetime, ...] = ()
    if start is not None and (seconds or sizes.t == 1):
        stamps = tuple(start + timedelta(seconds=s - seconds[0]) for s in seconds or [0.0])[: sizes.t]
    if sizes.t == 1:
        return stamps, None
    step = even_step(seconds)
    if step is None and seconds and len(set(seconds)) > 1:
        warnings.append(uneven(seconds))
        return stamps, None
    if step is None:  # all stamps equal or none: then they say nothing
        return (), positive(data.get("TimeIntervall"))
    return stamps, step


def lsm_channels(data: Mapping[str, Any], scan: Mapping[str, Any], count: int) -> tuple[Channel, ...]:
    """Return the channels: colours and names of ChannelColors, wavelengths of the tracks.

    Parameters
    ----------
    data, scan
        The structure, and its scan information.
    count
        Channels of the image. What is described for another number of them cannot be told apart.
    """
    found = [Channel() for _ in range(count)]
    colors = data.get("ChannelColors")
    if isinstance(colors, dict):
        table = colors.get("Colors", [])
        if len(table) == count:
            found = [replace(c, color=rgb(*row[:3])) for c, row in zip(found, table, strict=True)]
        found = list(named(found, colors.get("ColorNames", [])))
    tracks = _lsm_wavelengths(scan.get("Tracks"))
    if len(tracks) == count:
        found = [
            replace(c, excitation_nm=excitation, emission_nm=emission)
            for c, (excitation, emission) in zip(found, tracks, strict=True)
        ]
    ranges = data.get("ChannelWavelength")
    if ranges is not None and len(ranges) == count:  # the bands of a spectral detector, in metres
        bands = [[float(edge) for edge in row] for row in ranges]
        centres = [wavelength(sum(b) / 2 * (1e9 if max(b) < 1e-3 else 1)) for b in bands]
        found = [replace(c, emission_nm=c.emission_nm or w) for c, w in zip(found, centres, strict=True)]
    return tuple(found)


def _lsm_wavelengths(tracks: object) -> list[tuple[float | None, float | None]]:
    """Return (excitation, emission) of each data channel: the one laser line in use, the detector's band."""
    pairs: list[tuple[float | None, float | None]] = []
    for track in tracks if isinstance(tracks, list) else []:
        if not track.get("Acquire", 1):
            continue
        lines = [
            wavelength(line.get("Wavelength"))
            for line in track.get("IlluminationChannels", [])
            if line.get("Aquire", line.get("Acquire", 1))
        ]
        excitation = lines[0] if len(lines) == 1 else None
        detectors = [d for d in track.get("DetectionChannels", []) if d.get("Acquire", 1)]
        data = [d for d in track.get("DataChannels", []) if d.get("Acquire", 1)]
        for n in range(len(data) or len(detectors)):
            emission = None
            if len(detectors) == (len(data) or len(detectors)):
                low, high = (wavelength(detectors[n].get(f"SpiWavelength{end}")) for end in ("Start", "Stop"))
                emission = (low + high) / 2 if low and high and low < high else None
            pairs.append((excitation, emission))
    return pairs


def scanimage(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the frame data and regions of ScanImage, versions 3 to 2023; None for other files.

    Rates are per second, lengths in micrometres, angles of the scanner in degrees, of which
    ``objectiveResolution`` is the micrometres (ScanImage documentation, "Reference space").
    """
    if not tif.is_scanimage:
        return None
    found = dict(tif.scanimage_metadata or {})
    page = series.keyframe
    data = found.get("FrameData") or _scanimage_text(page.software) or _scanimage_text(page.description)
    # SI.hStackManager.x, scanimage.SI5.x, state.acq.x: the last word is the same in all versions.
    last: dict[str, Any] = {}
    for key, value in data.items():
        last.setdefault(key.rpartition(".")[2], value)
    z = length(last.get("actualStackZStepSize")) or length(_absolute(last.get("stackZStepSize")))
    y, x = _scanimage_pixel(last, found, page)
    epoch = re.search(r"epoch\s*=\s*\[([^\]]+)\]", page.description)
    stamp = _scanimage_epoch(epoch[1]) if epoch else None
    return Found(
        channels=_scanimage_channels(last, sizes.planes),
        size=(z or length(_absolute(last.get("zStepSize"))), y, x),
        t_s=_scanimage_step(last, fast=data.get("SI.hFastZ.enable") in (True, 1)) if sizes.t > 1 else None,
        time_stamps=(stamp,) if stamp and sizes.t == 1 else (),
        sections=as_sections("ScanImage", data),
    )


def _scanimage_text(text: str) -> dict[str, Any]:
    import tifffile

    if "SI" not in text and not text.startswith("state."):
        return {}
    parsed = tifffile.matlabstr2py(text)
    return parsed if isinstance(parsed, dict) else {}


def _absolute(value: object) -> float | None:
    found = number(value)
    return None if found is None else abs(found)


def _scanimage_step(last: Mapping[str, Any], *, fast: bool) -> float | None:
    """Return the seconds between time points: volumes where a piezo moves along z, else frames."""
    volumes = positive(last.get("scanVolumeRate"))
    if volumes and fast:
        return 1 / volumes
    frames = positive(last.get("scanFrameRate")) or positive(last.get("frameRate"))
    averaged = positive(last.get("logAverageFactor")) or 1.0
    return averaged / frames if frames else None


def _scanimage_pixel(
    last: Mapping[str, Any], found: Mapping[str, Any], page: tifffile.TiffPage
) -> tuple[Length | None, Length | None]:
    """Return the pixel size (y, x), where the page is the whole of the only field that was scanned."""
    per_line, lines = number(last.get("pixelsPerLine")), number(last.get("linesPerFrame"))
    corners = last.get("imagingFovUm")
    if isinstance(corners, list) and corners and per_line == page.imagewidth and lines == page.imagelength:
        xs, ys = zip(*corners, strict=True)
        x, y = (max(xs) - min(xs)) / page.imagewidth, (max(ys) - min(ys)) / page.imagelength
        return length(y), length(x)
    regions = found.get("RoiGroups")
    if regions is None and isinstance(page.tags.valueof(315), str):  # Artist, in files of 2016 and later
        regions = json.loads(page.tags.valueof(315)).get("RoiGroups")
    rois = ((regions or {}).get("imagingRoiGroup") or {}).get("rois") or []
    rois = rois if isinstance(rois, list) else [rois]
    fields = rois[0].get("scanfields", []) if len(rois) == 1 else []
    fields = fields if isinstance(fields, list) else [fields]
    per_degree = positive(last.get("objectiveResolution"))
    if len(fields) != 1 or per_degree is None:
        return None, None
    width, height = (positive(n) for n in fields[0]["sizeXY"])
    across, down = fields[0]["pixelResolutionXY"]
    if not width or not height or (across, down) != (page.imagewidth, page.imagelength):
        return None, None
    return length(scaled(height * per_degree, 1 / down)), length(scaled(width * per_degree, 1 / across))


def _scanimage_channels(last: Mapping[str, Any], count: int) -> tuple[Channel, ...]:
    saved = last.get("channelSave", last.get("channelsSave"))
    numbers = _flat(saved) if saved is not None else []
    numbers = numbers or [n for n in range(1, 5) if last.get(f"savingChannel{n}") in (1, True)]
    if len(numbers) != count:
        return ()
    names, limits = last.get("channelName"), last.get("channelLUT")
    channels = []
    for n in numbers:
        at = int(n) - 1
        given = names[at] if isinstance(names, list) and 0 <= at < len(names) else None
        range_ = limits[at] if isinstance(limits, list) and 0 <= at < len(limits) else None
        shown = window(*range_) if isinstance(range_, list) and len(range_) == 2 else None
        channels.append(Channel(text_or_none(given) or f"Channel {int(n)}", window=shown))
    return tuple(channels)


def _flat(value: object) -> list[float]:
    if isinstance(value, list | tuple):
        return [n for part in value for n in _flat(part)]
    found = number(value)
    return [] if found is None else [found]


def _scanimage_epoch(text: str) -> datetime | None:
    parts: Sequence[float | None] = [number(part) for part in re.split(r"[,;\s]+", text.strip())]
    year, month, day, hour, minute, second = [part for part in parts if part is not None]
    whole = datetime(int(year), int(month), int(day), int(hour), int(minute))
    return whole + timedelta(seconds=second)


def fluoview(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the MM_Head structure of Olympus FluoView: size, origin, step and unit of each axis.

    Steps may be negative, where the axis was scanned the other way. An origin of 0 is also what files
    without one have, and unknown.
    """
    if not tif.is_fluoview:
        return None
    data = tif.fluoview_metadata or {}
    size: dict[str, Length | None] = {}
    origin: dict[str, Length | None] = {}
    t_s = None
    for name, _, start, step, unit in data.get("Dimensions", []):
        axis = str(name).lower()
        if axis in ("x", "y", "z"):
            size[axis] = lengths_in(unit, _absolute(step))[0]
            known = space_unit(bare(unit))
            origin[axis] = Length(float(start), known) if number(start) and known else None
        elif axis in ("t", "time") and sizes.t > 1:
            spelled = time_unit(bare(unit) or "s")
            seconds = positive(step)
            t_s = scaled(seconds, TIME_UNITS[spelled]) if seconds and spelled else None
    return Found(
        name=text_or_none(data.get("ImageName")) or "",
        size=(size.get("z"), size.get("y"), size.get("x")),
        origin=(origin.get("z"), origin.get("y"), origin.get("x")),
        t_s=t_s,
        sections=as_sections("FluoView", data),
    )
