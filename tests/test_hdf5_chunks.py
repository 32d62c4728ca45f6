"""Boxes of HDF5 datasets, against what h5py reads and what was written."""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import tracemalloc
import zlib
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers import hdf5_chunks, open_files, stored_bytes
from ngff_convert.readers.hdf5_chunks import Storage, inspect, read_box, storage_of
from ngff_convert.readers.hdf5_files import Hdf5Files, Place, locate
from ngff_convert.readers.hdf5_filters import LZ4, Filter
from ngff_convert.readers.open_files import Cache
from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

SHAPE = (20, 50, 70)
CHUNKS = (8, 16, 32)
TRUTH = coded_pixels(SHAPE, "uint16")


@pytest.fixture
def files() -> Iterator[Hdf5Files]:
    opened = Hdf5Files()
    yield opened
    opened.close()


def write(path: Path, data: Any = TRUTH, **options: Any) -> str:
    with h5py.File(path, "w", **{k: options.pop(k) for k in ("userblock_size",) if k in options}) as file:
        file.create_dataset("a", data=data, **options)
    return str(path)


def known(files: Hdf5Files, path: str, name: str = "a") -> Storage:
    storage = storage_of(files, path, name)
    assert storage is not None
    return storage


def read(files: Hdf5Files, path: str, *box: slice, name: str = "a") -> NDArray[Any]:
    storage = known(files, path, name)
    spans = [
        range(n)[s] for n, s in zip(storage.shape, box or [slice(None)] * len(storage.shape), strict=True)
    ]
    out = np.empty([len(r) for r in spans], storage.dtype.newbyteorder("="))
    read_box(files, storage, [r.start for r in spans], out)
    return out


def equals(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype.newbyteorder("=") and bool((a == b).all())


PIPELINES = [p for n in range(4) for p in permutations(("deflate", "shuffle", "lz4"), n)]


def make_pipeline(path: Path, steps: Sequence[str], data: NDArray[Any] = TRUTH) -> str:
    """Write `data` through any filters in any order, which h5py's high level does not offer."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(CHUNKS)
    for step in steps:
        if step == "deflate":
            properties.set_deflate(3)
        elif step == "shuffle":
            properties.set_shuffle()
        else:
            properties.set_filter(LZ4, h5py.h5z.FLAG_MANDATORY, (2**30,))
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.py_create(data.dtype)
        dataset = h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple(data.shape), properties)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, data)
    return str(path)


@pytest.mark.parametrize("steps", PIPELINES, ids="+".join)
def test_every_order_of_filters_is_undone_without_hdf5(
    tmp_path: Path, files: Hdf5Files, steps: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_pipeline(tmp_path / "f.h5", steps)
    monkeypatch.setattr(hdf5_chunks, "_read_by_library", None)
    assert known(files, path).layout == "chunked"
    assert equals(read(files, path), TRUTH)
    assert equals(read(files, path, slice(3, 19), slice(5, 40), slice(31, 33)), TRUTH[3:19, 5:40, 31:33])


@pytest.mark.parametrize("steps", PIPELINES, ids="+".join)
def test_noise_that_does_not_compress(tmp_path: Path, files: Hdf5Files, steps: tuple[str, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, SHAPE, "u2")
    assert equals(read(files, make_pipeline(tmp_path / "n.h5", steps, noise)), noise)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<u8", ">i8", "<f2", "<f4", ">f4", ">f8", "<f8"]
)
@pytest.mark.parametrize("chunked", [True, False])
def test_every_number_type_comes_in_native_order(
    tmp_path: Path, files: Hdf5Files, dtype: str, chunked: bool
) -> None:
    data = coded_pixels(SHAPE, np.dtype(dtype).newbyteorder("=")).astype(dtype)
    options = {"chunks": CHUNKS, "compression": "gzip", "shuffle": True} if chunked else {}
    path = write(tmp_path / "d.h5", data, **options)
    assert known(files, path).layout == ("chunked" if chunked else "contiguous")
    got = read(files, path, slice(1, 17), slice(0, 50), slice(7, 70))
    assert got.dtype.isnative
    assert equals(got, data[1:17, :, 7:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chunks": CHUNKS, "fletcher32": True}, "fletcher32"),
        ({"chunks": CHUNKS, "scaleoffset": 0}, "scale-offset"),
        ({"chunks": CHUNKS, "compression": "lzf"}, "lzf (via HDF5 plugin)"),
        ({"chunks": CHUNKS, **hdf5plugin.Blosc(cname="lz4")}, "blosc (via HDF5 plugin)"),
        ({"chunks": CHUNKS, "shuffle": True, **hdf5plugin.Zstd()}, "shuffle + zstd (via HDF5 plugin)"),
        ({"chunks": CHUNKS, **hdf5plugin.Bitshuffle()}, "bitshuffle (via HDF5 plugin)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_filters_are_left_to_hdf5(
    tmp_path: Path, files: Hdf5Files, options: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "o.h5", **options)
    storage = known(files, path)
    assert (storage.layout, storage.compression) == ("library", words)
    assert equals(read(files, path, slice(2, 9), slice(0, 50), slice(1, 2)), TRUTH[2:9, :, 1:2])


def test_compression_is_named() -> None:
    assert str(Filter(1, (4,))) == "deflate 4"
    assert str(Filter(32004, (2**30,))) == "lz4"
    assert str(Filter(40000, ())) == "filter 40000 (via HDF5 plugin)"


def test_unknown_filter_is_unsupported(tmp_path: Path, files: Hdf5Files) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(CHUNKS)
    properties.set_filter(40123, h5py.h5z.FLAG_OPTIONAL, ())
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple(SHAPE)
        h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_UINT16, space, properties)
    with pytest.raises(UnsupportedInput, match=r"x\.h5: /a: compressed with filter 40123 .*not installed"):
        read(files, str(path))


def test_compact_virtual_external_and_packed_datasets_are_left_to_hdf5(
    tmp_path: Path, files: Hdf5Files
) -> None:
    small = TRUTH[:2, :3, :5]
    source = write(tmp_path / "source.h5")
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(small.shape)
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_UINT16, space, properties)
        file["compact"][...] = small
        virtual = h5py.VirtualLayout(SHAPE, "u2")
        virtual[...] = h5py.VirtualSource(source, "a", SHAPE)
        file.create_virtual_dataset("virtual", virtual)
        raw = [(str(tmp_path / "raw.bin"), 0, small.nbytes)]
        file.create_dataset("external", data=small, external=raw)
        packed = h5py.h5t.NATIVE_UINT16.copy()
        packed.set_precision(14)
        h5py.h5d.create(file.id, b"packed", packed, space)
        file["packed"][...] = small
    for name, truth in {"compact": small, "virtual": TRUTH, "external": small, "packed": small}.items():
        assert known(files, str(path), name).layout == "library", name
        assert equals(read(files, str(path), name=name), truth), name


@pytest.mark.parametrize("options", [{}, {"chunks": CHUNKS, "compression": "gzip"}])
def test_a_user_block_moves_nothing(tmp_path: Path, files: Hdf5Files, options: dict[str, Any]) -> None:
    path = write(tmp_path / "u.h5", userblock_size=1024, **options)
    assert equals(read(files, path, slice(5, 9), slice(1, 50), slice(0, 70)), TRUTH[5:9, 1:])


def test_filter_mask_says_which_steps_a_chunk_skipped(tmp_path: Path, files: Hdf5Files) -> None:
    path = tmp_path / "m.h5"
    data = TRUTH[:8, :16, :32]
    shuffled = data.reshape(-1).view("u1").reshape(-1, 2).T.copy().tobytes()
    chunks = {  # bit 0: not shuffled; bit 1: not deflated
        (0, 0, 0): (zlib.compress(shuffled), 0b00),
        (8, 0, 0): (zlib.compress(data.tobytes()), 0b01),
        (0, 16, 0): (shuffled, 0b10),
        (8, 16, 0): (data.tobytes(), 0b11),
    }
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", (16, 32, 32), "u2", chunks=CHUNKS, shuffle=True, compression="gzip")
        for corner, (stored, mask) in chunks.items():
            made.id.write_direct_chunk(corner, stored, mask)
    assert equals(read(files, str(path)), np.tile(data, (2, 2, 1)))


@pytest.mark.parametrize("fill", [0, 7])
def test_chunks_never_written_are_the_fill_value(tmp_path: Path, files: Hdf5Files, fill: int) -> None:
    path = tmp_path / "n.h5"
    expected = np.full(SHAPE, fill, "u2")
    expected[9:12, 20:30, 40:60] = 5
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", SHAPE, "u2", chunks=CHUNKS, compression="gzip", fillvalue=fill)
        made[9:12, 20:30, 40:60] = 5
        file.create_dataset("empty", SHAPE, "u2", chunks=CHUNKS, fillvalue=fill)
        file.create_dataset("flat", SHAPE, "u2", fillvalue=fill)
    assert equals(read(files, str(path)), expected)
    assert (read(files, str(path), name="empty") == fill).all()
    assert (read(files, str(path), name="flat") == fill).all()


@pytest.mark.parametrize("shape", [(7,), (7, 9), (3, 4, 5, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("chunked", [True, False])
def test_any_number_of_axes(tmp_path: Path, files: Hdf5Files, shape: tuple[int, ...], chunked: bool) -> None:
    data = coded_pixels(shape, "uint32")
    path = write(tmp_path / "a.h5", data, chunks=tuple(max(1, n // 2) for n in shape) if chunked else None)
    box = tuple(slice(1, n) for n in shape)
    assert equals(read(files, path, *box), data[box])


def test_long_rows_and_many_rows_of_a_contiguous_dataset(
    tmp_path: Path, files: Hdf5Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "c.h5")
    for limit in (50, 500, 10**6):
        monkeypatch.setattr(stored_bytes, "READ_AT_ONCE", limit)
        assert equals(read(files, path, slice(2, 5), slice(3, 48), slice(9, 11)), TRUTH[2:5, 3:48, 9:11])


def test_chunks_are_read_in_runs_of_neighbours(
    tmp_path: Path, files: Hdf5Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r.h5", chunks=CHUNKS)
    n_chunks = 3 * 4 * 3
    known(files, path)
    for limit, n_reads in ((2**22, 1), (1, n_chunks)):
        monkeypatch.setattr(stored_bytes, "READ_AT_ONCE", limit)
        fetched: list[int] = []
        fetch = hdf5_chunks._fetch
        monkeypatch.setattr(
            hdf5_chunks, "_fetch", lambda *args, f=fetch, n=fetched: (n.append(len(args[2])), f(*args))[1]
        )
        assert equals(read(files, path), TRUTH)
        assert (len(fetched), sum(fetched)) == (n_reads, n_chunks)
        monkeypatch.setattr(hdf5_chunks, "_fetch", fetch)


def test_small_chunks_take_little_memory_beside_the_pixels(tmp_path: Path, files: Hdf5Files) -> None:
    truth = coded_pixels((4, 256, 512), "uint16")
    path = write(tmp_path / "tiny.h5", truth, chunks=(1, 8, 16))
    storage = known(files, path)
    out = np.empty_like(truth)
    read_box(files, storage, (0, 0, 0), out)  # fills the buffers that are kept
    tracemalloc.start()
    read_box(files, storage, (0, 0, 0), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert equals(out, truth)
    n_chunks = 4 * 32 * 32
    assert peak < 2 * 2**20 + 100 * (n_chunks - hdf5_chunks.BATCH)


def test_batches_of_chunks_meet(tmp_path: Path, files: Hdf5Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_chunks, "BATCH", 5)
    path = write(tmp_path / "b.h5", chunks=(3, 7, 11), compression="gzip")
    assert equals(read(files, path), TRUTH)
    assert equals(read(files, path, slice(1, 19), slice(6, 43), slice(5, 69)), TRUTH[1:19, 6:43, 5:69])


@pytest.mark.parametrize(
    ("stop", "n_reads", "n_bytes"), [(10_000, 1, 40_000), (9_000, 1, 39_000), (64, 4, 256)]
)
def test_of_long_rows_only_what_is_wanted_is_read(
    tmp_path: Path,
    files: Hdf5Files,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
    n_reads: int,
    n_bytes: int,
) -> None:
    truth = coded_pixels((1, 4, 10_000), "uint8")
    path = write(tmp_path / "rows.h5", truth)
    storage = known(files, path)
    asked: list[int] = []
    read_into = open_files.OpenFile.read_into

    def counted(self: Any, offset: int, buffer: Any) -> None:
        asked.append(buffer.nbytes)
        read_into(self, offset, buffer)

    monkeypatch.setattr(open_files.OpenFile, "read_into", counted)
    out = np.empty((1, 4, stop), "u1")
    read_box(files, storage, (0, 0, 0), out)
    assert equals(out, truth[..., :stop])
    assert (len(asked), sum(asked)) == (n_reads, n_bytes)


@st.composite
def stored_boxes(
    draw: st.DrawFn,
) -> tuple[tuple[int, ...], tuple[int, ...], str, tuple[str, ...], list[slice]]:
    n_axes = draw(st.integers(1, 3))
    shape = tuple(draw(st.lists(st.integers(1, 20), min_size=n_axes, max_size=n_axes)))
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    dtype = draw(st.sampled_from(["u1", "<u2", ">u2", "<f4"]))
    steps = draw(st.sampled_from([(), ("gzip",), ("shuffle", "gzip"), ("shuffle",)]))
    ends = [sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in shape]
    return shape, chunks, dtype, steps, [slice(a, b) for a, b in ends]


@given(stored_boxes())
@settings(max_examples=80, deadline=None)
def test_any_box_equals_numpy_slicing(
    case: tuple[tuple[int, ...], tuple[int, ...], str, tuple[str, ...], list[slice]],
) -> None:
    shape, chunks, dtype, steps, box = case
    data = coded_pixels(shape, np.dtype(dtype).newbyteorder("=")).astype(dtype)
    compression = "gzip" if "gzip" in steps else None
    with TemporaryDirectory() as folder:
        path = write(
            Path(folder) / "h.h5", data, chunks=chunks, compression=compression, shuffle="shuffle" in steps
        )
        files = Hdf5Files()
        try:
            assert equals(read(files, path, *box), data[tuple(box)])
        finally:
            files.close()


def test_a_box_goes_into_an_array_of_any_strides(tmp_path: Path, files: Hdf5Files) -> None:
    path = write(tmp_path / "v.h5", chunks=CHUNKS, compression="gzip")
    frame = np.zeros((70, 50, 20), "u2")
    read_box(files, known(files, path), (0, 0, 0), frame.T)
    assert equals(frame.T, TRUTH)


def corner_of(path: str, number: int) -> tuple[int, int]:
    chunks: list[Any] = []
    with h5py.File(path) as file:
        file["a"].id.chunk_iter(chunks.append)
    return chunks[number].byte_offset, chunks[number].size


@pytest.mark.parametrize("steps", [("deflate",), ("shuffle", "deflate"), ("lz4",), ("deflate", "shuffle")])
def test_a_damaged_chunk_is_named(tmp_path: Path, files: Hdf5Files, steps: tuple[str, ...]) -> None:
    path = make_pipeline(tmp_path / "bad.h5", steps)
    offset, _ = corner_of(path, 5)
    with Path(path).open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * 20)
    where = rf"bad\.h5: /a: chunk \(0, 1, 2\) \(\d+ bytes at {offset}\) is damaged: "
    with pytest.raises(ReadError, match=where):
        read(files, path)
    assert equals(read(files, path, slice(8, 20), slice(0, 50), slice(0, 70)), TRUTH[8:])


@pytest.mark.parametrize(
    "stored",
    [b"", zlib.compress(b"short"), zlib.compress(b"x" * 10**5), b"\x78\x9c", TRUTH[:8, :16, :32].tobytes()],
)
def test_wrong_sizes_are_errors(tmp_path: Path, files: Hdf5Files, stored: bytes) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("a", (8, 16, 32), "u2", chunks=CHUNKS, compression="gzip")
        plain = file.create_dataset("b", (8, 16, 32), "u2", chunks=CHUNKS)
        if stored:
            made.id.write_direct_chunk((0, 0, 0), stored)
            plain.id.write_direct_chunk((0, 0, 0), stored[:-1])
    if not stored:
        assert (read(files, str(path)) == 0).all()
        return
    for name in ("a", "b"):
        with pytest.raises(ReadError, match=rf"w\.h5: /{name}: chunk \(0, 0, 0\)"):
            read(files, str(path), name=name)


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.h5", chunks=CHUNKS)
    flat = write(tmp_path / "flat.h5")
    for at_read in (True, False):
        files = Hdf5Files()
        storages = [known(files, path), known(files, flat)]
        if not at_read:
            files.close()
            files = Hdf5Files()
        for storage in storages:
            size = Path(storage.place.path).stat().st_size
            os.truncate(storage.place.path, size - 3000)
            with pytest.raises(ReadError, match=r"ends at byte|truncated: |beyond the end"):
                read_box(files, storage, (0, 0, 0), np.empty(SHAPE, "u2"))
            os.truncate(storage.place.path, size)
        files.close()


def test_absurd_sizes_take_no_memory(tmp_path: Path, files: Hdf5Files) -> None:
    path = tmp_path / "h.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("huge", (2**20, 2**20, 2**20), "u2", chunks=CHUNKS)
        file.create_dataset("wide", (2**60,), "u1", chunks=(2**10,))
        file.create_dataset("beyond", (2**31, 2**31, 2), "u1", chunks=(1, 1, 1))
        block = file.create_dataset("block", (1, 2**15, 2**15), "u2", chunks=(1, 2**15, 2**15), compression=1)
        block.id.write_direct_chunk((0, 0, 0), zlib.compress(b"nothing much"))
    tracemalloc.start()
    for name, start in (("huge", (2**19,) * 3), ("wide", (2**59,)), ("beyond", (2**30, 2**30, 0))):
        storage = known(files, str(path), name)
        out = np.full((2,) * len(start), 9, storage.dtype)
        read_box(files, storage, start, out)
        assert (out == 0).all()
    with pytest.raises(ReadError, match=r"/block: chunk \(0, 0, 0\) .* cannot hold a chunk of 2147483648"):
        read_box(files, known(files, str(path), "block"), (0, 0, 0), np.empty((1, 2, 2), "u2"))
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()


def test_what_is_no_dataset(tmp_path: Path, files: Hdf5Files) -> None:
    path = write(tmp_path / "g.h5")
    with h5py.File(path, "r+") as file:
        file.create_group("group")
    assert inspect(files, path, "nothing") is None
    assert inspect(files, path, "a/below") is None
    with pytest.raises(ReadError, match=r"g\.h5: /group: .*no dataset"):
        inspect(files, path, "group")


def test_the_table_is_built_once_and_forgotten_by_size(tmp_path: Path, files: Hdf5Files) -> None:
    path = write(tmp_path / "o.h5", chunks=CHUNKS)
    first = known(files, path)
    threads = [Thread(target=lambda: read(files, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert known(files, path) is first
    cache = Cache(100)
    made: list[str] = []

    def get(name: str, n_bytes: int = 40) -> Any:
        def make() -> tuple[str, int]:
            made.append(name)
            return name, n_bytes

        return cache.get(Place("", name), make)

    assert [get(name) for name in "abcbc"] == list("abcbc")
    assert made == ["a", "b", "c"]
    get("large", 1000)
    assert get("large") == "large"
    assert made == ["a", "b", "c", "large"]
    get("c")
    assert made[-1] == "c"


def open_paths() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue
    return found


def test_files_are_opened_once_and_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "once.h5", chunks=CHUNKS)
    files = Hdf5Files()
    for _ in range(3):
        read(files, path)
    assert open_paths().count(path) == 2  # h5py's and ours
    with files.using(path):
        files.close()
        assert open_paths().count(path) == 2  # still in use
    assert path not in open_paths()
    with pytest.raises(ValueError, match="closed"):
        read(files, path)


def test_idle_files_make_room(tmp_path: Path, files: Hdf5Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MAX_OPEN_FILES", 2)
    paths = [write(tmp_path / f"{n}.h5") for n in range(4)]
    with files.using(paths[0]):
        for path in paths:
            read(files, path)
        opened = open_paths()
        assert [opened.count(path) for path in paths] == [2, 0, 0, 2]


def test_pickled_it_is_the_same_here_and_opens_anew_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", chunks=CHUNKS)
    files = Hdf5Files()
    assert pickle.loads(pickle.dumps(files)) is files
    stored = pickle.dumps(files)
    files.close()
    again = pickle.loads(stored)  # as in another process: the first one is closed
    assert again is not files
    assert equals(read(again, path), TRUTH)
    assert pickle.loads(stored) is again
    again.close()
    assert path not in open_paths()


def test_forgotten_it_closes_its_files(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5")
    files = Hdf5Files()
    read(files, path)
    del files
    gc.collect()
    assert path not in open_paths()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_reads_and_the_parent_goes_on(tmp_path: Path, files: Hdf5Files) -> None:
    path = write(tmp_path / "k.h5", chunks=CHUNKS, compression="gzip")
    read(files, path)
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = equals(read(files, path), TRUTH)
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert equals(read(files, path), TRUTH)


def test_links_are_followed(tmp_path: Path, files: Hdf5Files) -> None:
    (tmp_path / "below").mkdir()
    other = write(tmp_path / "below" / "other.h5", chunks=CHUNKS)
    path = str(tmp_path / "l.h5")
    with h5py.File(path, "w") as file:
        file["group/soft"] = h5py.SoftLink("/out")
        file["group/relative"] = h5py.SoftLink("soft")
        file["out"] = h5py.ExternalLink("below/other.h5", "/a")
        file["windows"] = h5py.ExternalLink(".\\below\\other.h5", "a")
        file["moved"] = h5py.ExternalLink("/a/folder/of/long/ago/l.h5", "group/soft")
        file["absolute"] = h5py.ExternalLink(other, "a")
    for name in ("out", "group/soft", "group/relative", "windows", "moved", "absolute"):
        assert locate(files, path, name) == Place(other, "/a"), name
        assert equals(read(files, path, name=name), TRUTH), name
    assert locate(files, path, "group/none") is None
    assert known(files, path, "out").place.path == other


def test_links_that_lead_nowhere_are_named(tmp_path: Path, files: Hdf5Files) -> None:
    path = str(tmp_path / "d.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    os.mkfifo(tmp_path / "pipe.h5")
    with h5py.File(path, "w") as file:
        file["file"] = h5py.ExternalLink("gone.h5", "/a")
        file["object"] = h5py.ExternalLink("d.h5", "/not/there")
        file["soft"] = h5py.SoftLink("/nothing")
        file["circle"] = h5py.SoftLink("/circle2")
        file["circle2"] = h5py.SoftLink("/circle")
        file["text"] = h5py.ExternalLink("text.h5", "/a")
        file["pipe"] = h5py.ExternalLink("pipe.h5", "/a")
        file["folder"] = h5py.ExternalLink(str(tmp_path), "/a")
    for name, words in {
        "file": rf"d\.h5: file is a link to the file gone\.h5, but there is no {tmp_path}/gone\.h5",
        "object": r"d\.h5: object is a link to /not/there of d\.h5, which has no not",
        "soft": r"d\.h5: soft is a link to /nothing, which has no nothing",
        "circle": "circle is a circle of links",
        "pipe": r"pipe\.h5: is a pipe, a socket or a device",
    }.items():
        with pytest.raises(ReadError, match=words):
            locate(files, path, name)
    for name, words in {"text": r"text\.h5: not an HDF5 file", "folder": "is a folder; give a file"}.items():
        with pytest.raises(UnsupportedInput, match=words):
            locate(files, path, name)


def test_a_file_being_written_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "busy.h5"
    write(path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        files = Hdf5Files()
        with pytest.raises(ReadError, match=r"busy\.h5: another program is writing it"):
            read(files, str(path))
        files.close()
