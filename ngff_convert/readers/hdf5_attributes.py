"""Attributes of HDF5 objects as text.

Writers have them as whole strings, of fixed or variable length, as arrays of one-character strings, cut at
the first NUL, or as numbers. Text is UTF-8, or what the writer's Windows had.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ngff_convert.readers.hdf5_files import HDF5_ERRORS, name_bytes

if TYPE_CHECKING:
    from ngff_convert.readers.hdf5_files import Hdf5Files

MAX_TEXT_BYTES = 2**20
"""Longer texts are left out."""

_IS_TEXT = 3
"""Byte of an encoded type of variable length that says which of the two it is."""

_CONTROL = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}  # XML cannot hold them


def attributes(files: Hdf5Files, owner: Any) -> dict[str, str]:  # noqa: ANN401 - an h5py group or dataset
    """Return the attributes of an object in one of some files as text; what cannot be read is left out."""
    names: list[bytes] = []
    try:
        h5py.h5a.iterate(owner.id, lambda name, *_: names.append(name))
    except HDF5_ERRORS:
        return {}
    found = {decode_text(name): _attribute(files, owner, name) for name in names}
    return {name: text for name, text in found.items() if text is not None}


def _attribute(files: Hdf5Files, owner: Any, name: bytes) -> str | None:  # noqa: ANN401
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
            return text_of(raw)
        if not dtype.hasobject:
            return text_of(owner.attrs[name])
        return text_of(of_variable_length(files, owner, name))
    except HDF5_ERRORS:
        return None


def of_variable_length(files: Hdf5Files, owner: Any, name: bytes) -> Any:  # noqa: ANN401
    """Return an attribute that is a text or a list of variable length, as h5py makes it.

    Raises
    ------
    TypeError
        It is something else.
    """
    kind = h5py.h5a.open(owner.id, name).get_type()
    while isinstance(kind, h5py.h5t.TypeVlenID):
        if kind.encode()[_IS_TEXT] & 15:  # neither is it a text: HDF5 has no function for it, and calls it
            raise TypeError(f"{name!r}: neither a list nor a text")
        kind = kind.get_super()
    if isinstance(kind, h5py.h5t.TypeCompoundID | h5py.h5t.TypeArrayID):
        raise TypeError(f"{name!r}: of several parts")
    with files.checked(owner) as same:
        return same.attrs[name]


def text_of(value: Any) -> str:  # noqa: ANN401 - whatever h5py makes of it
    """Return a value that h5py read; several are joined by blanks."""
    if isinstance(value, str):  # h5py keeps bytes that are not UTF-8 as surrogates
        return decode_text(name_bytes(value))
    if isinstance(value, bytes):
        return decode_text(value)
    array = np.asarray(value)
    if array.dtype.kind == "S" and (array.size == 1 or array.dtype.itemsize == 1):
        return decode_text(array.tobytes())
    if array.dtype.kind in "SO":
        return " ".join(text_of(item) for item in array.ravel().tolist())
    return " ".join(str(item) for item in array.ravel().tolist())


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
