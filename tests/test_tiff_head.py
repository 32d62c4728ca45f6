"""The first bytes of a TIFF file: whether it is one, and whether it holds OME-XML."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file, data_names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiffs import READER, Ifd, page, tiff_bytes

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers import tiff_files, tiff_head
from ngff_convert.readers.contract import HEAD_BYTES, LocalBytes
from ngff_convert.readers.tiff_files import TiffFiles
from ngff_convert.readers.tiff_head import HugeTag, holds_ome_xml, huge_tag, is_tiff

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


# -- tags that would take too much memory -------------------------------------------------------------------


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_head, "SMALLEST_HUGE", 1)
    monkeypatch.setattr(tiff_head, "MOST_VALUES", 1000)
    monkeypatch.setattr(tiff_head, "MOST_TEXT", 2000)


def plain(**tags: Any) -> Ifd:
    return page((2, 3), [b"abcdef"], **tags)


def looked_through(path: Path) -> HugeTag | None:
    with closing(LocalBytes(str(path))) as file:
        return huge_tag(file)


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("where", ["first", "last", "sub-page", "page of many tags"])
@pytest.mark.parametrize(
    ("tag", "is_huge"),
    [
        (("H", [7] * 1001), True),
        (("H", [7] * 1000), False),
        (("s", [b"x" * 2001]), True),
        (("s", [b"x" * 2000]), False),
    ],
)
def test_a_tag_of_too_many_values_is_found(
    tmp_path: Path, order: str, big: bool, where: str, tag: tuple[str, list[Any]], is_huge: bool
) -> None:
    pages = [plain() for _ in range(200)]  # several windows
    many = {f"t{code}": ("H", [1]) for code in range(50_000, 50_600)} if where.endswith("tags") else {}
    odd = plain(t65000=tag, **many)
    if where == "first":
        pages.insert(0, odd)
    elif where == "sub-page":
        pages[150].subs += [plain(), odd]
    else:
        pages.append(odd)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(pages, order, big=big))
    huge = looked_through(path)
    assert (huge is not None) is is_huge
    if huge is not None:
        n_values = len(tag[1][0]) if tag[0] == "s" else len(tag[1])
        assert huge[:2] == (65000, n_values)


@pytest.mark.usefixtures("low_limits")
def test_a_tag_that_nobody_asks_for_may_be_huge(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    layers = b"x" * 2**20  # as Photoshop keeps them
    path.write_bytes(tiff_bytes([plain(t34377=("s", [layers]), t37724=("s", [layers]))]))
    with READER.open(str(path)) as source:
        np.testing.assert_array_equal(
            source.images[0].pixels[...].reshape(2, 3), [[97, 98, 99], [100, 101, 102]]
        )
    path.write_bytes(tiff_bytes([plain(t37725=("s", [layers]))]))
    with pytest.raises(UnsupportedInput, match=r"tag 37725 of the page at byte \d+ has 1048576 values"):
        READER.open(str(path))


@pytest.mark.parametrize("n_bytes", [6, 9000], ids=["pages close together", "pages far apart"])
def test_a_page_takes_one_read_or_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setattr(tiff_head, "SMALLEST_HUGE", 1)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes([page((1, n_bytes), [bytes(n_bytes)]) for _ in range(300)]))
    n_reads = 0
    pread = os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        nonlocal n_reads
        n_reads += 1
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert looked_through(path) is None
    assert n_reads <= (302 if n_bytes > tiff_head.WINDOW_BYTES else 30)


def test_a_file_is_looked_through_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes([plain()]))
    looked: list[int] = []
    monkeypatch.setattr(tiff_files, "huge_tag", lambda file: looked.append(file.size))
    files = TiffFiles()
    for _ in range(3):
        files.open_file(str(path)).close()
    assert len(looked) == 1
    os.utime(path, ns=(1, 1))
    files.open_file(str(path)).close()
    assert len(looked) == 2
    monkeypatch.setattr(tiff_files, "huge_tag", lambda file: HugeTag(1, 2, 3))
    os.utime(path, ns=(2, 2))
    for _ in range(2):  # what was refused is refused again
        with pytest.raises(UnsupportedInput):
            files.open_file(str(path))
