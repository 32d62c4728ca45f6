"""Text and numbers out of an Imaris file, in every encoding that writers of it use; nothing here raises.

The vendor writes an attribute as an array of one-character strings, one element a byte, cut at the first NUL.
Others write whole strings, strings of variable length, or numbers. Text is UTF-8, or what the writer's
Windows had. A text over 1024 bytes is a dataset beside the attributes.
"""

from __future__ import annotations

import re
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ngff_convert.readers.hdf5_files import HDF5_ERRORS, Hdf5Files, locate

if TYPE_CHECKING:
    from collections.abc import Mapping

Section = dict[str, str]

MAX_TEXT_BYTES = 2**20

_NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?")
_CONTROL = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}  # XML cannot hold them


def decode_text(raw: bytes) -> str:
    r"""Decode up to the first NUL, without blanks around: UTF-8, else Latin-1, which takes anything.

    Examples
    --------
    >>> decode_text(b"65 \xc2\xb5m\0rest"), decode_text(b"M\xfcller ")
    ('65 µm', 'Müller')
    """
    raw = raw.split(b"\0", 1)[0]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.translate(_CONTROL).strip()


def unescape(name: str) -> str:
    """Return the name that a group or dataset stands for: ``%s`` is a slash, ``%p`` a per cent sign.

    Examples
    --------
    >>> unescape("A%sB 50%p")
    'A/B 50%'
    """
    return re.sub("%[sp]", lambda match: "/" if match[0] == "%s" else "%", name)


def number(text: str | None) -> float | None:
    """Return a number, also with a decimal comma; None for ``nan``, ``-1.#IND``, words and nothing.

    Examples
    --------
    >>> number("0,25"), number(" 1e3 "), number("-1.#IND"), number("")
    (0.25, 1000.0, None, None)
    """
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text.strip().replace(",", "."))
    return value if isfinite(value) else None


def numbers(text: str | None) -> list[float]:
    """Return the numbers that blanks separate; empty if one of them is none."""
    values = [number(word) for word in (text or "").split()]
    return [value for value in values if value is not None] if None not in values else []


def size_zyx(section: Mapping[str, str], prefix: str) -> tuple[int, int, int] | None:
    """Return what ``{prefix}Z``, ``{prefix}Y`` and ``{prefix}X`` state, voxels; None unless all are sizes."""
    sizes = [number(section.get(f"{prefix}{axis}")) for axis in "ZYX"]
    z, y, x = (int(n) if n is not None and n >= 1 and n == int(n) else 0 for n in sizes)
    return (z, y, x) if z and y and x else None


def attributes(owner: Any) -> Section:  # noqa: ANN401 - an h5py group or dataset
    """Return the attributes of an object as text; those that cannot be read are left out."""
    names: list[bytes] = []
    try:
        h5py.h5a.iterate(owner.id, lambda name, *_: names.append(name))
    except HDF5_ERRORS:
        return {}
    found = {decode_text(name): _attribute(owner, name) for name in names}
    return {name: text for name, text in found.items() if text is not None}


def _attribute(owner: Any, name: bytes) -> str | None:  # noqa: ANN401
    try:
        attribute = h5py.h5a.open(owner.id, name)
        dtype = attribute.dtype
        if attribute.shape is None:  # a null dataspace
            return ""
        if prod(attribute.shape) * dtype.itemsize > MAX_TEXT_BYTES:
            return None
        if dtype.kind == "S":  # read as bytes: h5py's own way drops NULs and takes four times as long
            raw = np.empty(attribute.shape, dtype)
            attribute.read(raw)
            return _text(raw)
        return _text(owner.attrs[name])
    except HDF5_ERRORS:
        return None


def _text(value: Any) -> str:  # noqa: ANN401 - whatever h5py makes of it
    if isinstance(value, str):  # h5py keeps bytes that are not UTF-8 as surrogates
        return decode_text(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, bytes):
        return decode_text(value)
    array = np.asarray(value)
    if array.dtype.kind == "S" and (array.size == 1 or array.dtype.itemsize == 1):
        return decode_text(array.tobytes())
    if array.dtype.kind in "SO":
        return " ".join(_text(item) for item in array.ravel().tolist())
    return " ".join(str(item) for item in array.ravel().tolist())


def sections(files: Hdf5Files, path: str, name: str, warnings: list[str]) -> dict[str, Section]:
    """Return the sections of a ``DataSetInfo`` group, names unescaped; empty if there is none.

    Those that are damaged are left out, with a line to `warnings`: pixels may be whole all the same.
    """
    found = {}
    try:
        place = locate(files, path, name)
        if place is None:
            return {}
        with files.using(place.path) as file:
            children = list(file.h5[place.name])
    except HDF5_ERRORS as error:
        warnings.append(f"{name} cannot be read: {error}")
        return {}
    for child in children:
        try:
            section = _section(files, place.path, f"{place.name}/{child}")
        except HDF5_ERRORS as error:
            warnings.append(f"{name}/{child} cannot be read: {error}")
            continue
        if section is not None:
            found[unescape(child)] = section
    return found


def _section(files: Hdf5Files, path: str, name: str) -> Section | None:
    place = locate(files, path, name)
    if place is None:
        return None
    with files.using(place.path) as file:
        group = file.h5[place.name]
        if not isinstance(group, h5py.Group):
            return None
        section = attributes(group)
        for child in group:
            text = _long_text(group, child)
            if text is not None:
                section[unescape(child)] = text
    return section


def _long_text(group: Any, name: str) -> str | None:  # noqa: ANN401
    """Return a text that is a dataset; None for anything else (histograms, tables)."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "SO" or dataset.shape is None:
        return None
    n_bytes = prod(dataset.shape) * dataset.dtype.itemsize
    return _text(dataset[()]) if n_bytes <= MAX_TEXT_BYTES else f"({n_bytes} bytes, left out)"
