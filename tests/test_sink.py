from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import NoPixels, image
from stores import tree

from ngff_convert import plan
from ngff_convert.errors import OptionError, VerificationError, WriteError
from ngff_convert.model import Box
from ngff_convert.options import Options
from ngff_convert.plan import Resources
from ngff_convert.sink import Sink
from ngff_convert.storage import Folder
from ngff_convert.testing import coded_pixels
from ngff_convert.write_plan import CODEC_LEVELS, Codec, WritePlan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (2, 2, 9, 40, 50)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with Sink(Folder.of(""), "", "0.5", "", 1):
        yield tmp_path / "image"


def decide(dtype: str = "uint16", shape: tuple[int, ...] = SHAPE, **settings: Any) -> WritePlan:
    options = Options(**{"chunks": (4, 16, 16), "levels": 1, **settings})
    return plan.build(image(NoPixels(shape, dtype)), options, Resources(2, 1 << 30))


def sink_for(root: Path, decided: WritePlan) -> Sink:
    sink = Sink(Folder.of(str(root)), "", decided.ngff_version, decided.axes, 2)
    sink.create(decided)
    return sink


def write_whole(root: Path, decided: WritePlan, pixels: NDArray[Any]) -> Sink:
    sink = sink_for(root, decided)
    sink.write(0, Box((0,) * 5, pixels.shape), pixels).finish()
    return sink


def assert_read_by_others(root: Path, version: str, pixels: NDArray[Any]) -> None:
    with_zarr = zarr.open_array(root / "0", mode="r", zarr_format=2 if version == "0.4" else 3)
    np.testing.assert_array_equal(with_zarr[...], pixels)
    assert with_zarr.dtype == pixels.dtype
    driver = "zarr" if version == "0.4" else "zarr3"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{root}/0/"}}
    np.testing.assert_array_equal(ts.open(spec).result().read().result(), pixels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("name", list(CODEC_LEVELS))
def test_every_compressor_is_read_by_other_libraries(root: Path, version: str, name: str) -> None:
    if name == "zlib" and version == "0.5":
        with pytest.raises(OptionError, match=r"NGFF 0\.4"):
            decide(codec=Codec(name), ngff_version=version)
        return
    pixels = coded_pixels(SHAPE)
    write_whole(root, decide(codec=Codec(name), ngff_version=version), pixels)
    assert_read_by_others(root, version, pixels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("shuffle", ["bit", "byte", "none"])
def test_every_shuffle_and_level(root: Path, version: str, shuffle: str) -> None:
    pixels = coded_pixels(SHAPE)
    codec = Codec("blosc-zstd", 9, shuffle)
    write_whole(root, decide(codec=codec, ngff_version=version), pixels)
    assert_read_by_others(root, version, pixels)
    if version == "0.4":
        stored = json.loads((root / "0" / ".zarray").read_text())["compressor"]["shuffle"]
        assert stored == {"bit": 2, "byte": 1, "none": 0}[shuffle]
    else:
        codecs = json.loads((root / "0" / "zarr.json").read_text())["codecs"]
        stored = codecs[-1]["configuration"]["shuffle"]
        assert stored == {"bit": "bitshuffle", "byte": "shuffle", "none": "noshuffle"}[shuffle]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float16",
        "float32",
        "float64",
    ],
)
def test_every_dtype(root: Path, version: str, dtype: str) -> None:
    pixels = coded_pixels(SHAPE, "uint8").astype(dtype)
    write_whole(root, decide(dtype, ngff_version=version), pixels)
    assert_read_by_others(root, version, pixels)


def test_shards_hold_the_chunks_and_nothing_else(root: Path) -> None:
    pixels = coded_pixels(SHAPE)
    write_whole(root, decide(shards=(8, 32, 64)), pixels)
    assert_read_by_others(root, "0.5", pixels)
    files = sorted(path for path in (root / "0" / "c").rglob("*") if path.is_file())
    assert len(files) == 2 * 2 * 2 * 2 * 1
    assert zarr.open_array(root / "0", mode="r").chunks == (1, 1, 4, 16, 16)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_lie_in_folders_and_the_arrays_name_their_axes(root: Path, version: str) -> None:
    pixels = coded_pixels(SHAPE)
    write_whole(root, decide(ngff_version=version), pixels)
    if version == "0.4":
        array = json.loads((root / "0" / ".zarray").read_text())
        assert array["dimension_separator"] == "/"
        assert array["zarr_format"] == 2
        assert (root / "0" / "1" / "0" / "2" / "0" / "3").is_file()
    else:
        array = json.loads((root / "0" / "zarr.json").read_text())
        assert array["dimension_names"] == list("tczyx")
        assert (root / "0" / "c" / "1" / "0" / "2" / "0" / "3").is_file()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("shards", ["none", (8, 32, 64)])
def test_chunks_of_nothing_but_zeros_are_not_stored(
    root: Path, version: str, shards: tuple[int, ...] | str
) -> None:
    if version == "0.4":
        shards = "none"
    pixels = np.zeros(SHAPE, "uint16")
    pixels[1, 0, 8, 39, 49] = 7
    write_whole(root, decide(ngff_version=version, shards=shards), pixels)
    files = [
        path
        for path in (root / "0").rglob("*")
        if path.is_file() and not path.name.startswith((".z", "zarr"))
    ]
    assert len(files) == 1
    assert_read_by_others(root, version, pixels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_minus_zero_is_not_taken_for_the_fill_value(root: Path, version: str) -> None:
    pixels = np.full(SHAPE, -0.0, "float32")
    write_whole(root, decide("float32", ngff_version=version), pixels)
    stored = zarr.open_array(root / "0", mode="r")[...]
    assert np.signbit(np.asarray(stored)).all()


def test_what_was_written_before_is_replaced_also_by_zeros(root: Path) -> None:
    decided = decide()
    write_whole(root, decided, coded_pixels(SHAPE))
    zeros = np.zeros(SHAPE, "uint16")
    write_whole(root, decided, zeros)
    assert_read_by_others(root, "0.5", zeros)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_axis_left_out_is_put_back_on_reading(root: Path, version: str) -> None:
    pixels = coded_pixels((1, 2, 9, 40, 50))
    sink = write_whole(root, decide(shape=pixels.shape, ngff_version=version), pixels)
    assert zarr.open_array(root / "0", mode="r").shape == (2, 9, 40, 50)
    box = Box((0, 1, 2, 3, 4), (1, 2, 8, 30, 20))
    np.testing.assert_array_equal(sink.read(0, box), pixels[box.slices])


def test_a_sink_pickles_as_an_address(root: Path) -> None:
    pixels = coded_pixels(SHAPE)
    sink = pickle.loads(pickle.dumps(write_whole(root, decide(), pixels)))
    np.testing.assert_array_equal(sink.read(0, Box((0,) * 5, SHAPE)), pixels)


def test_another_array_in_the_place_is_refused(root: Path) -> None:
    sink_for(root, decide())
    with pytest.raises(WriteError, match=r"image/0: cannot write: .*chunk"):
        sink_for(root, decide(chunks=(4, 8, 16)))


def test_a_missing_or_different_level_is_found(root: Path) -> None:
    decided = decide()
    sink = sink_for(root, decided)
    sink.check(decided)
    with pytest.raises(VerificationError, match="should be"):
        sink.check(decide(chunks=(4, 8, 16)))
    with sink:
        pass
    (root / "0" / "zarr.json").unlink()
    with pytest.raises(VerificationError, match="image/0: cannot be opened"):
        sink.check(decided)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "image").write_text("a file, not a folder")
    with pytest.raises(WriteError, match="image/0: cannot write"):
        sink_for(tmp_path / "image", decide())


@pytest.mark.parametrize(("version", "shards"), [("0.4", "none"), ("0.5", "none"), ("0.5", (8, 32, 64))])
@pytest.mark.parametrize("left", [b"", b"rubbish", b"\0" * 5000])
def test_what_is_written_afresh_is_the_same_whatever_was_there(
    tmp_path: Path, version: str, shards: tuple[int, ...] | str, left: bytes
) -> None:
    pixels = coded_pixels(SHAPE)
    pixels[0, 0] = 0
    decided = decide(ngff_version=version, shards=shards)
    whole = Box((0,) * 5, SHAPE)
    with sink_for(tmp_path / "once", decided) as once:
        once.write(0, whole, pixels).finish()
    stored = tree(tmp_path / "once")
    with sink_for(tmp_path / "again", decided) as again:
        for name in stored:
            if not name.endswith((".zarray", "zarr.json")):
                (tmp_path / "again" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "again" / name).write_bytes(left)
        part = Box((1, 1, 8, 32, 0), SHAPE)
        with pytest.raises(WriteError):  # this is why
            again.write(0, part, pixels[part.slices]).finish()
        again.write(0, whole, pixels, afresh=True).finish()
        np.testing.assert_array_equal(again.read(0, whole), pixels)
    assert tree(tmp_path / "again") == stored


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(
        *[st.tuples(st.integers(1, 3), st.integers(1, 4))] * 2, *[st.tuples(*[st.integers(1, 24)] * 2)] * 3
    ),
    version=st.sampled_from(["0.4", "0.5"]),
    shards=st.booleans(),
    afresh=st.booleans(),
)
def test_chunks_along_any_axes_keep_every_voxel(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: tuple[tuple[int, int], ...],
    version: str,
    shards: bool,
    afresh: bool,
) -> None:
    shape, chunks = tuple(n for n, _ in sizes), tuple(c for _, c in sizes)
    sharded: Any = tuple(2 * c for c in chunks) if shards and version == "0.5" else "none"
    decided = decide(shape=shape, ngff_version=version, chunks=chunks, shards=sharded, output_axes="tczyx")
    pixels = coded_pixels(shape) | 1  # no chunk is of nothing but zeros
    with sink_for(tmp_path_factory.mktemp("store"), decided) as sink:
        sink.write(0, Box((0,) * 5, shape), pixels, afresh=afresh).finish()
        np.testing.assert_array_equal(sink.read(0, Box((0,) * 5, shape)), pixels)


@pytest.mark.parametrize("chunks", [(2, 1, 8, 64, 64), (1, 2, 8, 64, 64), (2, 2, 4, 32, 32)])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_of_several_channels_or_times_keep_every_voxel(
    tmp_path: Path, version: str, chunks: tuple[int, ...]
) -> None:
    shape = (2, 2, 16, 128, 128)
    decided = decide(shape=shape, ngff_version=version, chunks=chunks, output_axes="tczyx")
    pixels = coded_pixels(shape) | 1
    with sink_for(tmp_path, decided) as sink:
        sink.write(0, Box((0,) * 5, shape), pixels).finish()
        np.testing.assert_array_equal(sink.read(0, Box((0,) * 5, shape)), pixels)
