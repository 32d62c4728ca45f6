"""Imaris files: the vendor's, other people's, and small ones made here for every oddity."""

from __future__ import annotations

import json
import os
import pickle
import sys
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from subprocess import run
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from data_folder import data_file, data_names

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import UNKNOWN, Calibration, Channel
from ngff_convert.readers.contract import HEAD_BYTES
from ngff_convert.readers.hdf5_attributes import decode_text
from ngff_convert.readers.imaris import ImarisReader
from ngff_convert.readers.imaris_metadata import (
    calibration,
    channels,
    color,
    histogram_window,
    number,
    numbers,
    time_stamps,
    unescape,
)
from ngff_convert.readers.imaris_source import missing_in_words
from ngff_convert.testing import check_reader, coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Image, PixelArray

READER = ImarisReader()
SHAPE = (2, 2, 6, 40, 50)
TRUTH = coded_pixels(SHAPE)

BASE_WARNINGS = {
    "no_sizes_at_all": ["DataSet/ResolutionLevel 0 does not state its size: all 8 x 128 x 128 stored voxels"],
    "time_points_mismatch": ["TimeInfo states 5 time points (FileTimePoints), the file has 2"],
    "zero_extents": [f"the extents along {axis} are equal" for axis in "zyx"],
    "two_datasets": ["DataSet1: TimeInfo states 2 time points (FileTimePoints), the file has 1"],
}


def digest(pixels: PixelArray) -> str:
    block = pixels[...]
    return sha256(block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


def xyz(calibration: Calibration) -> tuple[float | None, ...]:
    return calibration.zyx[::-1]


# The vendor's files, with their ground truth


@pytest.mark.parametrize("name", data_names("ims/*.ims"))
def test_vendor_files_are_read_as_they_were_written(name: str) -> None:
    path = data_file(name)
    truth = json.loads(path.with_suffix(".json").read_text())
    case = truth["case"]
    with READER.open(str(path)) as source:
        (image,) = source.images
        assert list(image.pixels.shape) == case["shape"]
        assert image.pixels.dtype == case["dtype"]
        levels = [image.pixels, *(level.pixels for level in image.native_levels)]
        assert [digest(level) for level in levels] == [level["sha256"] for level in truth["levels"]]
        assert [list(level.shape[2:]) for level in levels] == [level["size_zyx"] for level in truth["levels"]]
        words = {"1": "deflate", "2": "shuffle", "32004": "lz4"}
        steps = [words[code] for code in truth["levels"][0]["filters"]] or ["none"]
        assert [step.split()[0] for step in image.pixels.compression.split(" + ")] == steps
        for level in image.native_levels:
            assert level.shift == tuple((f - 1) / 2 for f in level.factor)
        finished = "DataSetInfo" not in case["note"]
        check_written_metadata(image, truth, finished)
        expected = [] if finished else ["no DataSetInfo/Image"]
        if "skip_tc" in case:
            expected.append("never written, read as 0: TimePoint 2, TimePoint 3/Channel 1")
        if "irregular" in case["note"]:
            expected.append("the time steps are uneven, 0.001 to 3540 s")
        check_warnings(source.warnings, expected)


def check_written_metadata(image: Image, truth: dict[str, Any], finished: bool) -> None:
    case = truth["case"]
    if not finished:
        assert image.calibration == Calibration()
        assert [c.name for c in image.channels] == [None] * len(image.channels)
        return
    units = {"nm": "nanometer", None: "micrometer"}
    assert image.calibration.unit == units[case.get("sections", {}).get("Image", {}).get("Unit")]
    size = xyz(image.calibration)
    assert size == pytest.approx(truth["voxel_size_xyz"], rel=1e-6)
    corner = [o - s / 2 for o, s in zip(image.calibration.origin_zyx[::-1], size, strict=True) if o and s]
    assert corner == pytest.approx(truth["origin_corner_xyz"], rel=1e-6, abs=1e-6)
    stamps = [datetime.fromisoformat(text) for text in case["times"]]
    assert list(image.time_stamps) == stamps
    for channel, wanted in zip(image.channels, case["channels"], strict=True):
        assert channel.name == wanted.get("name")
        if "table" not in wanted:
            assert channel.color == "".join(
                f"{int(round(part, 3) * 255 + 0.5):02X}" for part in wanted["rgb"]
            )
        assert channel.window == pytest.approx(tuple(wanted["range"]), abs=5e-4)
    for section, entries in case.get("sections", {}).items():
        assert entries.items() <= image.original_metadata[section].items()


def check_warnings(warnings: Sequence[str], expected: list[str]) -> None:
    assert len(warnings) == len(expected), warnings
    for line, beginning in zip(warnings, expected, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize("name", data_names("ims/quirks/*.ims"))
def test_quirks(name: str) -> None:
    path = data_file(name)
    known = json.loads(path.with_name("quirks.json").read_text())
    base, quirk = known["base"], path.stem
    if quirk == "truncated":
        with pytest.raises(ReadError, match=r"truncated\.ims: truncated: 114922 bytes of 191537; copy it"):
            READER.open(str(path))
        return
    with READER.open(str(path)) as source:
        check_warnings(source.warnings, BASE_WARNINGS.get(quirk, []))
        image = source.images[0]
        pixels = image.pixels[...]
        assert pixels.dtype.isnative
        if quirk == "no_sizes_at_all":
            assert pixels.shape[2:] == (8, 128, 128)
            pixels = pixels[:, :, :5, :70, :90]
        assert list(pixels.shape) == base["shape_tczyx"]
        assert sha256(pixels.astype("<u2").tobytes()).hexdigest() == base["level0_sha256"]
        assert pixels.dtype == ("float64" if quirk == "float64" else "uint16")
        names = {"no_channel_info": [None, None], "latin1": ["Kanal \u00e9\u00fc", "second"]}
        assert [c.name for c in image.channels] == names.get(quirk, base["channel_names"])
        if quirk == "zero_extents":
            assert image.calibration == Calibration(t_s=1.0)
        elif quirk != "no_sizes_at_all":
            assert xyz(image.calibration) == pytest.approx(base["voxel_size_xyz"])
        assert len(source.images) == (2 if quirk == "two_datasets" else 1)
        if quirk == "two_datasets":
            second = source.images[1]
            assert (second.pixels[...] == np.arange(1800, dtype="u2").reshape(1, 1, 3, 20, 30)).all()
            assert second.calibration == Calibration((2, 0.5, 0.5), "micrometer", None, (1, 0.25, 100.25))


def third_party_files() -> dict[str, Any]:
    found = data_names("ims/thirdparty/reference.json")
    known: dict[str, Any] = json.loads(data_file(found[0]).read_text())["files"] if found else {}
    return known


@pytest.mark.parametrize(("name", "truth"), third_party_files().items())
def test_files_of_others(name: str, truth: dict[str, Any]) -> None:
    path = data_file(f"ims/thirdparty/{name}")
    if "cannot be read" in truth:
        missing = path.with_name("image-binned-8bit-crop--C00--T00000.h5")
        link = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0 is a link to the file"
        with pytest.raises(ReadError, match=f"{path}: {link} .*, but there is no {missing}"):
            READER.open(str(path))
        return
    with READER.open(str(path)) as source:
        (image,) = source.images
        assert list(image.pixels.shape) == truth["shape_tczyx"]
        assert image.pixels.dtype == truth["dtype"]
        assert digest(image.pixels) == truth["level0_sha256"]
        assert 1 + len(image.native_levels) == truth["levels"]
        assert [c.name for c in image.channels] == truth["channel_names"]
        assert image.calibration.unit == "micrometer"
        assert xyz(image.calibration) == pytest.approx(truth["voxel_size_xyz"])
        centres = [
            low + size / 2 for low, size in zip(truth["ext_min_xyz"], truth["voxel_size_xyz"], strict=True)
        ]
        assert image.calibration.origin_zyx[::-1] == pytest.approx(centres)
        invented = ["the time stamps are those BigDataProcessor makes up"] if name.startswith("bdp") else []
        check_warnings(source.warnings, invented)
        assert image.calibration.t_s is None


@pytest.mark.parametrize(
    "name",
    [
        "u8_c2_t3_gzip2.ims",
        "u16_missing_planes.ims",
        "thirdparty/bdp1-bigendian/im16bit.h5",
        "quirks/soft_links.ims",
    ],
)
def test_the_contract_is_kept_on_real_files(name: str) -> None:
    check_reader(READER, str(data_file(f"ims/{name}")))


# Which files they are


def head_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def test_files_are_recognised_by_layout_or_suffix(tmp_path: Path) -> None:
    write_ims(tmp_path / "a.ims", TRUTH)
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.ims").read_bytes())
    (tmp_path / "b.IMS").write_bytes((tmp_path / "a.ims").read_bytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["DataSet"] = 1
    with h5py.File(tmp_path / "u.ims", "w", userblock_size=2048) as file:
        file["x"] = 1
    (tmp_path / "text.ims").write_text("no HDF5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.ims").read_bytes()[:5000])
    answers = {"a.ims": True, "a.h5": True, "b.IMS": True, "u.ims": True}
    for path in tmp_path.iterdir():
        assert READER.can_read(str(path), head_of(path)) is answers.get(path.name, False), path.name
    check_reader(READER, str(tmp_path / "a.h5"))


def test_looking_at_other_files_imports_nothing_heavy() -> None:
    program = (
        "import sys; from ngff_convert.readers.imaris import ImarisReader\n"
        "assert not ImarisReader().can_read('x.tif', b'II*\\0' * 9)\n"
        "assert ImarisReader().can_read('x.ims', b'\\x89HDF\\r\\n\\x1a\\n' * 9)\n"
        "sys.exit(any(m in sys.modules for m in ('h5py', 'numpy', 'imagecodecs')))"
    )
    run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"II*\0", "an Imaris 3 file"),
        (b"MM\0*", "an Imaris 3 file"),
        (b"\0\x4c\xa1\x0c", "an Imaris 2.7 file"),
    ],
)
def test_older_formats_are_refused_by_name(tmp_path: Path, head: bytes, words: str) -> None:
    path = tmp_path / "old.ims"
    path.write_bytes(head + b"\0" * 100)
    assert READER.can_read(str(path), head_of(path))
    with pytest.raises(UnsupportedInput, match=rf"old\.ims: {words} .*; save it with Imaris 5\.5"):
        READER.open(str(path))
    assert not READER.can_read("old.tif", head)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.ims").write_text("no HDF5")
    (tmp_path / "empty.ims").touch()
    os.mkfifo(tmp_path / "pipe.ims")
    with h5py.File(tmp_path / "nothing.ims", "w") as file:
        file.create_group("DataSet/ResolutionLevel 0")
    for name, kind, words in (
        ("none.ims", ReadError, "No such file; check its name"),
        ("empty.ims", ReadError, r"is empty \(0 bytes\); copy it again"),
        (".", UnsupportedInput, "is a folder; give a file"),
        ("pipe.ims", ReadError, "is a pipe, a socket or a device; give a regular file"),
        ("text.ims", UnsupportedInput, "not an Imaris file"),
        ("nothing.ims", UnsupportedInput, "no pixels in the layout of Imaris"),
    ):
        with pytest.raises(kind, match=words):
            READER.open(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.ims"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ReadError, match="no permission"):
        READER.open(str(path))


# Small files made here


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Write a small file and change it: the change is given the open h5py file."""

    def make(
        change: Callable[[Any], None] | None = None, pixels: NDArray[Any] = TRUTH, **options: Any
    ) -> Path:
        path = tmp_path / "made.ims"
        write_ims(path, pixels, **options)
        if change:
            with h5py.File(path, "r+") as file:
                change(file)
        return path

    return make


def opened(path: Path) -> tuple[Image, tuple[str, ...]]:
    """Open a file, read every voxel of its first image once, and return that image and the warnings."""
    with READER.open(str(path)) as source:
        assert (source.images[0].pixels[...] == TRUTH).all()
        return source.images[0], tuple(source.warnings)


def set_text(group: Any, **texts: str) -> None:
    for key, text in texts.items():
        group.attrs[key] = np.frombuffer(text.encode() or b"\0", "S1")


def test_write_ims_and_the_reader_agree(made: Callable[..., Path]) -> None:
    described = (Channel("GFP", "00FF80", 520, 488, (3, 4000)), Channel("RFP", "FF0000", 610, 561, (0, 10)))
    stamps = [datetime(2024, 2, 28, 23, 59, 59, 500000), datetime(2024, 2, 29, 0, 0, 9, 500000)]
    path = made(
        levels=4,
        channels=described,
        time_stamps=stamps,
        voxel_zyx=(3, 0.5, 0.25),
        corner_zyx=(-9, 1, 2),
        unit="nm",
        name="an image",
    )
    image, warnings = opened(path)
    assert (image.name, image.channels, list(image.time_stamps), warnings) == (
        "an image",
        described,
        stamps,
        (),
    )
    assert image.calibration == Calibration((3, 0.5, 0.25), "nanometer", 10, (-7.5, 1.25, 2.125))
    assert [(n.pixels.shape, n.factor, n.shift) for n in image.native_levels] == [
        ((2, 2, 3, 20, 25), (2, 2, 2), (0.5, 0.5, 0.5)),
        ((2, 2, 1, 10, 12), (4, 4, 4), (1.5, 1.5, 1.5)),
        ((2, 2, 1, 5, 6), (4, 8, 8), (1.5, 3.5, 3.5)),
    ]
    assert image.original_metadata["Image"]["Unit"] == "nm"
    check_reader(READER, str(path))


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4"]
)
def test_every_number_type(made: Callable[..., Path], dtype: str) -> None:
    pixels = coded_pixels((1, 1, 3, 20, 30), np.dtype(dtype).newbyteorder("="))
    with READER.open(str(made(pixels=pixels.astype(dtype)))) as source:
        found = source.images[0].pixels
        assert found.dtype == pixels.dtype
        assert (found[...] == pixels).all()


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({}, "none"),
        ({"shuffle": True, "compression": "gzip", "compression_opts": 4}, "shuffle + deflate 4"),
        ({**hdf5plugin.LZ4()}, "lz4"),
        ({"shuffle": True, **hdf5plugin.LZ4()}, "shuffle + lz4"),
        ({**hdf5plugin.Blosc()}, "blosc (via HDF5 plugin)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_compression_is_read_and_named(
    made: Callable[..., Path], filters: dict[str, Any], words: str
) -> None:
    image, _ = opened(made(filters=filters))
    assert (image.pixels.compression, image.pixels.chunks) == (words, (1, 1, 6, 40, 50))


@pytest.mark.parametrize("kind", ["complex64", "S4", "bool", h5py.string_dtype(), [("r", "u1"), ("g", "u1")]])
def test_other_types_are_unsupported(made: Callable[..., Path], kind: Any) -> None:
    def change(file: Any) -> None:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        del group["Data"]
        group.create_dataset("Data", (6, 40, 50), kind)

    with pytest.raises(
        UnsupportedInput, match=r"made\.ims: DataSet/ResolutionLevel 0/.*/Data: voxels of type"
    ):
        READER.open(str(made(change)))


def test_gaps_in_time_and_channels_are_zeros_with_one_warning(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        level = file["DataSet/ResolutionLevel 0"]
        level.move("TimePoint 1", "TimePoint 30")
        level["TimePoint 30"].move("Channel 1", "Channel 3")
        level.create_group("TimePoint x")
        level.create_group("TimePoint 007")

    with READER.open(str(made(change))) as source:
        (image,) = source.images
        pixels = image.pixels[...]
        assert image.pixels.shape == (31, 4, *SHAPE[2:])
        assert source.warnings[0] == (
            "never written, read as 0: TimePoint 1-29, TimePoint 0/Channel 2, TimePoint 0/Channel 3, "
            "TimePoint 30/Channel 1, TimePoint 30/Channel 2"
        )
    assert (pixels[0, :2] == TRUTH[0]).all()
    assert (pixels[30, [0, 3]] == TRUTH[1]).all()
    assert pixels.any(axis=(2, 3, 4)).sum() == 4


def test_many_gaps_are_named_compactly() -> None:
    gaps = frozenset((t, 0) for t in range(0, 100, 2))
    assert missing_in_words(gaps, 2).endswith("TimePoint 18/Channel 0 and 40 more")


def test_an_absurd_group_number_is_an_error(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        file.move("DataSet/ResolutionLevel 0/TimePoint 1", "DataSet/ResolutionLevel 0/TimePoint 999999999")

    with pytest.raises(ReadError, match=r"1000000000 time points of 2 channels .* only 4 of them exist"):
        READER.open(str(made(change)))


def test_opening_five_thousand_time_points_opens_few_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.ims"
    write_ims(path, TRUTH[:1], channels=[Channel(window=(0, 1))] * 2)
    with h5py.File(path, "r+") as file:
        level = file["DataSet/ResolutionLevel 0"]
        for t in range(1, 5000):
            level[f"TimePoint {t}"] = level["TimePoint 0"]
    datasets: list[Any] = []
    begin = h5py.Dataset.__init__

    def counted(self: Any, *args: Any, **options: Any) -> None:
        datasets.append(args)
        begin(self, *args, **options)

    monkeypatch.setattr(h5py.Dataset, "__init__", counted)
    with READER.open(str(path)) as source:
        assert source.images[0].pixels.shape[0] == 5000
        assert len(datasets) <= 2
        stored = pickle.dumps(source.images[0].pixels)
    assert len(stored) < 2000


def test_channels_counted_from_1(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        file.move("DataSetInfo/Channel 1", "DataSetInfo/Channel 2")
        file.move("DataSetInfo/Channel 0", "DataSetInfo/Channel 1")

    image, warnings = opened(made(change, channels=[Channel("first"), Channel("second")]))
    assert [c.name for c in image.channels] == ["first", "second"]
    assert warnings == ("DataSetInfo counts the channels from 1; taken in their order",)


def test_the_window_comes_from_the_histogram_where_there_is_no_range(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        for c, (counts, high) in enumerate([([0, 998, 1, 1] + [0] * 252, "256"), ([5] * 256, "0.0")]):
            group = file[f"DataSet/ResolutionLevel 0/TimePoint 0/Channel {c}"]
            group["Histogram"][...] = counts
            set_text(group, HistogramMin="0", HistogramMax=high)

    image, _ = opened(made(change))
    assert [c.window for c in image.channels] == [(1, 3), None]


def test_attributes_in_other_encodings(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        image = file["DataSetInfo/Image"]
        image.attrs["Name"] = "variable \u00b5"
        image.attrs["Unit"] = np.bytes_(b"nm\0\0")
        image.attrs["ExtMax0"] = 25.0
        image.attrs["ExtMax1"] = np.array([20], "i4")
        set_text(image, ExtMax2="3,5", ExtMin2="0,5")
        image.attrs["Words"] = np.array([b"two", b"words"])
        image.attrs["Nothing"] = h5py.Empty("S1")
        image.attrs["Numbers"] = np.arange(3)
        image.attrs["Control"] = np.bytes_(b"a\x01b")
        for t, c in np.ndindex(SHAPE[:2]):
            group = file[f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}"]
            group.attrs["ImageSizeX"], group.attrs["ImageSizeY"], group.attrs["ImageSizeZ"] = 50, "40", 6.0

    image, warnings = opened(made(change))
    assert (image.name, warnings) == ("variable \u00b5", ())
    assert image.calibration == Calibration((0.5, 0.5, 0.5), "nanometer", None, (0.75, 0.25, 0.25))
    section = image.original_metadata["Image"]
    assert [section[key] for key in ("Words", "Nothing", "Numbers", "Control")] == [
        "two words",
        "",
        "0 1 2",
        "a\ufffdb",
    ]


def test_long_texts_and_escaped_names(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        section = file.create_group("DataSetInfo/50%p %sof it")
        section["Long%sname"] = np.frombuffer(b"x" * 2000, "S1")
        section["Histogram"] = np.arange(256)
        section["Dangling"] = h5py.SoftLink("/nowhere")
        file["DataSetInfo/no group"] = 1

    image, _ = opened(made(change))
    assert image.original_metadata["50% /of it"] == {"Long/name": "x" * 2000}


@pytest.mark.parametrize(
    ("size", "words"),
    [("9223372036854775807", "only 8 x 64 x 64 are stored; ignored"), ("0", None), ("nan", None)],
)
def test_a_size_that_cannot_be_is_not_believed(
    made: Callable[..., Path], size: str, words: str | None
) -> None:
    def change(file: Any) -> None:
        set_text(file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"], ImageSizeX=size)

    _, warnings = opened(made(change))
    assert len(warnings) == (1 if words else 0)
    assert all(words in line for line in warnings if words)


@pytest.mark.parametrize("how", ["shape", "dtype", "gone", "group"])
def test_a_channel_unlike_the_others_is_an_error_when_it_is_read(made: Callable[..., Path], how: str) -> None:
    def change(file: Any) -> None:
        group = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]
        del group["Data"]
        if how == "shape":
            set_text(group, ImageSizeX="60")
            group["Data"] = np.zeros((6, 40, 60), "u2")
        elif how == "dtype":
            group["Data"] = np.zeros((8, 64, 64), "u1")
        elif how == "group":
            group.create_group("Data")

    words = {
        "shape": "is of size 6 x 40 x 60, the image of 6 x 40 x 50",
        "dtype": "holds uint8",
        "gone": "no dataset",
    }
    with READER.open(str(made(change))) as source:
        pixels = source.images[0].pixels
        assert (pixels[0] == TRUTH[0]).all()
        with pytest.raises(ReadError, match=f"TimePoint 1/Channel 1.*{words.get(how, 'no dataset')}"):
            pixels[1]


def test_a_channel_that_is_padded_otherwise_is_read(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        group = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]
        del group["Data"]
        group["Data"] = np.pad(TRUTH[1, 1], ((0, 2), (0, 0), (0, 9)))

    assert opened(made(change))[1] == ()


def test_a_group_without_pixels_at_first_is_passed_over(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        del file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]

    with READER.open(str(made(change))) as source:
        assert (source.images[0].pixels[0, 1] == TRUTH[0, 1]).all()


def remove_level_1(file: Any) -> None:
    del file["DataSet/ResolutionLevel 1"]


def remove_a_channel(file: Any) -> None:
    del file["DataSet/ResolutionLevel 1/TimePoint 1/Channel 0"]


def remove_size(file: Any) -> None:
    del file["DataSet/ResolutionLevel 1/TimePoint 0/Channel 0"].attrs["ImageSizeX"]


def change_type(file: Any) -> None:
    group = file["DataSet/ResolutionLevel 1/TimePoint 0/Channel 0"]
    del group["Data"]
    group["Data"] = np.zeros((8, 64, 64), "u1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove_level_1, "they are numbered 0, 2"),
        (remove_a_channel, "ResolutionLevel 1 lacks time points or channels"),
        (remove_size, "ResolutionLevel 1 does not state its size"),
        (change_type, "ResolutionLevel 1 is of type uint8, level 0 of uint16"),
    ],
)
def test_an_incomplete_pyramid_is_not_used(
    made: Callable[..., Path], change: Callable[[Any], None], words: str
) -> None:
    image, (warning,) = opened(made(change, levels=3))
    assert image.native_levels == ()
    assert warning.startswith("lower levels are not used: ")
    assert words in warning


def test_factors_of_other_pyramids_are_ratios(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        for t, c in np.ndindex(SHAPE[:2]):
            group = file.create_group(f"DataSet/ResolutionLevel 1/TimePoint {t}/Channel {c}")
            group["Data"] = np.zeros((6, 14, 17), "u2")
            set_text(group, ImageSizeX="17", ImageSizeY="14", ImageSizeZ="6")

    (level,) = opened(made(change))[0].native_levels
    assert level.factor == (1, 40 / 14, 50 / 17)
    assert level.shift == (0, (40 / 14 - 1) / 2, (50 / 17 - 1) / 2)


# Links


def test_pixels_in_other_files(made: Callable[..., Path], tmp_path: Path) -> None:
    """A header that links to one file below its folder and, by a symbolic link, to one outside of it."""
    (tmp_path / "in" / "parts").mkdir(parents=True)
    path = made()
    header = tmp_path / "in" / "header.h5"
    parts = {0: "parts/0.h5", 1: "../1.h5"}
    with h5py.File(path) as file, h5py.File(header, "w") as linking:
        file.copy("DataSetInfo", linking)
        for t, name in parts.items():
            with h5py.File(header.parent / name, "w") as part:
                for c in range(2):
                    group = f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}"
                    file.copy(group, part, f"pixels {c}")
                    linking[group] = h5py.ExternalLink(name, f"pixels {c}")
    assert READER.can_read(str(header), head_of(header))
    with pytest.raises(
        ReadError,
        match=r"TimePoint 1/Channel 0 is a link to the file \.\./1\.h5, which is outside .* symbolic",
    ):
        READER.open(str(header))
    (tmp_path / "in/1.h5").symlink_to(tmp_path / "1.h5")
    assert opened(header)[1] == ()
    check_reader(READER, str(header))


@pytest.mark.parametrize("opened_by", ["real", "way"])
def test_a_link_into_the_same_folder_by_another_way(
    made: Callable[..., Path], tmp_path: Path, opened_by: str
) -> None:
    """A link may spell the folder of the input by a symbolic link that the input was not opened by."""
    (tmp_path / "real" / "data").mkdir(parents=True)
    for name in ("way", "other"):
        (tmp_path / name).symlink_to("real")
    group = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"
    path = made()
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "real/data/part.h5", "w") as part:
        file.copy(group, part, "pixels")
        del file[group]
        file[group] = h5py.ExternalLink(str(tmp_path / "other/data/part.h5"), "pixels")
    path.rename(tmp_path / "real/in.ims")
    assert opened(tmp_path / opened_by / "in.ims")[1] == ()
    (tmp_path / "other").unlink()
    (tmp_path / "other").symlink_to("elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "real/data").rename(tmp_path / "elsewhere/data")
    with pytest.raises(ReadError, match="outside the input's folder"):
        READER.open(str(tmp_path / opened_by / "in.ims"))


def test_soft_links_everywhere(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        file.move("DataSet", "Workflows/a/DataSet")
        file.move("DataSetInfo", "Workflows/a/DataSetInfo")
        file["DataSet"] = h5py.SoftLink("/Workflows/a/DataSet")
        file["DataSetInfo"] = h5py.SoftLink("/Workflows/a/DataSetInfo")
        level = file["Workflows/a/DataSet/ResolutionLevel 0"]
        level.move("TimePoint 1", "kept")
        level["TimePoint 1"] = h5py.SoftLink("kept")
        file.move("DataSetInfo/Image", "image")
        file["DataSetInfo/Image"] = h5py.SoftLink("/image")

    image, warnings = opened(made(change, voxel_zyx=(2, 3, 4)))
    assert (image.calibration.zyx, warnings) == ((2, 3, 4), ())


def test_a_description_that_is_not_there_costs_a_warning_not_the_pixels(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        file["DataSetInfo/Channel 0"] = h5py.ExternalLink("gone.h5", "/x")

    _, (warning,) = opened(made(change))
    assert "DataSetInfo/Channel 0 cannot be read: " in warning
    assert "is a link to the file gone.h5" in warning


def test_links_in_a_circle_are_an_error(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        del file["DataSet"]
        file["DataSet"] = h5py.SoftLink("/DataSet1")
        file["DataSet1"] = h5py.SoftLink("/DataSet")

    with pytest.raises(ReadError, match="circle of links"):
        READER.open(str(made(change)))


# Text and numbers


def test_text_of_every_kind() -> None:
    assert decode_text(b"\xff\xfe \0 junk") == "\u00ff\u00fe"
    assert unescape("100%p%s%sp") == "100%//p"
    assert [number(text) for text in ("1.5", "1,5", "-.5", "+2e-3")] == [1.5, 1.5, -0.5, 0.002]
    assert [
        number(text) for text in (None, "", "nan", "inf", "-1.#IND", "1e999", "1_0", "five", "1.2.3")
    ] == [None] * 9
    assert numbers("1 2,5  3") == [1, 2.5, 3]
    assert numbers("1 x 3") == []


def test_colours() -> None:
    assert color({"Color": "1.0 0.0 0.0"}) == "FF0000"
    assert color({"ColorMode": "ColorTable", "ColorTable": "1 1 1 0 0 1 0 0 0"}) == "FFFFFF"
    assert color({"ColorMode": "BaseColor", "Color": "0 1 0", "ColorTable": "0 0 0 1 0 0"}) == "00FF00"
    for odd in ("", "1 1", "2 0 0", "nan 0 0"):
        assert color({"Color": odd}) is None


def test_histograms() -> None:
    assert histogram_window([0, 0, 7, 0], 0, 4) == (2, 3)
    assert histogram_window([1] * 2000, 0, 2000) == (2, 1998)
    for counts, low, high in (
        ([0, 0], 0, 1),
        ([1, -1, 5], 0, 1),
        ([1, 2], 3, 3),
        ([1, 2], None, 4),
        ([1, 2], 4, 1),
    ):
        assert histogram_window(counts, low, high) is None


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([("520", "488"), ("0", "")], [(520, 488), (None, None)]),
        ([("500", "500"), ("500", "500")], [(None, None), (None, None)]),
        ([("500", "")], [(None, None)]),
        ([("500", "458"), ("610", "561")], [(500, 458), (610, 561)]),
        ([("five", "-3")], [(None, None)]),
    ],
)
def test_wavelengths(waves: list[tuple[str, str]], expected: list[tuple[float | None, float | None]]) -> None:
    sections = {
        f"Channel {c}": {"LSMEmissionWavelength": emission, "LSMExcitationWavelength": excitation}
        for c, (emission, excitation) in enumerate(waves)
    }
    described = channels(sections, len(waves), lambda _: None, [])
    assert [(c.emission_nm, c.excitation_nm) for c in described] == expected


def extents(unit: str | None, *limits: str) -> dict[str, dict[str, str]]:
    names = ("ExtMin0", "ExtMax0", "ExtMin1", "ExtMax1", "ExtMin2", "ExtMax2")
    return {"Image": dict(zip(names, limits, strict=True)) | ({} if unit is None else {"Unit": unit})}


@pytest.mark.parametrize(
    ("sections", "expected", "warnings"),
    [
        (extents("mm", "0", "4", "1", "3", "-1", "1"), ((1, 1, 1), "millimeter", (-0.5, 1.5, 0.5)), []),
        (extents(None, "0", "4", "0", "2", "0", "2"), ((1, 1, 1), "micrometer", (0.5, 0.5, 0.5)), []),
        (
            extents("furlong", "0", "4", "0", "2", "0", "2"),
            ((1, 1, 1), None, (0.5, 0.5, 0.5)),
            ["'furlong' is no unit"],
        ),
        (
            extents("m", "4", "0", "nan", "2", "0", "0"),
            ((None, None, 1), "meter", (None, None, 0.5)),
            ["the extents along z are equal", "no extents along y", "the extents along x are reversed"],
        ),
        ({"Image": {}}, (UNKNOWN, None, UNKNOWN), [f"no extents along {axis}" for axis in "zyx"]),
        ({}, (UNKNOWN, None, UNKNOWN), ["no DataSetInfo/Image"]),
    ],
)
def test_calibration(
    sections: dict[str, dict[str, str]], expected: tuple[Any, ...], warnings: list[str]
) -> None:
    noted: list[str] = []
    found = calibration(sections, (2, 2, 4), None, noted)
    assert (found.zyx, found.unit, found.origin_zyx) == expected
    check_warnings(tuple(noted), warnings)


@pytest.mark.parametrize("limits", [("-1.7e308", "1.7e308"), ("0", "5e-324")])
def test_extents_beyond_what_floats_hold_make_no_voxel_size(limits: tuple[str, str]) -> None:
    noted: list[str] = []
    n_voxels = 1 if limits[0] != "0" else 4
    found = calibration(extents("mm", "0", "4", "0", "2", *limits), (n_voxels, 2, 4), None, noted)
    assert (found.zyx, found.origin_zyx) == ((None, 1, 1), (None, 0.5, 0.5))
    check_warnings(tuple(noted), [f"the extents along z, {float(limits[0]):g} to "])


def stamped(*seconds: float, begin: datetime = datetime(2024, 1, 1)) -> dict[str, str]:
    return {
        f"TimePoint{n}": f"{begin + timedelta(seconds=second):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        for n, second in enumerate(seconds, 1)
    }


@pytest.mark.parametrize(
    ("section", "n_t", "n_known", "step", "warning"),
    [
        (stamped(0, 10, 20, 30), 4, 4, 10, None),
        (stamped(0, 10.4, 19.8, 30), 4, 4, 10, None),  # jitter
        (stamped(0, 0.001, 0.003, 0.004), 4, 4, 0.004 / 3, None),  # stamps of 1 ms
        (stamped(0, 10, 30, 40), 4, 4, None, "the time steps are uneven, 10 to 20 s"),
        (stamped(0, 10, 5), 3, 3, None, "the time steps are uneven, -5 to 10 s"),
        (stamped(0, 0, 0), 3, 0, None, None),
        (stamped(0, 10), 3, 0, None, None),
        (stamped(0, 10, 20, 30), 3, 3, 10, None),
        ({"TimePoint1": "yesterday", "TimePoint2": "2024-13-45 00:00:00"}, 2, 0, None, None),
        (stamped(5), 1, 1, None, None),
        (stamped(0, 1, 2, begin=datetime(2000, 1, 1)), 3, 0, None, "the time stamps are those BigData"),
        (
            {"DataSetTimePoints": "7"},
            3,
            0,
            None,
            "TimeInfo states 7 time points (DataSetTimePoints), the file has 3",
        ),
    ],
)
def test_time_stamps(
    section: dict[str, str], n_t: int, n_known: int, step: float | None, warning: str | None
) -> None:
    noted: list[str] = []
    stamps, t_s = time_stamps(section, n_t, noted)
    assert len(stamps) == n_known
    assert t_s == (None if step is None else pytest.approx(step))
    check_warnings(tuple(noted), [warning] if warning else [])


# The source


def test_after_closing_nothing_is_read_and_nothing_is_open(made: Callable[..., Path]) -> None:
    path = made()
    with READER.open(str(path)) as source:
        pixels = source.images[0].pixels
        assert pixels[0, 0, 0, 0, 0] == TRUTH[0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="closed"):
        pixels[0]


def test_a_failed_opening_leaves_nothing_open(made: Callable[..., Path]) -> None:
    def change(file: Any) -> None:
        file["DataSet1"] = h5py.SoftLink("/nowhere")

    path = made(change)
    with pytest.raises(ReadError, match="DataSet1 is a link to /nowhere"):
        READER.open(str(path))
    assert path not in {fd.resolve() for fd in Path("/proc/self/fd").iterdir()}


def test_dask_sees_the_same_pixels(made: Callable[..., Path]) -> None:
    with READER.open(str(made())) as source:
        data = source.images[0].data
        assert (data[:, 1, 2:4, ::3].compute() == TRUTH[:, 1, 2:4, ::3]).all()
