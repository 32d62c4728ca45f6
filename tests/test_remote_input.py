"""Inputs on servers: the same stores as of local files, few bytes fetched, faults survived or named."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import ome_tiffs
import pytest
import servers
import tifffile
from servers import BUCKET, Faults, HttpFiles, S3Server, http_files, s3_server
from stores import tree
from tiffs import micro_manager_stack

from ngff_convert import Options, convert, events
from ngff_convert.cli import main
from ngff_convert.convert import open_source
from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.model import Box
from ngff_convert.readers import cloud_access, read_ahead, remote_files
from ngff_convert.readers.addresses import Address
from ngff_convert.readers.contract import located, remote_facts
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = np.random.default_rng(1)


def noise(*shape: int) -> Any:
    return NOISE.integers(0, 4000, shape, np.uint16)


def make_ims(path: Path) -> None:
    write_ims(path, coded_pixels((2, 3, 9, 150, 170)), levels=2, filters={"compression": "gzip"})


def make_contiguous_ims(path: Path) -> None:
    make_ims(path)
    with h5py.File(path, "r+") as file:
        for t in range(2):
            for c in range(3):
                group = file[f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}"]
                data = group["Data"][...]
                del group["Data"]
                group.create_dataset("Data", data=data)


def make_ome_tiff(path: Path) -> None:
    pixels = noise(2, 3, 256, 320)
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(pixels, subifds=1, tile=(64, 64), compression="zlib", metadata={"axes": "CZYX"})
        tif.write(pixels[..., ::2, ::2], subfiletype=1, tile=(64, 64), compression="zlib")


def make_strips(path: Path) -> None:
    tifffile.imwrite(path, noise(5, 200, 300), rowsperstrip=16, compression="lzw", predictor=True)


def make_imagej(path: Path) -> None:
    tifffile.imwrite(path, noise(2, 4, 2, 100, 120), imagej=True, metadata={"axes": "TZCYX"})


def make_colours(path: Path) -> None:
    tifffile.imwrite(path, noise(300, 400, 3).astype(np.uint8), photometric="rgb", bigtiff=True)


KINDS = {
    "gzip.ims": make_ims,
    "contiguous.ims": make_contiguous_ims,
    "pyramid.ome.tif": make_ome_tiff,
    "strips.tif": make_strips,
    "imagej.tif": make_imagej,
    "a colour%.tif": make_colours,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "served"
    made.mkdir()
    return made


@pytest.fixture
def server(folder: Path) -> Iterator[HttpFiles]:
    with http_files(folder) as running:
        yield running


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once."""
    for name in ("FIRST_WAITS", "WAITS"):
        monkeypatch.setattr(remote_files, name, (0.001,) * len(getattr(remote_files, name)))


def url_of(server: HttpFiles, name: str) -> str:
    return f"{server.url}/{name.replace('%', '%25').replace(' ', '%20')}"


def fetched(server: HttpFiles | S3Server) -> int:
    asked = ((r.first_byte, r.last_byte) for r in server.requests)
    return sum(last - first + 1 for first, last in asked if first is not None and last is not None)


def read(source: str | Path, **wishes: Any) -> list[Any]:
    with open_source(source, **wishes) as opened:
        return [image.pixels[...] for image in opened.images]


# -- the same as of a local file ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_store_is_that_of_the_local_file(tmp_path: Path, server: HttpFiles, name: str) -> None:
    KINDS[name](tmp_path / "served" / name)
    options = Options(workers=2)
    convert(tmp_path / "served" / name, tmp_path / "local.ome.zarr", options)
    convert(url_of(server, name), tmp_path / "remote.ome.zarr", options)
    assert tree(tmp_path / "remote.ome.zarr") == tree(tmp_path / "local.ome.zarr")
    assert all(request.status == 206 for request in server.requests)


@pytest.mark.parametrize("name", KINDS)
def test_the_library_reads_the_same(folder: Path, server: HttpFiles, name: str) -> None:
    KINDS[name](folder / name)
    with open_source(url_of(server, name)) as opened, open_source(folder / name) as local:
        for image, other in zip(opened.images, local.images, strict=True):
            every = [image.pixels, *(level.pixels for level in image.native_levels)]
            others = [other.pixels, *(level.pixels for level in other.native_levels)]
            for pixels, expected in zip(every, others, strict=True):
                whole = Box((0,) * 5, pixels.shape)
                np.testing.assert_array_equal(pixels.read_by_library(whole), expected[...])
                part = Box((0, 0, 0, 7, 11), (*pixels.shape[:3], 40, 30))
                np.testing.assert_array_equal(pixels.read_by_library(part), expected[part.slices])
                np.testing.assert_array_equal(pixels[part.slices], expected[part.slices])


def test_the_commands_take_addresses(
    tmp_path: Path, folder: Path, server: HttpFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    make_ims(folder / "in.ims")
    url, store = url_of(server, "in.ims"), str(tmp_path / "out.ome.zarr")
    assert main([url, store, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["verify", url, store]) == 0
    assert main(["inspect", url, "--json"]) == 0
    assert main(["convert", url, store, "--dry-run"]) == 0
    assert "image in" in capsys.readouterr().out
    (Path(store) / "0" / "zarr.json").write_text("{}")
    assert main(["verify", url, store]) == 8


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


def put(bucket: S3Server, path: Path, key: str) -> str:
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=bucket.endpoint,
        region="us-east-1",
        access_key_id=bucket.environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=bucket.environment["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )
    store.put(key, path.read_bytes())
    return f"s3://{BUCKET}/{key}"


@pytest.mark.parametrize("name", ["gzip.ims", "pyramid.ome.tif"])
def test_buckets(
    tmp_path: Path, folder: Path, bucket: S3Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    KINDS[name](folder / name)
    for variable, value in bucket.environment.items():
        monkeypatch.setenv(variable, value)
    url = put(bucket, folder / name, f"some folder/{name}")
    convert(folder / name, tmp_path / "local.ome.zarr")
    convert(url, tmp_path / "remote.ome.zarr")
    assert tree(tmp_path / "remote.ome.zarr") == tree(tmp_path / "local.ome.zarr")
    with pytest.raises(ReadError, match=r"nothing\.ims: No such file on the server"):
        read(f"s3://{BUCKET}/nothing.ims")


def test_buckets_by_options_and_profiles(
    tmp_path: Path, folder: Path, bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_strips(folder / "a.tif")
    url = put(bucket, folder / "a.tif", "a.tif")
    for variable in bucket.environment:
        monkeypatch.delenv(variable, raising=False)
    credentials = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {bucket.endpoint}\n"
        "[profile guests]\nsso_session = x\n"
    )
    keys = "aws_access_key_id = test-key\naws_secret_access_key = secret\n"
    credentials.write_text(f"[lab]\n{keys}[default]\n{keys}")
    [expected] = read(folder / "a.tif")
    place = (("endpoint", bucket.endpoint), ("region", "us-east-1"))
    for options in ((("profile", "lab"),), (*place, ("profile", "lab")), place):
        [found] = read(url, storage_options=options)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ReadError, match=r"no permission to read it.*anonymous=true"):
        read(url, storage_options=(*place, ("anonymous", "true")))
    with pytest.raises(OptionError, match="profile=nobody: there is no such profile"):
        read(url, storage_options=(*place, ("profile", "nobody")))
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(OptionError, match=r"profile=guests: logs in by SSO.*pip install boto3"):
        read(url, storage_options=(*place, ("profile", "guests")))
    with pytest.raises(OptionError, match="there is no such key; there are endpoint, region"):
        cloud_access.store_of(url, {"secret": "x"})


# -- what is fetched ----------------------------------------------------------------------------------------


def stored_bytes(path: Path, box: Box) -> int:
    """Return the stored bytes of the chunks of a box of an Imaris file, as HDF5 says."""
    with h5py.File(path) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1/Data"]
        total = 0
        for number in range(data.id.get_num_chunks()):
            chunk = data.id.get_chunk_info(number)
            at = chunk.chunk_offset
            if all(
                a < s and a + n > b
                for a, n, b, s in zip(at, data.chunks, box.start[2:], box.stop[2:], strict=True)
            ):
                total += chunk.size
        return total


STRUCTURE_BYTES = 400_000


def test_of_a_large_imaris_file_only_what_a_box_takes_is_fetched(folder: Path, server: HttpFiles) -> None:
    path = folder / "large.ims"
    write_ims(path, noise(1, 3, 64, 512, 512), chunks=(8, 128, 128), filters={"compression": "gzip"})
    box = Box((0, 1, 8, 100, 130), (1, 2, 40, 300, 260))
    needed = stored_bytes(path, box)
    assert needed < path.stat().st_size / 10
    with open_source(url_of(server, "large.ims")) as opened:
        found = opened.images[0].pixels[box.slices]
    with open_source(path) as local:
        np.testing.assert_array_equal(found, local.images[0].pixels[box.slices])
    assert needed <= fetched(server) <= 1.3 * needed + STRUCTURE_BYTES
    assert len(server.requests) <= 60


def test_of_a_large_tiff_only_what_a_box_takes_is_fetched(folder: Path, server: HttpFiles) -> None:
    path = folder / "large.ome.tif"
    tifffile.imwrite(
        path, noise(24, 1024, 1024), tile=(256, 256), compression="zlib", metadata={"axes": "ZYX"}
    )
    with tifffile.TiffFile(path) as tif:
        sizes = [page.databytecounts for page in tif.pages]
    needed = sum(size[5] + size[6] for size in sizes[:12])
    with open_source(url_of(server, "large.ome.tif")) as opened:
        opening = fetched(server)
        found = opened.images[0].pixels[0, 0, :12, 256:512, 256:768]
        n_before = len(server.requests)
    with open_source(path) as local:
        np.testing.assert_array_equal(found, local.images[0].pixels[0, 0, :12, 256:512, 256:768])
    assert opening <= 24 * remote_files.ALONE * remote_files.BLOCK_BYTES + 100_000
    assert needed <= fetched(server) - opening <= 1.3 * needed
    assert n_before <= 24 + 12 + 10


def test_a_whole_file_is_fetched_once_in_large_pieces(
    tmp_path: Path, folder: Path, server: HttpFiles
) -> None:
    path = folder / "in.ims"
    write_ims(path, noise(2, 2, 32, 256, 256), chunks=(8, 64, 64), filters={"compression": "gzip"})
    convert(url_of(server, "in.ims"), tmp_path / "out.ome.zarr", Options(workers=2))
    size = path.stat().st_size
    assert fetched(server) <= 1.1 * size + STRUCTURE_BYTES
    assert len(server.requests) <= size / 2**19 + 60


def test_a_file_is_opened_by_few_requests(folder: Path, server: HttpFiles) -> None:
    make_ims(folder / "in.ims")
    make_imagej(folder / "in.tif")
    for name in ("in.ims", "in.tif"):
        server.requests.clear()
        with open_source(url_of(server, name)):
            pass
        assert len(server.requests) <= 12  # HDF5 before 2.0 looks at more places


@pytest.mark.slow
def test_thousands_of_pages_are_fetched_once(folder: Path, server: HttpFiles) -> None:
    n = 2500
    page = NOISE.integers(0, 4000, (128, 128), np.uint16)
    with tifffile.TiffWriter(folder / "many.tif") as tif:
        for _ in range(n):
            tif.write(page, compression="zlib", contiguous=False, metadata=None)
    with open_source(url_of(server, "many.tif")) as opened:
        np.testing.assert_array_equal(opened.images[0].pixels[-1, -1, -1], page)
    assert len(server.requests) <= 1.05 * n
    blocks = remote_files.ALONE * remote_files.SCATTERED + 2 * n  # what is looked at may lie in two
    assert fetched(server) <= blocks * remote_files.BLOCK_BYTES + STRUCTURE_BYTES


class Crowd:
    """Stands in for the delay of a server: counts who waits at the same time."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._changed = threading.Condition()

    def sleep(self, _seconds: float) -> None:
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= read_ahead.AT_ONCE, timeout=0.2)
            self._now -= 1


def test_several_requests_are_in_flight(
    folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "in.ims"
    write_ims(path, noise(1, 1, 32, 512, 512), chunks=(8, 128, 128), filters={"compression": "gzip"})
    monkeypatch.setattr(read_ahead, "REQUEST_BYTES", 2**18)
    with open_source(url_of(server, "in.ims")) as opened:
        crowd = Crowd()
        monkeypatch.setattr(servers, "time", crowd)
        found = opened.images[0].pixels[...]
    np.testing.assert_array_equal(found, read(path)[0])
    assert crowd.most == read_ahead.AT_ONCE


def test_what_is_in_flight_is_bounded(
    folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "in.ims"
    write_ims(path, noise(1, 1, 32, 512, 512), chunks=(8, 128, 128), filters={"compression": "gzip"})
    monkeypatch.setattr(read_ahead, "REQUEST_BYTES", 2**18)
    monkeypatch.setattr(read_ahead, "FLIGHT_BYTES", 2**19)
    with open_source(url_of(server, "in.ims")) as opened:
        crowd = Crowd()
        monkeypatch.setattr(servers, "time", crowd)
        found = opened.images[0].pixels[...]
    np.testing.assert_array_equal(found, read(path)[0])
    assert crowd.most == 2
    assert read_ahead._FLIGHT._bytes == 0


def test_memory_for_servers_is_counted(folder: Path, server: HttpFiles) -> None:
    make_ims(folder / "in.ims")
    make_ome_tiff(folder / "in.ome.tif")
    for name in ("in.ims", "in.ome.tif"):
        with open_source(folder / name) as local, open_source(url_of(server, name)) as opened:
            more = opened.images[0].pixels.index_bytes - local.images[0].pixels.index_bytes
            assert more == remote_files.RemoteFile.kept_bytes


# -- faults -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", KINDS)
def test_faults_lose_nothing(tmp_path: Path, folder: Path, name: str) -> None:
    KINDS[name](folder / name)
    convert(folder / name, tmp_path / "local.ome.zarr")
    with http_files(folder, faults=Faults(every=3)) as server:
        convert(url_of(server, name), tmp_path / "remote.ome.zarr")
        assert server.traffic.failed
    assert tree(tmp_path / "remote.ome.zarr") == tree(tmp_path / "local.ome.zarr")


@pytest.mark.usefixtures("hasty")
def test_a_bucket_that_fails_loses_nothing(
    folder: Path, bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ims(folder / "in.ims")
    for variable, value in bucket.environment.items():
        monkeypatch.setenv(variable, value)
    url = put(bucket, folder / "in.ims", "faulty.ims")
    monkeypatch.setattr(bucket.traffic, "faults", Faults(every=3))
    [found] = read(url)
    np.testing.assert_array_equal(found, read(folder / "in.ims")[0])
    assert bucket.traffic.failed


@pytest.mark.usefixtures("hasty")
def test_a_server_that_dies_and_comes_back(tmp_path: Path, folder: Path) -> None:
    path = folder / "in.ims"
    write_ims(path, noise(4, 2, 16, 256, 256), chunks=(8, 64, 64), filters={"compression": "gzip"})
    convert(path, tmp_path / "local.ome.zarr")
    target = tmp_path / "remote.ome.zarr"
    noted: list[str] = []
    with http_files(folder) as server:

        def dies(event: Any) -> None:
            if isinstance(event, events.RegionDone):
                server.traffic.faults = Faults(every=1, kinds=("drop",))

        with pytest.raises(
            ReadError, match=r"in\.ims: .*cannot be read at byte \d+: the connection was cut"
        ) as failed:
            convert(url_of(server, "in.ims"), target, Options(workers=1), dies)
        assert "\n" not in str(failed.value)
        assert not target.exists()
        server.traffic.faults = Faults()
        convert(
            url_of(server, "in.ims"),
            target,
            Options(workers=1),
            lambda event: noted.append(event.message) if isinstance(event, events.Note) else None,
        )
    assert any("is taken up" in line for line in noted)
    assert tree(target) == tree(tmp_path / "local.ome.zarr")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("after", range(1, 12))
def test_a_server_that_dies_on_opening_is_never_damage(folder: Path, server: HttpFiles, after: int) -> None:
    """Libraries make do with what they cannot read: what they then find is not what the file holds."""
    make_ome_tiff(folder / "in.ome.tif")

    next_fault = server.traffic.next_fault

    def dies() -> str:
        next_fault()
        return "drop" if len(server.requests) >= after else ""

    server.traffic.next_fault = dies  # type: ignore[method-assign]
    try:
        with open_source(url_of(server, "in.ome.tif")) as opened:
            assert opened.images[0].pixels.shape == (1, 2, 3, 256, 320)
            assert len(opened.images[0].native_levels) == 1
            assert not opened.warnings
    except ReadError as error:
        assert "the connection was cut" in str(error)  # noqa: PT017 - either will do


@pytest.mark.parametrize(
    ("text", "words", "lasting"),
    [
        (
            "GET https://h/a?key=secret - Server returned non-2xx status code: 503 Slow Down: x",
            "503 Slow Down",
            False,
        ),
        ("non-2xx status code: 429 Too Many Requests", "429 Too Many Requests", False),
        ("non-2xx status code: 400 Bad Request", "400 Bad Request", True),
        ("HTTP error: sending request\n\nInvalidCertificate(\n  UnknownIssuer,\n)", "(UnknownIssuer)", True),
        ('x\n"failed to lookup address information: No such host"', "failed to lookup address", False),
        ("Error performing PUT http://169.254.169.254/latest/api/token: 403", "no credentials", True),
        ("Generic: https://h/a?key=secret is odd", "is odd", False),
    ],
)
def test_reasons(text: str, words: str, lasting: bool) -> None:
    found = remote_files.reason(OSError(text))
    assert words in found.words
    assert found.lasting is lasting
    assert "secret" not in found.words


@pytest.mark.usefixtures("hasty")
def test_what_the_server_refuses_is_one_line(
    tmp_path: Path, folder: Path, server: HttpFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    make_strips(folder / "a.tif")
    (folder / "empty.tif").touch()
    out = str(tmp_path / "out.ome.zarr")
    with http_files(folder) as gone:
        pass
    secure = server.url.replace("http:", "https:")
    cases = {
        f"{server.url}/b.tif?X-Signature=secret": "No such file on the server (404)",
        f"{server.url}/empty.tif": "is empty (0 bytes)",
        f"{gone.url}/a.tif": "Connection refused",
        f"{secure}/a.tif": "does not speak TLS",
    }
    for url, words in cases.items():
        assert main([url, out]) == 3
        [line] = capsys.readouterr().err.strip().splitlines()
        assert words in line
        assert "secret" not in line
    assert not Path(out).exists()


def test_a_server_that_forbids(folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    make_strips(folder / "a.tif")
    monkeypatch.setattr(servers.FileHandler, "answer", lambda self: self.send(403, {}))
    with pytest.raises(ReadError, match=r"no permission to read it \(403 Forbidden\)"):
        read(url_of(server, "a.tif"))
    assert len(server.requests) == 1


def test_a_server_without_ranges_is_not_downloaded(
    folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_strips(folder / "a.tif")
    monkeypatch.setattr(servers.FileHandler, "range_asked", lambda self: (None, None))
    assert main(["inspect", url_of(server, "a.tif")]) == 4
    assert (
        "the server sends whole files only, not ranges of bytes; download it first" in capsys.readouterr().err
    )
    assert len(server.requests) == 1


def test_a_server_that_hangs_is_given_up(
    folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_strips(folder / "a.tif")
    monkeypatch.setitem(cloud_access.CLIENT, "read_timeout", "50ms")
    monkeypatch.setattr(remote_files, "MOST_SECONDS", 0)
    server.traffic.delay_s = 0.5
    with pytest.raises(ReadError, match="it does not answer in time"):
        read(url_of(server, "a.tif"))


def test_redirects_are_followed(folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    make_strips(folder / "a.tif")
    answer = servers.FileHandler.answer

    def moved(self: Any) -> None:
        if self.path.startswith("/records"):
            self.send(302, {"Location": "/a.tif"})
        else:
            answer(self)

    monkeypatch.setattr(servers.FileHandler, "answer", moved)
    [found] = read(f"{server.url}/records/a.tif?download=1")
    np.testing.assert_array_equal(found, read(folder / "a.tif")[0])


# -- which version of a file --------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, folder: Path, server: HttpFiles) -> None:
    make_ims(folder / "in.ims")
    with open_source(url_of(server, "in.ims")) as opened:
        make_ims(folder / "in.ims")
        with pytest.raises(ReadError, match="was changed while it was read"):
            opened.images[0].pixels[...]

    def changes(event: Any) -> None:
        if isinstance(event, events.RegionDone):
            make_ims(folder / "in.ims")

    with pytest.raises(ReadError, match="was changed while it was read"):
        convert(url_of(server, "in.ims"), tmp_path / "out.ome.zarr", Options(workers=1), changes)
    assert not (tmp_path / "out.ome.zarr").exists()


def test_a_file_that_changes_at_the_end_is_noticed(tmp_path: Path, folder: Path, server: HttpFiles) -> None:
    make_ims(folder / "in.ims")

    def changes(event: Any) -> None:
        if isinstance(event, events.LevelDone):
            make_ims(folder / "in.ims")

    with pytest.raises(ReadError, match="was changed"):
        convert(url_of(server, "in.ims"), tmp_path / "out.ome.zarr", Options(workers=1), changes)


def test_other_processes_hold_to_the_version(folder: Path, server: HttpFiles) -> None:
    make_strips(folder / "a.tif")
    with open_source(f"{url_of(server, 'a.tif')}?key=1", storage_options=(("region", "x"),)) as opened:
        path = opened.paths[0]
        assert isinstance(path, Address)
        copy = pickle.loads(pickle.dumps(path))
        assert (copy, copy.url, copy.storage_options) == (path, path.url, path.storage_options)
        assert copy.opened().size == path.opened().size
        later = pickle.loads(pickle.dumps(path))
        make_strips(folder / "a.tif")
        with pytest.raises(ReadError, match="was changed"):
            later.opened()


def test_another_process_reads_the_same(tmp_path: Path, folder: Path, server: HttpFiles) -> None:
    for name in ("gzip.ims", "pyramid.ome.tif"):
        KINDS[name](folder / name)
        with open_source(f"{url_of(server, name)}?key=1") as opened:
            (tmp_path / "pixels").write_bytes(pickle.dumps(opened.images[0].pixels))
            code = (
                "import pickle, sys, numpy; from pathlib import Path\n"
                "pixels = pickle.loads(Path('pixels').read_bytes()); numpy.save('found.npy', pixels[...])"
            )
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
            np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), opened.images[0].pixels[...])
    assert all(request.path.endswith("?key=1") for request in server.requests)


def test_facts_of_a_file(folder: Path, server: HttpFiles) -> None:
    path = folder / "a.tif"
    make_strips(path)
    data = path.read_bytes()
    address = located(url_of(server, "a.tif"))
    before = remote_facts(address, 100)
    assert before is not None
    assert (before[0], before[2]) == (len(data), data[:100] + data[-100:])
    assert remote_facts(address, 100, anew=True) == before
    path.write_bytes(data)
    after = remote_facts(address, 0, anew=True)
    assert after is not None
    assert after[1] != before[1]
    assert remote_facts(str(path), 100) is None


def test_a_signature_is_written_nowhere(tmp_path: Path, folder: Path, server: HttpFiles) -> None:
    make_ims(folder / "in.ims")
    partial = tmp_path / "out.ome.zarr.partial"
    url = f"{url_of(server, 'in.ims').replace('http://', 'http://me:word@')}?X-Signature=word"
    seen: list[str] = []

    def look(event: Any) -> None:
        if isinstance(event, events.RegionDone):
            seen.extend(p.read_text(errors="replace") for p in partial.rglob("*") if p.is_file())
        seen.append(repr(event))

    convert(url, tmp_path / "out.ome.zarr", Options(workers=1), look)
    assert any("in.ims" in text for text in seen)
    assert not any("word" in text for text in seen)
    assert all(request.path.endswith("X-Signature=word") for request in server.requests)


# -- sets of files, and what is refused ---------------------------------------------------------------------


def test_the_files_of_a_set_lie_beside(folder: Path, server: HttpFiles) -> None:
    pixels = ome_tiffs.coded(t=3, z=2)
    names = ["t 0.ome.tif", "t1.ome.tif", "t2.ome.tif"]
    ome_tiffs.file_set(folder, pixels, names, "all.companion.ome")
    for name in ("all.companion.ome", "t1.ome.tif"):
        with open_source(url_of(server, name)) as opened:
            np.testing.assert_array_equal(opened.images[0].pixels[...], pixels)
            assert {str(path).rpartition("/")[2] for path in opened.paths} == {
                "all.companion.ome",
                "t%200.ome.tif",
                "t1.ome.tif",
                "t2.ome.tif",
            }
    (folder / "t2.ome.tif").unlink()
    with open_source(url_of(server, "all.companion.ome")) as opened:
        assert "1 of 4 files of the set are missing: t2.ome.tif" in opened.missing[0]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{}/folder/", "is a folder on a server"),
        ("{}/t{{t}}.tif", "is a pattern of names on a server"),
        ("s3://bucket/*.tif", "is a pattern of names on a server"),
        ("s3://bucket", "names no file"),
        ("ftp://host/a.ims", "files of ftp:// are not read, only http, https, s3, gs"),
    ],
)
def test_what_is_no_file_is_refused(server: HttpFiles, url: str, words: str) -> None:
    with pytest.raises(UnsupportedInput, match=words):
        read(url.format(server.url))
    assert not server.requests


def test_sets_that_take_a_folder_are_refused(folder: Path, server: HttpFiles) -> None:
    path = folder / "a_MMStack_Pos0.tif"
    micro_manager_stack(
        path, [np.zeros((4, 5), np.uint16)], [(0, 0, 0)], {"Frames": 1, "Slices": 1, "Channels": 1}
    )
    with tifffile.TiffFile(path) as tif:
        assert tif.is_mmstack
    with pytest.raises(UnsupportedInput, match="one of a set of Micro-Manager"):
        read(url_of(server, path.name))
    with pytest.raises(UnsupportedInput, match="is one file on a server; leave --reader files out"):
        read(url_of(server, path.name), reader="files")


def test_lists_are_of_local_files(tmp_path: Path, server: HttpFiles) -> None:
    (tmp_path / "list.txt").write_text(f"{server.url}/a.tif\n")
    with pytest.raises(UnsupportedInput, match="which is on a server; download"):
        read(tmp_path / "list.txt", files_from=str(tmp_path / "list.txt"))


def test_links_out_of_a_remote_file_are_refused(folder: Path, server: HttpFiles) -> None:
    make_ims(folder / "in.ims")
    shutil.copy(folder / "in.ims", folder / "pixels.ims")
    with h5py.File(folder / "in.ims", "r+") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0"]
        del group["Channel 0"]
        group["Channel 0"] = h5py.ExternalLink("pixels.ims", group.name + "/Channel 0")
    with pytest.raises(UnsupportedInput, match=r"is a link to the file pixels\.ims; a file on a server"):
        read(url_of(server, "in.ims"))


def test_the_library_is_named_where_it_is_missing(server: HttpFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UnsupportedInput, match=r"pip install 'ngff-convert\[cloud\]'"):
        read(f"{server.url}/a.tif")


# -- asking ahead, and the blocks of structure ---------------------------------------------------------------


class Pretended:
    """A file of 100 MB that remembers what was fetched of it."""

    size = 10**8

    def __init__(self) -> None:
        self.fetched: list[tuple[int, int]] = []

    def fetch(self, offset: int, size: int, given_up: Any = None) -> memoryview:
        self.fetched.append((offset, size))
        return memoryview(bytes([offset % 251]) + bytes(size - 1))


def test_neighbours_are_asked_for_together() -> None:
    file: Any = Pretended()
    gap, most = read_ahead.GAP_READ_OVER, read_ahead.REQUEST_BYTES
    wanted = [
        (0, 10),
        (10, 10),
        (20 + gap, 5),
        (30 + 2 * gap, 5),
        (most, most),
        (2 * most, 7),
        (file.size - 1, 2),
    ]
    every = [read_ahead.Wanted(file, *item) for item in wanted]
    together = [item[1:] for item in read_ahead._together(every)]
    assert together == [(0, 25 + gap), (30 + 2 * gap, 5), (most, most), (2 * most, 7)]


def test_what_cannot_be_told_ahead_is_left_to_whoever_reads_it() -> None:
    file: Any = Pretended()

    def wanted() -> Iterator[read_ahead.Wanted]:
        yield read_ahead.Wanted(file, 0, 10)
        raise ReadError("damaged")

    with read_ahead.ahead(wanted()):
        assert read_ahead.taken(file, 0, 10) is not None
        assert read_ahead.taken(file, 10**6, 10) is None


def test_another_order_than_was_said_costs_requests_and_nothing_else() -> None:
    file: Any = Pretended()
    size = read_ahead.SMALLEST_PIXELS
    offsets = [n * 10**6 for n in range(30)]
    with read_ahead.ahead(read_ahead.Wanted(file, offset, size) for offset in offsets):
        for offset in [*offsets[::-1], *offsets]:
            found = read_ahead.taken(file, offset, size)
            assert found is None or (found[0], len(found)) == (offset % 251, size)
    assert len(file.fetched) <= 30
    assert read_ahead._FLIGHT._bytes == 0
    assert read_ahead.taken(file, 0, size) is None


def test_structure_is_read_in_blocks_that_grow(folder: Path, server: HttpFiles) -> None:
    data = NOISE.bytes(4 * 2**20 + 77)
    (folder / "a.bin").write_bytes(data)
    file = Address(f"{server.url}/a.bin").opened()
    assert file.pread(100, 60_000) == data[60_000:60_100]
    assert len(server.requests) == 1  # with what is fetched on opening
    for at in range(0, len(data), 4000):
        assert file.pread(4000, at) == data[at : at + 4000]
    assert len(server.requests) <= 16
    assert fetched(server) <= 1.2 * len(data)
    assert file.pread(10, len(data)) == b""
    assert file.pread(200, len(data) - 100) == data[-100:]
    n_before = len(server.requests)
    assert file.pread(2**20, 2**20) == data[2**20 : 2**21]
    assert len(server.requests) == n_before + 1
    with pytest.raises(ReadError, match="ends at byte"):
        file.read_into(len(data) - 10, bytearray(11))


def test_blocks_are_forgotten(folder: Path, server: HttpFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_files, "KEPT_BYTES", 8 * remote_files.BLOCK_BYTES)
    (folder / "a.bin").write_bytes(bytes(2**20))
    file = Address(f"{server.url}/a.bin").opened()
    for at in range(0, 2**20, 2**16):
        file.pread(1, at)
    assert len(file._blocks) == 8


def test_streams_are_files(folder: Path, server: HttpFiles) -> None:
    data = NOISE.bytes(300_000)
    (folder / "a.bin").write_bytes(data)
    stream = Address(f"{server.url}/a.bin").opened().stream()
    assert stream.read(10) == data[:10]
    assert stream.seek(-5, 2) == len(data) - 5
    assert stream.read() == data[-5:]
    assert stream.read() == b""
    stream.seek(100)
    stream.seek(5, 1)
    assert stream.read(200_000) == data[105:200_105]
    assert (stream.tell(), stream.readable(), stream.seekable()) == (200_105, True, True)


# -- what the documentation shows ----------------------------------------------------------------------------

TOP = Path(__file__).parent.parent


def test_the_commands_of_the_readme(
    tmp_path: Path, folder: Path, server: HttpFiles, bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ims(folder / "in.ims")
    make_ome_tiff(folder / "in.ome.tif")
    assert put(bucket, folder / "in.ome.tif", "in.ome.tif") == "s3://images/in.ome.tif"
    for variable, value in bucket.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    section = (TOP / "README.md").read_text(encoding="utf-8").partition("\n### From a server\n")[2]
    commands = section.partition("```\n")[2].partition("```")[0].replace("https://host", server.url)
    assert commands.count("ngff-convert ") == 4
    for line in commands.splitlines():
        assert main(line.split()[1:]) == 0, line


def test_the_example(tmp_path: Path) -> None:
    """The table with tiny sizes; the plot where matplotlib is there."""
    pytest.importorskip("aiohttp")
    plot = tmp_path / "plot.svg"
    words = ["--shape", "1,256,512", "--reads", "2", "--delays", "1", "--table", str(tmp_path / "table.md")]
    words += ["--plot", str(plot)] if find_spec("matplotlib") else []
    script = TOP / "examples/remote_reading/compare.py"
    command = [sys.executable, str(script), str(tmp_path / "files"), *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 6
    assert plot.exists() == bool(find_spec("matplotlib"))


def test_local_files_take_nothing_of_it(tmp_path: Path) -> None:
    make_ims(tmp_path / "in.ims")
    code = (
        "import sys; from ngff_convert.convert import open_source\n"
        "with open_source('in.ims') as source: source.images[0].pixels[0, 0]\n"
        "print('obstore' in sys.modules, 'boto3' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert result.stdout.split() == [b"False", b"False"]
