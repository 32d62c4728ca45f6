"""Files made to do harm: never read or write where it should not be, never take all memory or time, one line.

Every case runs the command in a process of its own with limits of memory and time.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import ome_tiffs
import pytest
import tifffile
import tiffs
from stores import levels

from ngff_convert.cli import main
from ngff_convert.testing import coded_pixels, write_ims

MARKER = b"MARKER-OF-A-SECRET"
PIXELS = np.frombuffer((MARKER * 20)[: 4 * 8 * 10], np.uint8).reshape(4, 8, 10)
"""What lies outside, as pixels."""

GROUP = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"
PLAIN = ("--compressor", "none", "--quiet")

PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from ngff_convert.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*words: str | Path, code: int) -> str:
    """Run the command with limits; return what it says, which is one line where it fails."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    result = subprocess.run(command, capture_output=True, check=False, timeout=100, stdin=subprocess.DEVNULL)
    said = result.stderr.decode(errors="replace")
    assert result.returncode == code, said
    assert code == 0 or said.count("\n") == 1, said
    return said


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(source: Path, code: int, words: str) -> None:
    """Make sure that a file is refused, and nothing is left but what was there."""
    before = sorted(source.parent.rglob("*"))
    said = run(source, source.parent / "out", *PLAIN, code=code)
    assert words in said
    assert sorted(source.parent.rglob("*")) == before


def converted(source: Path, *, said: str = "") -> None:
    """Make sure that a file is converted, and that nothing that is outside got into the output."""
    target = source.parent / "out"
    text = run(source, target, "--compressor", "none", code=0)
    assert said in text
    files = [path for path in target.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if MARKER in path.read_bytes()]


def imaris(folder: Path, name: str = "in.ims") -> Path:
    """Write a file that is good but for what is done to it next."""
    folder.mkdir(exist_ok=True)
    write_ims(folder / name, coded_pixels((1, 1, 4, 8, 10), "uint8"), chunks=(4, 8, 10), filters={})
    return folder / name


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return an HDF5 file with the marker in its pixels and texts, outside the folder of the input."""
    path = tmp_path / "outside.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("Channel 0")
        group["Data"] = PIXELS
        text = np.frombuffer(MARKER, "S1")
        info = file.create_group("Image")
        info.attrs["Name"] = text
        info.attrs["Description"] = text
        info["Log"] = text
    return path


# HDF5


@pytest.mark.parametrize("spelt", ["../outside.h5", "{}/outside.h5", "..\\outside.h5", "../in/../outside.h5"])
@pytest.mark.parametrize("what", [GROUP, f"{GROUP}/Data", "DataSet/ResolutionLevel 0/TimePoint 0", "DataSet"])
def test_pixels_outside_the_folder_are_not_read(
    tmp_path: Path, outside: Path, spelt: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = imaris(tmp_path / "in")
    with h5py.File(path, "r+") as file:
        del file[what]
        file[what] = h5py.ExternalLink(spelt.format(tmp_path), "/Channel 0")
    assert outside.exists()
    assert main([str(path), str(tmp_path / "in/out")]) in (3, 4)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "outside the input's folder" in said or what == "DataSet"
    assert [path.name for path in path.parent.iterdir()] == ["in.ims"]


def test_texts_outside_the_folder_are_not_read(tmp_path: Path, outside: Path) -> None:
    path = imaris(tmp_path / "in")
    with h5py.File(path, "r+") as file:
        del file["DataSetInfo/Image"]
        file["DataSetInfo/Image"] = h5py.ExternalLink("../outside.h5", "/Image")
        file["DataSetInfo/Log"] = h5py.ExternalLink(str(outside), "/Image")
        file["DataSetInfo/TimeInfo/Text"] = h5py.ExternalLink(str(outside), "/Image/Log")
    converted(path, said="outside the input's folder")


@pytest.mark.parametrize("name", ["../raw", "{}/raw"])
def test_raw_files_outside_the_folder_are_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "raw").write_bytes(PIXELS.tobytes())
    path = imaris(tmp_path / "in")
    raw = [(str(tmp_path / "in" / name.format(tmp_path)), 0, PIXELS.size)]
    with h5py.File(path, "r+") as file:
        del file[f"{GROUP}/Data"]
        file[GROUP].create_dataset("Data", PIXELS.shape, "u1", external=raw)
    refused(path, 3, "outside the input's folder")


def test_texts_in_raw_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(MARKER)
    path = imaris(tmp_path / "in")
    raw = [(str(tmp_path / "raw"), 0, len(MARKER))]
    with h5py.File(path, "r+") as file:
        file["DataSetInfo/Image"].create_dataset("Description", (1,), f"S{len(MARKER)}", external=raw)
        file["DataSetInfo/Image"].create_dataset("Log", (len(MARKER),), "S1", external=raw)
    converted(path)
    assert "kept in another file, left out" in (tmp_path / "in/out/OME/METADATA.ome.xml").read_text()


def virtual(path: Path, name: str, inner: str) -> None:
    layout = h5py.VirtualLayout(PIXELS.shape, "u1")
    layout[...] = h5py.VirtualSource(name, inner, PIXELS.shape)
    with h5py.File(path, "r+") as file:
        del file[f"{GROUP}/Data"]
        file[GROUP].create_virtual_dataset("Data", layout)


def test_virtual_datasets_of_the_same_folder_are_read(tmp_path: Path) -> None:
    path = imaris(tmp_path / "in")
    with h5py.File(tmp_path / "in/part.h5", "w") as file:
        file["a"] = PIXELS
    virtual(path, "part.h5", "a")
    run(path, tmp_path / "out", code=0)
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0][0], PIXELS)


@pytest.mark.parametrize(
    ("name", "inner", "code", "words"),
    [
        ("{}/outside.h5", "Channel 0/Data", 3, "outside the input's folder"),
        ("../outside.h5", "Channel 0/Data", 3, "outside the input's folder"),
        ("gone.h5", "a", 3, "gone.h5, which is missing"),
        ("pipe.h5", "a", 3, "is a pipe"),
        (".", f"/{GROUP}/Data", 4, "made of others again"),
        ("link.h5", "linked", 3, "outside the input's folder"),
        ("link.h5", "raw", 3, "outside the input's folder"),
        ("link.h5", "soft", 3, "circle of links"),
    ],
)
def test_virtual_datasets_that_lead_elsewhere(
    tmp_path: Path, outside: Path, name: str, inner: str, code: int, words: str
) -> None:
    path = imaris(tmp_path / "in")
    os.mkfifo(tmp_path / "in/pipe.h5")
    with h5py.File(tmp_path / "in/link.h5", "w") as file:
        file["linked"] = h5py.ExternalLink(str(outside), "/Channel 0/Data")
        file["soft"] = h5py.SoftLink("/soft")
        file.create_dataset("raw", PIXELS.shape, "u1", external=[(str(outside), 0, PIXELS.size)])
    virtual(path, name.format(tmp_path), inner)
    refused(path, code, words)


def test_two_files_that_link_to_each_other(tmp_path: Path) -> None:
    path = imaris(tmp_path / "in")
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "in/other.h5", "w") as other:
        del file[GROUP]
        file[GROUP] = h5py.ExternalLink("other.h5", "/back")
        other["back"] = h5py.ExternalLink("in.ims", f"/{GROUP}")
    refused(path, 3, "circle of links")


def test_a_histogram_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = imaris(tmp_path / "in")
    os.mkfifo(tmp_path / "in/pipe.h5")
    with h5py.File(path, "r+") as file:
        del file[f"{GROUP}/Histogram"]
        file[f"{GROUP}/Histogram"] = h5py.ExternalLink("pipe.h5", "/a")
        file["DataSetInfo/Image/Text"] = h5py.ExternalLink("pipe.h5", "/a")
        file["DataSetInfo/Pipe"] = h5py.ExternalLink("pipe.h5", "/a")
    converted(path, said="is a pipe")


def test_a_group_that_holds_itself(tmp_path: Path) -> None:
    path = imaris(tmp_path / "in")
    with h5py.File(path, "r+") as file:
        file["DataSetInfo/Image/Again"] = file["DataSetInfo/Image"]
        file["DataSetInfo/DataSetInfo"] = file["DataSetInfo"]
        file[f"{GROUP}/Channel 0"] = file[GROUP]
        file["DataSet/ResolutionLevel 0/TimePoint 1"] = file["DataSet"]
    run(path, tmp_path / "out", "--on-error", "fill", code=0)


# XML


def with_entity(uri: str, *, parameter: bool = False) -> str:
    pixels = ome_tiffs.coded()
    named = ome_tiffs.image(pixels, before="<Description>&secret;</Description>")
    entity = f'<!ENTITY % p SYSTEM "{uri}"> %p;' if parameter else f'<!ENTITY secret SYSTEM "{uri}">'
    return ome_tiffs.document(named).replace("<OME", f"<!DOCTYPE OME [{entity}]><OME", 1)


@pytest.mark.parametrize("parameter", [False, True])
@pytest.mark.parametrize(
    "uri", ["file://{}/secret.txt", "{}/secret.txt", "http://127.0.0.1:9/x", "file://{}/pipe"]
)
def test_entities_of_other_files_are_not_read(tmp_path: Path, uri: str, parameter: bool) -> None:
    (tmp_path / "secret.txt").write_bytes(MARKER)
    os.mkfifo(tmp_path / "pipe")
    folder = tmp_path / "in"
    folder.mkdir()
    xml = with_entity(uri.format(tmp_path), parameter=parameter)
    path = ome_tiffs.write(folder / "a.ome.tif", ome_tiffs.pages_of(ome_tiffs.coded()), xml)
    converted(path, said="DOCTYPE")
    (folder / "a.companion.ome").write_text(xml)
    run(folder / "a.companion.ome", tmp_path / "out", code=3)


@pytest.mark.parametrize(
    ("encoding", "code"), [("utf-16", 4), ("utf-16-be", 4), ("utf-7", 3), ("utf-8-sig", 3)]
)
def test_entities_in_other_encodings(tmp_path: Path, encoding: str, code: int) -> None:
    (tmp_path / "secret.txt").write_bytes(MARKER)
    xml = with_entity(f"file://{tmp_path}/secret.txt").replace('encoding="UTF-8"', f'encoding="{encoding}"')
    (tmp_path / "a.companion.ome").write_bytes(xml.encode(encoding))
    said = run(tmp_path / "a.companion.ome", tmp_path / "out", "--reader", "ome-tiff", code=code)
    assert MARKER.decode() not in said


def test_xinclude_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(MARKER)
    folder = tmp_path / "in"
    folder.mkdir()
    include = (
        f'<Description><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" '
        f'href="file://{tmp_path}/secret.txt" parse="text"/></Description>'
    )
    pixels = ome_tiffs.coded()
    xml = ome_tiffs.document(ome_tiffs.image(pixels, before=include))
    converted(ome_tiffs.write(folder / "a.ome.tif", ome_tiffs.pages_of(pixels), xml))


@pytest.mark.parametrize("shape", ["text", "attribute", "depth", "breadth"])
def test_huge_documents(tmp_path: Path, shape: str) -> None:
    before = {
        "text": f"<Description>{'long ' * 10**7}</Description>",
        "attribute": f'<Description Long="{"long " * 10**7}"/>',
        "depth": "<Description>" * 10**5 + "</Description>" * 10**5,
        "breadth": "<Description/>" * 10**6,
    }[shape]
    pixels = ome_tiffs.coded()
    xml = ome_tiffs.document(ome_tiffs.image(pixels, before=before))
    path = ome_tiffs.write(tmp_path / "a.ome.tif", ome_tiffs.pages_of(pixels), xml)
    converted(path)
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], pixels[0])


# TIFF


def test_sub_pages_in_a_circle(tmp_path: Path) -> None:
    pages = [tiffs.page((16, 16), [bytes(256)])]
    first = struct.unpack_from("<I", tiffs.tiff_bytes(pages), 4)[0]
    for offsets in ([first], [first, first], [8], [2**31]):
        pages[0].tags[tiffs.SUB_IFDS] = ("I", offsets)
        (tmp_path / "a.tif").write_bytes(tiffs.tiff_bytes(pages))
        for words in ((), ("--pyramid", "native")):
            target = tmp_path / "out"
            code = 0 if not words else 2
            run(tmp_path / "a.tif", target, "--overwrite", *words, code=code)


@pytest.mark.parametrize("offset", [2**60, 2**63 - 1, 2**64 - 1, 7, 80])
def test_a_header_that_leads_nowhere(tmp_path: Path, offset: int) -> None:
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, offset) + bytes(64))
    refused(tmp_path / "a.tif", 3, "a.tif")


ABSURD = [(code, 16, 1, 2**60) for code in (256, 257, 258, 259, 273, 277, 278, 279, 317)]
ABSURD += [(code, 16, 2**60, 16) for code in (273, 279, 330)]
ABSURD += [(270, 2, 2**60, 16), (34377, 1, 2**60, 16)]


@pytest.mark.parametrize("tag", ABSURD)
def test_tags_of_absurd_values(tmp_path: Path, tag: tuple[int, int, int, int]) -> None:
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {273: (16, 1, 16), 277: (3, 1, 1), 278: (4, 1, 8), 279: (16, 1, 64), tag[0]: tag[1:]}
    entries = b"".join(struct.pack("<HHQQ", code, *value) for code, value in sorted(tags.items()))
    data = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 80) + bytes(64)
    (tmp_path / "a.tif").write_bytes(data + struct.pack("<Q", len(tags)) + entries + bytes(8))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "a.tif"), str(tmp_path / "out"), "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert result.returncode in (0, 3, 4, 7), result.stderr
    assert result.stderr.count("\n") <= 1


@pytest.mark.parametrize(
    ("code", "kind"), [(273, 16), (324, 16), (270, 2), (65000, 1), (330, 16), (34665, 13)]
)
def test_a_tag_as_large_as_a_file_of_holes(tmp_path: Path, code: int, kind: int) -> None:
    size = 2**33
    tags = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {273: (16, 1, 16), 277: (3, 1, 1), 278: (4, 1, 8), 279: (16, 1, 64)}
    tags[code] = (kind, size // {16: 8, 13: 4}.get(kind, 1) - 100, 500)
    entries = b"".join(struct.pack("<HHQQ", number, *value) for number, value in sorted(tags.items()))
    data = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 80) + bytes(64) + struct.pack("<Q", len(tags)) + entries
    (tmp_path / "a.tif").write_bytes(data + bytes(8))
    os.truncate(tmp_path / "a.tif", size)
    refused(tmp_path / "a.tif", 4, f"tag {code}")


@pytest.mark.parametrize("name", ["../secret.tif", "{}/secret.tif", "pipe.tif"])
def test_an_index_of_micro_manager_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    plane = np.arange(80, dtype=np.uint8).reshape(8, 10)
    tifffile.imwrite(tmp_path / "secret.tif", PIXELS[0])
    os.mkfifo(folder / "pipe.tif")
    # What NDTiff begins with: the header of a TIFF, its magic number and version, and a summary in JSON.
    summary = b'{"a": 1}'
    shifted = 28 + len(summary)  # bytes before the pixels
    tags = [(256, 4, 1, 10), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, shifted), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 80), (51123, 2, 8, 28)]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    head = struct.pack("<2sHI5I", b"II", 42, shifted + 80, 483729, 3, 0, 2355492, len(summary))
    (folder / "a_NDTiffStack.tif").write_bytes(head + summary + plane.tobytes() + ifd)
    index = b""
    for number, member in enumerate(("a_NDTiffStack.tif", name.format(tmp_path))):
        axes = json.dumps({"time": number}).encode()
        index += struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(member)) + member.encode()
        index += struct.pack("<IiiiiIii", shifted, 10, 8, 0, 0, 0, 0, 0)
    (folder / "NDTiff.index").write_bytes(index)
    said = run(folder / "a_NDTiffStack.tif", tmp_path / "out", *PLAIN, code=3)
    assert "leads out of its folder" in said or "is a pipe" in said


def test_a_summary_of_micro_manager_that_states_endless_planes(tmp_path: Path) -> None:
    summary = {"Frames": 10**9, "Channels": 1, "Slices": 1}
    planes = [np.zeros((8, 10), np.uint16)]
    path = tiffs.micro_manager_stack(tmp_path / "a_MMStack_0.tif", planes, [(0, 0, 0)], summary)
    tiffs.micro_manager_stack(tmp_path / "a_MMStack_1.tif", planes, [(1, 0, 0)], summary)
    refused(path, 3, "1000000000 planes")


def test_a_member_of_a_set_that_is_a_pipe_or_a_device(tmp_path: Path) -> None:
    pixels = ome_tiffs.coded(t=2)
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "zero.tif").symlink_to("/dev/zero")
    inner = ome_tiffs.data("pipe.tif", "1", FirstT=0) + ome_tiffs.data("zero.tif", "2", FirstT=1)
    (tmp_path / "a.companion.ome").write_text(ome_tiffs.document(ome_tiffs.image(pixels, inner)))
    refused(tmp_path / "a.companion.ome", 3, "2 of 3 files of the set are missing")


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/stdin", "loop", "..", "\0", "a" * 5000])
def test_a_list_of_what_are_no_files(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "list.txt").write_text(f"{name}\n")
    said = run("--files-from", tmp_path / "list.txt", tmp_path / "list.txt", tmp_path / "out", code=3)
    assert "no file" in said


# Places and names


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/loop.tif").symlink_to("loop.tif")
    (tmp_path / "in/up").symlink_to("..")
    tifffile.imwrite(tmp_path / "in/a.tif", PIXELS, photometric="minisblack")
    for source in (tmp_path / "loop", tmp_path / "loop/a.tif", tmp_path / "in/loop.tif"):
        run(source, tmp_path / "out", code=3)
    run(tmp_path / "in/a.tif", tmp_path / "loop", code=5)
    run(tmp_path / "in", tmp_path / "out", "--quiet", code=0)
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0][0], PIXELS)


NAMES = [
    "a b",
    "a#b",
    "a%20b",
    "a?b=c",
    "-a",
    "--help",
    "a\nb",
    "a\tb",
    "{a}",
    "*",
    "~",
    "$HOME",
    "a;b",
    "\x1b[31m",
]
NAMES += [unicodedata.normalize(form, "M\u00fcll\u00e9r \u00b5m") for form in ("NFC", "NFD")]
NAMES += ["\u65e5\u672c", "\N{MICROSCOPE}", "'\"", "a" * 251, "..a", "a."]
"""A backslash is not among them: zarr-python, which reads the outputs here, takes it for a slash."""


@pytest.mark.parametrize("name", NAMES)
def test_names_of_inputs_and_outputs(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / f"{name}.tif", PIXELS, photometric="minisblack")
    monkeypatch.chdir(tmp_path / "in")
    target = name[:240]
    assert main(["convert", "--quiet", "--", f"{name}.tif", target]) == 0
    assert main(["convert", "--quiet", str(tmp_path / "in" / f"{name}.tif"), str(tmp_path / target)]) == 0
    for folder in (tmp_path / "in", tmp_path):
        np.testing.assert_array_equal(levels(folder / target, "0.5")[0][0], PIXELS)
    assert listed(tmp_path / "in") == sorted({f"{name}.tif", target})
    assert listed(tmp_path) == sorted({"in", target})


@pytest.mark.parametrize("name", ["a\nb.tif", "\x1b[31mred.tif", "a\rb.tif"])
def test_a_message_is_one_line_whatever_the_name(tmp_path: Path, name: str) -> None:
    said = run(tmp_path / name, tmp_path / "out", code=3)
    assert "\x1b" not in said
    assert "\r" not in said


def test_an_output_whose_name_is_as_long_as_can_be(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="minisblack")
    for name in ("o" * 255, "\u00fc" * 127):
        assert main([str(tmp_path / "a.tif"), str(tmp_path / name), "--quiet"]) == 0
        assert main([str(tmp_path / "a.tif"), str(tmp_path / name), "--quiet", "--overwrite"]) == 0
        np.testing.assert_array_equal(levels(tmp_path / name, "0.5")[0][0], PIXELS)
    assert len(listed(tmp_path)) == 3


def test_an_output_whose_name_is_too_long(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="minisblack")
    said = run(tmp_path / "a.tif", tmp_path / ("o" * 300), code=6)
    assert "File name too long" in said
    assert listed(tmp_path) == ["a.tif"]


def test_an_input_is_never_an_output(tmp_path: Path) -> None:
    path = tmp_path / "in/deep/a.tif"
    path.parent.mkdir(parents=True)
    tifffile.imwrite(path, PIXELS, photometric="minisblack")
    before = path.read_bytes()
    for target in (path, path.parent, tmp_path / "in", tmp_path, tmp_path / "in/../in/deep", Path("/")):
        assert main([str(path), str(target), "--overwrite"]) in (2, 5), target
    assert path.read_bytes() == before
    assert main([str(path), str(path.parent / "out"), "--quiet"]) == 0
    assert main([str(path.parent), str(path.parent / "out"), "--quiet", "--overwrite"]) == 0
    assert main([str(path.parent), str(tmp_path / "in"), "--quiet", "--overwrite"]) == 5
    np.testing.assert_array_equal(levels(path.parent / "out", "0.5")[0][0], PIXELS)
    assert path.read_bytes() == before
