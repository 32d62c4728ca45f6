"""What the XML of BigDataViewer says: the views of a file, their sizes, and where they are; opens no file.

See https://imagej.net/plugins/bdv for the format. A view is a setup at a time point; a setup is a channel,
tile, angle or illumination. Numbers are in the order x, y, z, and turned round here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import UNKNOWN, Calibration, MaybeTriple
from ngff_convert.readers.ome_elements import tree_of
from ngff_convert.units import space_unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray

UNCALIBRATED = Calibration()

HDF5_LOADER = "bdv.hdf5"

ROOT = b"<SpimData"

MAX_TIMES = 1_000_000
"""More time points than this are a damaged file."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One setup.

    Attributes
    ----------
    number
        As its groups have it: 3 of ``s03``.
    name
        What it is called.
    calibration
        Voxel size, and where its first voxel is.
    remark
        What of its place could not be taken over; empty for nothing.
    """

    number: int
    name: str
    calibration: Calibration = UNCALIBRATED
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Views:
    """All that is said.

    Attributes
    ----------
    file
        The HDF5 file, as the XML spells it.
    times
        The numbers of the time points, in their order.
    setups
        Every setup.
    missing
        Pairs of a time point and a setup that were never taken.
    """

    file: str
    times: tuple[int, ...]
    setups: tuple[Setup, ...]
    missing: frozenset[tuple[int, int]]


def views(text: str, where: str) -> Views:
    """Return what an XML of BigDataViewer says.

    Raises
    ------
    ReadError
        It is damaged, or lacks what there has to be.
    UnsupportedInput
        Its pixels are not in HDF5.
    """
    root = tree_of(text, where)
    loader = root.find("SequenceDescription/ImageLoader")
    if root.tag != "SpimData" or loader is None:
        raise ReadError(f"{where}: no XML of BigDataViewer: it has no ImageLoader")
    kind = loader.get("format") or "no name"
    if kind != HDF5_LOADER:
        raise UnsupportedInput(
            f"{where}: its pixels are for the image loader {kind}; only {HDF5_LOADER} is read: save it again "
            "as HDF5 with BigDataViewer"
        )
    try:
        times = _times(root)
        registered = _registered(root)
        found = [_setup(one, registered) for one in root.findall("SequenceDescription/ViewSetups/ViewSetup")]
        pairs = [
            (int(one.get("timepoint", "")), int(one.get("setup", "")))
            for one in root.findall("SequenceDescription/MissingViews/MissingView")
        ]
    except (ValueError, TypeError, OverflowError) as error:
        raise ReadError(f"{where}: is damaged: {error}") from error
    file = (loader.findtext("hdf5") or "").strip()
    if not found or not times or not file:
        raise ReadError(f"{where}: names no views, no time points or no HDF5 file; is it whole?")
    return Views(file, times, tuple(found), frozenset(pairs))


def _times(root: Element) -> tuple[int, ...]:
    element = root.find("SequenceDescription/Timepoints")
    if element is None:
        return (0,)
    first, last = element.findtext("first"), element.findtext("last")
    if first is not None and last is not None:
        if not 0 <= int(last) - int(first) < MAX_TIMES:
            raise ValueError(f"time points {first} to {last}")
        return tuple(range(int(first), int(last) + 1))
    pattern = (element.findtext("integerpattern") or "0").split(",")
    times: list[int] = []
    for part in pattern:
        ends, _, step = part.partition(":")
        low, _, high = ends.partition("-")
        if int(high or low) - int(low) >= MAX_TIMES:
            raise ValueError(f"time points {part}")
        times += range(int(low), int(high or low) + 1, int(step or 1))
    return tuple(dict.fromkeys(times))


def _registered(root: Element) -> dict[int, list[NDArray[np.float64]]]:
    """Return for each setup what takes its voxels to the world, time point by time point (3 x 4, x y z)."""
    found: dict[int, list[NDArray[np.float64]]] = {}
    for view in root.findall("ViewRegistrations/ViewRegistration"):
        whole = np.eye(4)
        for affine in view.findall("ViewTransform/affine"):
            numbers = [float(word) for word in (affine.text or "").split()]
            whole = whole @ np.vstack([np.array(numbers).reshape(3, 4), [0, 0, 0, 1]])
        found.setdefault(int(view.get("setup", "")), []).append(whole[:3])
    return found


def _setup(element: Element, registered: dict[int, list[NDArray[np.float64]]]) -> Setup:
    number = int(element.findtext("id") or "")
    name = (element.findtext("name") or "").strip() or f"setup {number}"
    stated = element.findtext("voxelSize/unit") or ""
    sizes = [float(word) for word in (element.findtext("voxelSize/size") or "").split()]
    if len(sizes) != 3 or not all(np.isfinite(sizes)) or min(sizes) <= 0:
        return Setup(number, name)
    unit = space_unit(stated)
    if stated.strip().lower() in ("", "pixel", "pixels", "px") and sizes == [1.0] * 3:
        return Setup(number, name)  # nobody calibrated it
    origin, remark = _origin(sizes, registered.get(number, []))
    return Setup(number, name, Calibration(tuple(sizes[::-1]), unit, None, origin), remark)


def _origin(sizes: Sequence[float], affines: Sequence[NDArray[np.float64]]) -> tuple[MaybeTriple, str]:
    """Return where the first voxel is, (z, y, x) in the unit of `sizes`, or why that cannot be said.

    The world of a registration has a unit of its own, often a voxel along x: it is told by how large a voxel
    is there and how large the setup says that it is.
    """
    if not affines:
        return UNKNOWN, ""
    one = affines[0]
    if any(not np.allclose(one, other) for other in affines):
        return UNKNOWN, "its place is another at each time point: it is left out"
    scale = np.diag(one)
    if not np.isfinite(one).all() or not np.allclose(one[:, :3], np.diag(scale)) or (scale <= 0).any():
        return UNKNOWN, "its registration is more than a size and a place: it is left out"
    in_unit = np.array(sizes) / scale
    if not np.allclose(in_unit, in_unit[0], rtol=1e-3):
        return UNKNOWN, "its registration has other sizes than its voxels: its place is left out"
    place = [float(f"{at:.12g}") + 0.0 for at in one[:, 3] * in_unit[0]]
    return (place[2], place[1], place[0]), ""
