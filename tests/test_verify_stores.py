"""Verification of stores: whose they are, what of the source is in them, and what a hostile one cannot do."""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_tiffs
import pytest
import zarr
from stores import attributes
from verified import CASES, Case, converted, edit, ims, in_small_boxes, tif, two_images

from ngff_convert import Options, tally
from ngff_convert.convert import decide, open_with
from ngff_convert.display import window_limits
from ngff_convert.errors import MemoryBudgetError, OptionError, ReadError, UnsupportedInput, VerificationError
from ngff_convert.ngff import image_attributes
from ngff_convert.stored import StoredLevel
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.verification import verification_lines
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# -- stores ------------------------------------------------------------------------------------------------


def test_stores_of_other_programs(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 2, 5, 70, 90))
    write_ims(tmp_path / "in.ims", pixels)
    root = zarr.create_group(tmp_path / "other", zarr_format=2)
    for path, level in (("full", pixels[0]), ("half", pixels[0, ..., ::2, ::2] + 1)):
        array = root.create_array(
            path,
            shape=level.shape,
            chunks=(1, 3, 32, 32),
            dtype=level.dtype,
            chunk_key_encoding={"name": "v2"},
        )
        array[...] = level
    axes = [{"name": "c", "type": "channel"}] + [{"name": axis, "type": "space"} for axis in "zyx"]
    datasets = [{"path": "full"}, {"path": "half"}]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets, "type": "gaussian"}]
    found = verify(tmp_path / "in.ims", tmp_path / "other")
    assert found.passed
    full, half = found.images[0].levels
    assert (full.chunks, full.of_chunks) == (2 * 2 * 3 * 3,) * 2
    assert (half.chunks, half.compared_with, half.crc32) == (0, "", None)
    assert half.not_compared == "how it was made is not known, because another program did"
    root["full"][1, 4, 69, 89] = 0  # type: ignore[index]
    (difference,) = verify(tmp_path / "in.ims", tmp_path / "other").differences
    assert difference.index == (0, 1, 4, 69, 89)


def other_source(store: Path, folder: Path) -> None:
    write_ims(folder / "in.ims", coded_pixels((2, 2, 9, 70, 91)))


def other_factors(store: Path, folder: Path) -> None:
    edit(
        store / "zarr.json",
        lambda ome: ome["multiscales"][0]["metadata"]["kwargs"].update(factors=[[1] * 5] * 9),
    )


def other_image(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0]["metadata"]["kwargs"].update(image=3))


def odd_crop(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0]["metadata"]["kwargs"].update(crop=[1, 2]))


def no_levels(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0].update(datasets=[]))


def no_axes(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0].pop("axes"))


def odd_axes(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0]["axes"].reverse())


def odd_version(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome.update(version="0.7"))


def no_image(store: Path, folder: Path) -> None:
    edit(store / "zarr.json", lambda ome: ome.pop("multiscales"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_source, "2 x 2 x 9 x 70 x 90 voxels .* of 2 x 2 x 9 x 70 x 91: is it the store of another"),
        (other_factors, "not of the sizes that its metadata state"),
        (other_image, "made of image 3, but the source has 1"),
        (odd_crop, r"crop \[1, 2\] is not a box"),
        (no_levels, "lists no levels"),
        (no_axes, "its multiscales are not as OME-NGFF 0.5 has them"),
        (odd_axes, "axes 'x, y, z, c, t': only"),
        (odd_version, "only 0.4, 0.5 and 0.6 are known"),
        (no_image, "no image in it"),
        (lambda store, _: (store / "zarr.json").unlink(), "is no (OME-Zarr group|folder)"),
        (lambda store, _: (store / "zarr.json").write_text("{"), "zarr.json: cannot be read: Expecting"),
        (lambda store, _: (store / "zarr.json").write_text("[]"), r"zarr.json: holds \[\], not an object"),
        (lambda store, _: shutil.rmtree(store / "1"), "1/zarr.json: cannot be read: no regular file"),
        (lambda store, _: (store / "1" / "zarr.json").write_text("{}"), "1: cannot be opened: "),
        (lambda store, _: shutil.rmtree(store), "is no (OME-Zarr group|folder)"),
    ],
)
def test_stores_that_cannot_be_compared(
    tmp_path: Path, spoil: Callable[[Path, Path], object], message: str
) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    spoil(store, tmp_path)
    with pytest.raises((VerificationError, UnsupportedInput, ReadError), match=message) as caught:
        verify(source, store)
    assert "\n" not in str(caught.value)


def test_values_that_the_store_cannot_hold(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, Case(lambda f: ims(f, dtype="uint8"), {}))
    write_ims(source, coded_pixels((2, 2, 9, 70, 90), "uint16"))
    with pytest.raises(VerificationError, match="0: cannot hold the values that the source has"):
        verify(source, store)


def test_what_a_store_says_of_its_source(tmp_path: Path) -> None:
    crop = ((None, None), (None, None), (1, None), (3, 20), (None, 31))
    _, store, _ = converted(tmp_path, Case(two_images, {"images": (1,), "crop": crop}))
    kwargs = attributes(store, "0.5")["multiscales"][0]["metadata"]["kwargs"]
    assert kwargs["image"] == 1
    assert kwargs["crop"] == [[0, 1], [0, 2], [1, 2], [3, 20], [0, 31]]


# -- which images of the source are in it ------------------------------------------------------------------


def three_images(folder: Path) -> Path:
    images = [coded_pixels((1, 1, 3, 40, 50)) + np.uint16(7 * n) for n in range(3)]
    described = [
        ome_tiffs.image(pixels, ome_tiffs.data(IFD=3 * n, PlaneCount=3), number=n)
        for n, pixels in enumerate(images)
    ]
    pages = [page for pixels in images for page in ome_tiffs.pages_of(pixels)]
    return ome_tiffs.write(folder / "in.ome.tif", pages, ome_tiffs.document(*described))


def series_is(store: Path, listed: list[str]) -> None:
    edit(store / "OME" / "zarr.json", lambda ome: ome.update(series=listed))


def twice(store: Path) -> None:
    shutil.rmtree(store / "1")
    shutil.copytree(store / "0", store / "1")


def first_and_last(store: Path) -> None:
    shutil.rmtree(store / "OME")
    shutil.rmtree(store / "1")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (twice, "image 0 of the source is in it 2 times, as 0, 1"),
        (first_and_last, "its images are numbered 0, 2: one is missing"),
        (lambda store: series_is(store, ["0", "0", "0"]), "series lists '0' twice"),
        (lambda store: series_is(store, ["0", "1"]), "series leaves out the image 2"),
        (lambda store: series_is(store, ["0", "1", "../other/2"]), "path '../other/2' does not lead down"),
        (lambda store: series_is(store, ["0", "1", str(store / "2")]), "does not lead down"),
        (lambda store: (store / "2").rename(store / "x") and (store / "2").symlink_to("x"), None),
    ],
)
def test_images_that_are_lost_or_doubled(
    tmp_path: Path, spoil: Callable[[Path], object], message: str | None
) -> None:
    source, store, _ = converted(tmp_path, Case(three_images))
    shutil.copytree(store, tmp_path / "other")
    spoil(store)
    if message is None:
        assert verify(source, store).passed
        return
    with pytest.raises(VerificationError, match=message):
        verify(source, store)


def test_an_image_that_was_chosen_and_is_gone(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, Case(three_images))
    for folder in "012":
        edit(
            store / folder / "zarr.json",
            lambda ome: ome["multiscales"][0]["metadata"]["kwargs"].update(images=[0, 1, 2]),
        )
    shutil.rmtree(store / "2")
    series_is(store, ["0", "1"])
    found = verify(source, store)
    assert (found.lost, found.left_out, found.differing) == ((2,), (2,), 0)
    assert not found.passed
    assert found.summary == "image 2 is not in it, though it was made with it"
    assert "image 2 is not in it" in list(verification_lines(found))[-1]
    assert found.to_json()["passed"] is False


def test_what_of_the_source_is_in_it_is_said(tmp_path: Path) -> None:
    crop = ((None, None), (None, None), (1, 3), (None, None), (None, None))
    source, store, _ = converted(tmp_path, Case(three_images, {"images": (2, 0), "crop": crop}))
    found = verify(source, store)
    assert (found.left_out, found.of_images, found.lost) == ((1,), 3, ())
    lines = list(verification_lines(found))
    assert lines[-1] == f"{store} is the same as a part of 2 of 3 images of {source} (every chunk)"
    assert "0: is only z 1:3 of the source's image 2" in lines
    assert found.to_json()["left_out"] == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": (0, 1)}, "--images gives 2, but .* has 1"),
        ({"images": (1,)}, "--images: .* was made of image 0, not 1; leave --images out"),
        ({"crop": ((None, None), (None, None), (0, 2), (None, None), (None, None))}, "--z: .* leave --z out"),
    ],
)
def test_options_that_contradict_the_store(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    case = Case(
        two_images, {"images": (0,), "crop": ((None, None), (None, None), (1, 3), *[(None, None)] * 2)}
    )
    source, store, right = converted(tmp_path, case)
    with pytest.raises(OptionError, match=message):
        verify(source, store, Options(**options))
    assert verify(source, store, Options(images=right.images, crop=right.crop)).passed


# -- levels of other programs, and memory ------------------------------------------------------------------


def other_store(
    folder: Path, *, chunks: tuple[int, ...] = (2, 16, 32), dtype: str = "uint16"
) -> tuple[Path, Path]:
    """Return an input and a store of three levels that another program made of it."""
    pixels = coded_pixels((5, 70, 90))
    source, store = tif(folder, pixels), folder / "other"
    root = zarr.create_group(store, zarr_format=3)
    for path, step in (("0", 1), ("1", 2), ("2", 4)):
        level = pixels[:, ::step, ::step].astype(dtype)
        array = root.create_array(path, shape=level.shape, chunks=(2, 16, 32), dtype=dtype, compressors=None)
        array[...] = level
    root.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": axis, "type": "space"} for axis in "zyx"],
                "datasets": [{"path": path} for path in "012"],
            }
        ],
    }
    return source, store


def test_levels_that_are_not_compared_are_not_called_the_same(tmp_path: Path) -> None:
    source, store = other_store(tmp_path)
    found = verify(source, store)
    assert found.passed
    assert not found.complete
    assert found.to_json()["complete"] is False
    lines = list(verification_lines(found))
    assert lines[-1] == f"{store}: level 0 is the same as {source} (every chunk); 2 levels not compared"
    assert [(level.chunks, level.decoded) for level in found.images[0].levels][1:] == [(0, 18), (0, 6)]
    assert "18 of 18 chunks can be decoded" in "".join(lines)
    (store / "1" / "c" / "1" / "2" / "0").write_bytes(b"short")
    found = verify(source, store)
    assert [(d.level, d.chunk) for d in found.differences] == [(1, (0, 0, 1, 2, 0))]
    assert "17 of 18 chunks can be decoded, 1 cannot be" in "".join(verification_lines(found))


def change_array(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def regular(*sides: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": sides}}


@pytest.mark.parametrize("sides", [(2, 40000, 40000), (2**20, 2**20, 2**20)])
def test_chunks_that_memory_has_no_room_for(
    tmp_path: Path, sides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = other_store(tmp_path)
    change_array(store / "0" / "zarr.json", chunk_grid=regular(*sides))
    monkeypatch.setattr(StoredLevel, "read", None)
    with pytest.raises(MemoryBudgetError, match="--memory allows 1024 MiB"):
        verify(source, store, Options(memory=2**30))


def test_too_little_memory_is_refused(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, CASES["TIFF"])
    with pytest.raises(MemoryBudgetError, match="MiB are needed, but --memory allows 1 MiB"):
        verify(source, store, Options(memory=2**20))
    assert verify(source, store, Options(memory=2**26)).passed


@pytest.mark.parametrize("shape", [(2**40,) * 3, (2**12,) * 3])
def test_lower_levels_of_absurd_sizes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    source, store = other_store(tmp_path)
    change_array(store / "1" / "zarr.json", shape=shape, chunk_grid=regular(1, 1, 1))
    with pytest.raises(VerificationError, match="1: is larger than the level above it"):
        verify(source, store)


def test_numbers_that_are_not_known(tmp_path: Path) -> None:
    source, store = other_store(tmp_path, dtype="complex64")
    with pytest.raises(VerificationError, match="0: is of type complex64"):
        verify(source, store)


@pytest.mark.parametrize("room", [0, 2**26])
def test_what_is_wrong_above_makes_nothing_wrong_below(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    in_small_boxes(monkeypatch)
    monkeypatch.setattr(tally, "KEPT_BYTES", room)
    level1 = zarr.open_array(store / "1", mode="r+")
    level1[0, 1, 3, 20, 44] = np.uint16(level1[0, 1, 3, 20, 44]) ^ 1  # type: ignore[arg-type]
    (store / "1" / "c" / "1" / "0" / "0" / "0" / "0").write_bytes(b"not Blosc at all")
    found = verify(source, store)
    assert [(d.level, d.chunk) for d in found.differences] == [(1, (0, 1, 0, 1, 1)), (1, (1, 0, 0, 0, 0))]
    level2 = found.images[0].levels[2]
    assert (level2.chunks < level2.of_chunks) == (room == 0)
    assert ("what they are made of is wrong in the level above" in level2.not_compared) == (room == 0)
    assert found.complete == (room > 0)


# -- hostile stores ---------------------------------------------------------------------------------------


def kwargs_are(store: Path, **values: Any) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0]["metadata"]["kwargs"].update(values))


def datasets_are(store: Path, *paths: str) -> None:
    edit(store / "zarr.json", lambda ome: ome["multiscales"][0].update(datasets=[{"path": p} for p in paths]))


@pytest.fixture
def not_for_ever() -> Iterator[None]:
    """End all tests where one is blocked, as by a pipe, for a minute."""
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def infinite_factor(store: Path) -> None:
    kwargs_are(store, factors=[[7e300] + [1] * 4])
    path = store / "zarr.json"
    path.write_text(path.read_text().replace("7e+300", "1e400"))


def out_by_a_link(store: Path) -> None:
    shutil.move(store / "0", store.parent / "elsewhere")
    (store / "0").symlink_to(store.parent / "elsewhere")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "attributes null": (lambda s: change_array(s / "zarr.json", attributes=None), "is of OME-NGFF None"),
    "attributes a list": (lambda s: change_array(s / "zarr.json", attributes=[1]), "is of OME-NGFF None"),
    "no keys": (lambda s: change_array(s / "0/zarr.json", chunk_key_encoding=None), "cannot be opened"),
    "keys a list": (
        lambda s: change_array(s / "0" / "zarr.json", chunk_key_encoding=[3]),
        "cannot be opened",
    ),
    "keys configured by null": (
        lambda s: change_array(
            s / "0" / "zarr.json", chunk_key_encoding={"name": "default", "configuration": None}
        ),
        "cannot be opened",
    ),
    "method a list": (lambda s: kwargs_are(s, method=[]), "not of the sizes that its metadata state"),
    "infinite factor": (infinite_factor, "not of the sizes that its metadata state"),
    "factors a number": (lambda s: kwargs_are(s, factors=3), "not of the sizes that its metadata state"),
    "deep": (lambda s: (s / "zarr.json").write_text("[" * 200_000), "zarr.json: cannot be read"),
    "large": (lambda s: (s / "zarr.json").write_text(" " * (33 * 2**20)), "more than the"),
    "crop backwards": (lambda s: kwargs_are(s, crop=[[5, 2]] * 5), "is not a box"),
    "crop short": (lambda s: kwargs_are(s, crop=[[0, 1]] * 2), "is not a box"),
    "crop of text": (lambda s: kwargs_are(s, crop=[["0", "1"]] * 5), "is not a box"),
    "crop beyond": (lambda s: kwargs_are(s, crop=[[0, 1000]] * 5), "crop .* is not within image 0"),
    "crop huge": (lambda s: kwargs_are(s, crop=[[2**70, 2**71]] * 5), "crop .* is not within image 0"),
    "levels elsewhere": (lambda s: datasets_are(s, "../other/0"), "path '../other/0' does not lead down"),
    "levels at a place": (lambda s: datasets_are(s, str(s / "0")), "does not lead down"),
    "levels by a link": (out_by_a_link, "no regular file within the store"),
    "levels repeated": (lambda s: datasets_are(s, *["0"] * 3000), "lists the level '0' twice"),
    "pipe as group": (lambda s: pipe(s / "zarr.json"), "no regular file"),
    "pipe as array": (lambda s: pipe(s / "1" / "zarr.json"), "no regular file"),
}


@pytest.mark.usefixtures("not_for_ever")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_stores_are_refused(tmp_path: Path, name: str) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    shutil.copytree(store, tmp_path / "other")
    spoil, message = HOSTILE[name]
    spoil(store)
    with pytest.raises(VerificationError, match=message) as caught:
        verify(source, store)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.usefixtures("not_for_ever")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_pipe_in_place_of_a_chunk_is_named(tmp_path: Path, version: str) -> None:
    source, store, _ = converted(tmp_path, Case(ims, {"ngff_version": version}))
    chunk = "0/c/1/0/2/1/2" if version == "0.5" else "0/1/0/2/1/2"
    pipe(store / chunk)
    (difference,) = verify(source, store).differences
    assert (difference.chunk, difference.reason) == ((1, 0, 2, 1, 2), f"{chunk} is no file")


def test_a_narrower_type_is_told_without_options(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, Case(lambda f: ims(f, dtype="uint8"), {}))
    write_ims(source, coded_pixels((2, 2, 9, 70, 90), "uint16"))
    with pytest.raises(VerificationError, match="of type uint8, but not all values") as caught:
        verify(source, store)
    assert "--dtype" not in str(caught.value)


def test_all_that_was_chosen_is_noted(tmp_path: Path) -> None:
    source = three_images(tmp_path)
    options = Options(images=(2, 0))
    with open_with(str(source), options) as opened:
        item = decide(opened, options, "in")[1]
        said = image_attributes(
            item.image, item.plan, [window_limits("uint16", None)], number=item.number, chosen=(2, 0)
        )
    kwargs = said["ome"]["multiscales"][0]["metadata"]["kwargs"]
    assert (kwargs["image"], kwargs["images"]) == (0, [2, 0])
