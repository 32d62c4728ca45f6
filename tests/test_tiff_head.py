"""The first bytes of a TIFF file: whether it is one, and whether it holds OME-XML."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file, data_names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiffs import READER, page, tiff_bytes

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.contract import HEAD_BYTES
from ngff_convert.readers.tiff_head import holds_ome_xml, is_tiff

if TYPE_CHECKING:
    from pathlib import Path


def head_of(path: Path) -> bytes:
    return path.read_bytes()[:HEAD_BYTES]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize(
    ("text", "is_ome"),
    [
        (b"<OME>...</OME>\0", True),
        (b"<?xml?><ome:OME>...</ome:OME>\r\n \0\0", True),
        (b"OME>", True),
        (b"<OME>...</OME> and more\0", False),
        (b"ImageJ=1.53\n\0", False),
        (b"x\0", False),
        (b"", False),
        (None, False),
    ],
)
def test_ome_xml_is_seen_by_its_end(
    tmp_path: Path,
    order: str,
    big: bool,
    text: bytes | None,
    is_ome: bool,
) -> None:
    path = tmp_path / "a.tif"
    more: dict[str, Any] = {} if text is None else {"t270": ("s", [text])}
    path.write_bytes(tiff_bytes([page((2, 3), [b"abcdef"], **more)], order, big=big))
    head = head_of(path)
    assert is_tiff(head)
    assert holds_ome_xml(str(path), head) is is_ome
    assert READER.can_read(str(path), head) is not is_ome


def test_a_description_far_from_the_head_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.zeros((300, 300), "u2")
    tifffile.imwrite(path, pixels, description="<OME>" + "x" * 99999 + "</OME>", metadata=None)
    assert holds_ome_xml(str(path), head_of(path))


@pytest.mark.parametrize("name", data_names("tiff/*.tif*") + data_names("ome*/**/*.ome.tif*"))
def test_real_files(name: str) -> None:
    path = data_file(name)
    if path.suffix == ".json":
        return
    with tifffile.TiffFile(path) as tif:
        assert holds_ome_xml(str(path), head_of(path)) is bool(tif.is_ome)


@pytest.mark.parametrize("head", [b"", b"II", b"II*", b"MM*\0", b"II\0*", b"EP*\0", b"\x89HDF", b"II-\0"])
def test_what_is_no_tiff(head: bytes) -> None:
    assert not is_tiff(head)
    assert not holds_ome_xml("nowhere.tif", head)
    assert not READER.can_read("nowhere.tif", head)


def test_what_cannot_be_looked_at_holds_no_ome_xml(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    whole = tiff_bytes([page((2, 3), [b"abcdef"])])
    for path in (tmp_path / "none.tif", tmp_path, tmp_path / "pipe.tif"):
        assert not holds_ome_xml(str(path), whole)


WHOLE = tiff_bytes([page((2, 3), [b"abcdef"], t270=("s", [b"<OME></OME>\0"]))])


@given(cut=st.integers(0, len(WHOLE)), flips=st.lists(st.tuples(st.integers(4, 400), st.integers(0, 255))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_never_raises(tmp_path: Path, cut: int, flips: list[tuple[int, int]]) -> None:
    stored = bytearray(WHOLE[:cut])
    for at, value in flips:
        if at < len(stored):
            stored[at] = value
    path = tmp_path / "a.tif"
    path.write_bytes(stored)
    assert isinstance(READER.can_read(str(path), bytes(stored)), bool)
    said = ""
    try:
        with READER.open(str(path)) as source:
            for image in source.images:
                image.pixels[..., :2, :2]
    except (ReadError, UnsupportedInput) as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("offset", [2**32 - 1, 2**64 - 1, 2**63])
def test_offsets_beyond_any_file(tmp_path: Path, offset: int) -> None:
    big = offset >= 2**32
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, offset) if big else struct.pack("<2sHI", b"II", 42, offset)
    path = tmp_path / "a.tif"
    path.write_bytes(head)
    assert READER.can_read(str(path), head)
    with pytest.raises(ReadError, match=r"a\.tif"):
        READER.open(str(path))


def test_what_is_no_tiff_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no TIFF")
    (tmp_path / "empty.tif").touch()
    os.mkfifo(tmp_path / "pipe.tif")
    for name, kind, words in (
        ("none.tif", ReadError, "No such file"),
        ("empty.tif", ReadError, r"is empty \(0 bytes\)"),
        ("pipe.tif", ReadError, "is a pipe"),
        (".", UnsupportedInput, "is a folder"),
        ("text.tif", UnsupportedInput, "not a TIFF file: it does not begin as one"),
    ):
        with pytest.raises(kind, match=words):
            READER.open(str(tmp_path / name))


def test_looking_at_files_imports_nothing_heavy() -> None:
    program = (
        "import sys; from ngff_convert.readers.tiff import TiffReader\n"
        "assert TiffReader().can_read('x.tif', b'II*\\0' * 9)\n"
        "sys.exit(any(m in sys.modules for m in ('tifffile', 'numpy', 'imagecodecs')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
