"""Which page is at which t, c, z: the rule, what the user says, and every page once."""

from __future__ import annotations

import re
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import levels
from tiffs import READER, page, read, tiff_bytes, write

from ngff_convert import Options, convert
from ngff_convert.errors import OptionError, UnsupportedInput
from ngff_convert.readers.contract import NO_WISHES, Reading
from ngff_convert.readers.tiff_axes import IMAGE_AXES, PageAxes, asked, grids, named, overruled
from ngff_convert.testing import check_reader, coded_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIZES = st.integers(1, 4)


@st.composite
def axes_with_sizes(draw: st.DrawFn, letters: str = "TCZRPMA") -> PageAxes:
    order = draw(st.permutations(letters))[: draw(st.integers(0, len(letters)))]
    return PageAxes("".join(order), tuple(draw(SIZES) for _ in order))


def slow_grids(axes: PageAxes) -> list[NDArray[np.int64]]:
    """Place page after page, one by one."""
    size = dict.fromkeys("TCZ", 1) | dict(zip(axes.letters, axes.sizes, strict=True))
    others = [letter for letter in axes.letters if letter not in "TCZ"]
    found: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for number in range(prod(axes.sizes)):
        place, rest = {}, number
        for letter, n in zip(axes.letters[::-1], axes.sizes[::-1], strict=True):
            rest, place[letter] = divmod(rest, n)
        image = tuple(place[letter] for letter in others)
        grid = found.setdefault(image, np.full([size[a] for a in "TCZ"], -1, np.int64))
        grid[tuple(place.get(a, 0) for a in "TCZ")] = number
    return [found[key] for key in sorted(found)]


@given(axes=axes_with_sizes())
def test_every_page_is_at_its_place_once(axes: PageAxes) -> None:
    found = grids(axes)
    expected = slow_grids(axes)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(np.concatenate([grid.ravel() for grid in found]).tolist()) == list(range(prod(axes.sizes)))


def test_axes_of_one_letter_are_one() -> None:
    (grid,) = grids(PageAxes("ZCZ", (2, 3, 2)))
    assert grid.shape == (1, 3, 4)
    assert grid[0, 1].tolist() == [2, 3, 8, 9]


@given(data=st.data(), letters=st.text("TCZRPMAQI", max_size=6))
def test_the_rule_names_what_has_no_name(data: st.DataObject, letters: str) -> None:
    axes = PageAxes(letters, tuple(data.draw(SIZES) for _ in letters))
    free = [letter for letter in "ZTC" if letter not in letters]
    unnamed = sum(letter in "QI" for letter in letters)
    if unnamed > len(free):
        with pytest.raises(
            UnsupportedInput, match=r"a\.tif: pages of .* more than t, c and z; say with --axes"
        ):
            named(axes, "a.tif")
        return
    found = named(axes, "a.tif")
    assert found.sizes == axes.sizes
    kept = [(a, b) for a, b in zip(letters, found.letters, strict=True) if a not in "QI"]
    assert all(a == b for a, b in kept)
    given_names = [b for a, b in zip(letters, found.letters, strict=True) if a in "QI"]
    assert given_names[::-1] == free[:unnamed]
    assert all(letter in "TCZ" + IMAGE_AXES for letter in found.letters)


@given(axes=axes_with_sizes("TCZQ"), data=st.data())
def test_what_the_user_says_goes(axes: PageAxes, data: st.DataObject) -> None:
    n_pages = prod(axes.sizes)
    letters = "".join(data.draw(st.permutations("tcz"))[: data.draw(st.integers(1, 3))])
    sizes: list[int] = []
    left = n_pages
    for _ in letters[1:]:
        sizes.append(data.draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0])))
        left //= sizes[-1]
    sizes.append(left)
    expected = PageAxes(letters.upper(), tuple(sizes))
    assert overruled(axes, letters, sizes, "a.tif") == expected
    open_one = data.draw(st.integers(0, len(sizes) - 1))
    some = [-1 if at == open_one else n for at, n in enumerate(sizes)]
    assert asked(axes, Reading(letters, tuple(some)), "a.tif") == expected


@given(axes=axes_with_sizes("TCZQ"), shape=st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_numbers_that_do_not_fit_are_refused(axes: PageAxes, shape: list[int]) -> None:
    n_pages = prod(axes.sizes)
    letters = "tcz"[: len(shape)]
    if prod(shape) == n_pages:
        assert overruled(axes, letters, shape, "a.tif").sizes == tuple(shape)
    else:
        with pytest.raises(OptionError, match=rf"--shape [\d,]+: a\.tif has {n_pages} pages"):
            overruled(axes, letters, shape, "a.tif")
    known = prod(shape[1:])
    if n_pages % known:
        with pytest.raises(OptionError, match=rf"--shape -1.*: a\.tif has {n_pages} pages"):
            overruled(axes, letters, [-1, *shape[1:]], "a.tif")


@pytest.mark.parametrize(
    ("axes", "letters", "expected"),
    [
        (PageAxes("ZC", (7, 2)), "tc", PageAxes("TC", (7, 2))),
        (PageAxes("ZC", (7, 2)), "t", PageAxes("T", (14,))),
        (PageAxes("", ()), "", PageAxes("", ())),
        (PageAxes("", ()), "z", PageAxes("Z", (1,))),
        (
            PageAxes("Q", (60,)),
            "tzc",
            "--axes TZC: a.tif has 60 pages along 1 axes (60), not 3; say with --shape",
        ),
        (PageAxes("", ()), "tz", "--axes TZ: a.tif has 1 pages along 0 axes (1), not 2; say with --shape"),
        (PageAxes("TZ", (3, 4)), "tzc", "--axes TZC: a.tif has 12 pages along 2 axes (3 x 4), not 3"),
    ],
)
def test_axes_without_a_shape(axes: PageAxes, letters: str, expected: PageAxes | str) -> None:
    if isinstance(expected, PageAxes):
        assert overruled(axes, letters, None, "a.tif") == expected
    else:
        with pytest.raises(OptionError, match=re.escape(expected)):
            overruled(axes, letters, None, "a.tif")


def test_without_wishes_the_rule_is_followed() -> None:
    assert asked(PageAxes("QC", (3, 2)), NO_WISHES, "a.tif") == PageAxes("ZC", (3, 2))


# -- files -------------------------------------------------------------------------------------------------

SIXTY = coded_pixels((60, 12, 14))


@pytest.fixture(scope="module", params=[{}, {"compression": "zlib"}, {"metadata": {}}], ids=str)
def sixty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60 pages: plain, compressed, and as tifffile's own series."""
    return write(tmp_path_factory.mktemp("sixty") / "a.tif", SIXTY, **request.param)


@pytest.mark.parametrize("order", ["".join(order) for order in permutations("tzc")])
def test_sixty_pages_in_any_order(sixty: Path, order: str) -> None:
    size = {"t": 5, "z": 4, "c": 3}
    shape = tuple(size[axis] for axis in order)
    expected = SIXTY.reshape(*shape, 12, 14).transpose(*(order.index(axis) for axis in "tcz"), 3, 4)
    np.testing.assert_array_equal(read(sixty, order, shape), expected)
    np.testing.assert_array_equal(read(sixty, order, (-1, *shape[1:])), expected)
    np.testing.assert_array_equal(read(sixty, order, (*shape[:2], -1)), expected)


def test_pages_without_names_are_z(sixty: Path) -> None:
    np.testing.assert_array_equal(read(sixty), SIXTY[np.newaxis, np.newaxis])
    np.testing.assert_array_equal(read(sixty, "t"), SIXTY[:, np.newaxis, np.newaxis])
    np.testing.assert_array_equal(read(sixty, "c"), SIXTY[np.newaxis, :, np.newaxis])


def test_time_points_that_are_channels(tmp_path: Path) -> None:
    pixels = coded_pixels((5, 12, 14))
    path = write(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    np.testing.assert_array_equal(read(path), pixels[:, np.newaxis, np.newaxis])
    np.testing.assert_array_equal(read(path, "c"), pixels[np.newaxis, :, np.newaxis])
    with READER.open(str(path), Reading("c")) as source:
        assert len(source.images[0].channels) == 5
    convert(path, tmp_path / "out.ome.zarr", Options(axes="c"))
    found = levels(tmp_path / "out.ome.zarr", "0.5")[0]
    np.testing.assert_array_equal(found, pixels[:, np.newaxis])  # c z y x


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        ("tzc", (5, 4, 2), "--shape 5,4,2: .*a.tif has 60 pages"),
        ("tzc", None, r"--axes TZC: .*a.tif has 60 pages along 1 axes \(60\), not 3; say with --shape"),
        ("tc", (-1, 7), "--shape -1,7: .*a.tif has 60 pages"),
        ("t", (61,), "--shape 61: .*a.tif has 60 pages"),
    ],
)
def test_wishes_that_do_not_fit(sixty: Path, axes: str, shape: tuple[int, ...] | None, words: str) -> None:
    with pytest.raises(OptionError, match=words) as refused:
        READER.open(str(sixty), Reading(axes, shape))
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_samples_are_channels_within_those_of_pages(tmp_path: Path) -> None:
    pixels = coded_pixels((6, 12, 14, 3), "uint8")
    path = write(tmp_path / "a.tif", pixels, photometric="rgb", tile=(16, 16))
    found = read(path, "tc", (3, 2))
    expected = pixels.reshape(3, 2, 12, 14, 3).transpose(0, 1, 4, 2, 3).reshape(3, 6, 1, 12, 14)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(read(path, "t"), np.moveaxis(pixels, -1, 1)[:, :, np.newaxis])


def test_planes_of_volumes_follow_one_another_along_z(tmp_path: Path) -> None:
    pixels = coded_pixels((6, 5, 12, 14))
    path = write(tmp_path / "a.tif", pixels, volumetric=True, tile=(16, 16, 16))
    np.testing.assert_array_equal(read(path, "tc", (3, 2)), pixels.reshape(3, 2, 5, 12, 14))
    np.testing.assert_array_equal(read(path, "tz", (3, 2)), pixels.reshape(3, 1, 10, 12, 14))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["TCZ", "CZT", "ZTC", "QTZ", "QQZ", "RZT", "TR", "Z", "C", "PTCZ", "QR"])
def test_axes_that_tifffile_wrote(tmp_path: Path, axes: str, compression: str | None) -> None:
    sizes = (2, 3, 4, 2)[: len(axes)]
    pixels = coded_pixels((*sizes, 9, 11))
    metadata = {"axes": f"{axes}YX"}
    path = write(tmp_path / "a.tif", pixels, metadata=metadata, compression=compression)
    names = {"QTZ": "CTZ", "QQZ": "CTZ", "QR": "ZR"}.get(axes, axes)
    outer = [at for at, name in enumerate(names) if name not in "TCZ"]
    inner = [names.index(name) for name in "TCZ" if name in names]
    n = len(names)
    ordered = pixels.transpose(*outer, *inner, n, n + 1)
    shape = [dict(zip(names, sizes, strict=True)).get(name, 1) for name in "TCZ"]
    with READER.open(str(path)) as source:
        found: list[NDArray[Any]] = [image.pixels[...] for image in source.images]
        assert len({image.name for image in source.images}) == len(found) or len(found) == 1
    np.testing.assert_array_equal(found, ordered.reshape(-1, *shape, 9, 11))
    if axes in ("CZT", "RZT"):
        check_reader(READER, str(path))


def test_more_axes_than_t_c_z_have_to_be_told(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 3, 4, 2, 9, 11))
    path = write(tmp_path / "a.tif", pixels, metadata={})
    with pytest.raises(UnsupportedInput, match="pages of 2 x 3 x 4 x 2 along 4 axes, more than t, c and z"):
        READER.open(str(path))
    np.testing.assert_array_equal(
        read(path, "tzc", (6, -1, 2)), pixels.reshape(6, 4, 2, 9, 11).swapaxes(1, 2)
    )


def test_wishes_are_for_every_image_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    small, large = page((2, 3), [b"abcdef"]), page((3, 3), [b"abcdefghi"])
    path.write_bytes(tiff_bytes([small, large, small, large]))
    with READER.open(str(path), Reading("t")) as source:
        assert [image.pixels.shape for image in source.images] == [(2, 1, 1, 2, 3), (2, 1, 1, 3, 3)]
    with pytest.raises(OptionError, match=r"--shape 3: .*a\.tif: image 0 has 2 pages"):
        READER.open(str(path), Reading("t", (3,)))
