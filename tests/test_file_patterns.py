"""Patterns of file names, and the files on disk that match them."""

from __future__ import annotations

import os
import pickle
import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.readers.file_patterns import candidates, name_of, natural, parse

if TYPE_CHECKING:
    from pathlib import Path


# --- patterns -------------------------------------------------------------------------------------------


@given(st.text(alphabet="{}tczTCZ:d0*?/a._"))
def test_any_text_is_a_pattern_or_refused_in_one_line(text: str) -> None:
    try:
        pattern = parse(text)
    except OptionError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert pattern.axes


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("scan.tif", "no {t}, {c} or {z}"),
        ("{time}.tif", "a brace holds t, c or z"),
        ("{}_{t}.tif", "a brace holds t, c or z"),
        ("{t:x}.tif", "a brace holds t, c or z"),
        ("{t}{c}.tif", "nothing tells where {t} ends and {c} begins"),
        ("{t}?{c}.tif", "nothing tells where"),
        ("{t:d}{z:d}.tif", "nothing tells where"),
        ("*{t}.tif", "or {t:d} for a number"),
        ("{z}*.tif", "or {z:d} for a number"),
        ("a{t}_{.tif", "without its other half"),
        ("a{t}_}.tif", "without its other half"),
        ("a{t/", "without its other half"),
        ("a{t}/", "ends with a slash"),
    ],
)
def test_patterns_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        parse(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("scan_t{t}_c{c}_z{z}.tif", "scan_t1_c2_z3.tif", {"t": "1", "c": "2", "z": "3"}),
        ("scan_T{T}.tif", "scan_T7.tif", {"t": "7"}),
        ("img_{t}_{c}_{z}.tif", "img_000000000_Cy3_003.tif", {"t": "000000000", "c": "Cy3", "z": "003"}),
        ("scan*_t{t}.tif", "scan_of_day_t4.tif", {"t": "4"}),
        ("scan*_t{t:d}.tif", "scan_today_t4.tif", {"t": "4"}),
        ("scan*_t{t}.tif", "scan_today_t4.tif", {"t": "oday_t4"}),
        ("scan*_t{t}.tif", "scan_t4.tif", {"t": "4"}),
        ("s?_t{t}.tif", "s1_t4.tif", {"t": "4"}),
        ("s?_t{t}.tif", "s12_t4.tif", None),
        ("t{t}.tif", "/deep/in/t1.tif", {"t": "1"}),
        ("./run//t{t}.tif", "run/./t1.tif", {"t": "1"}),
        ("run/t{t}.tif", "/data/run/t1.tif", {"t": "1"}),
        ("run/t{t}.tif", "/data/rerun/t1.tif", None),
        ("/run/t{t}.tif", "/data/run/t1.tif", None),
        ("t{t}/c{c}.tif", "t1/c2.tif", {"t": "1", "c": "2"}),
        ("t{t}.tif", "t1/2.tif", None),
        ("t{t}.tif", "t.tif", None),
        ("t{t}.tif", "t1.tif.bak", None),
        ("t{t}.tif", "t1.tif\n", None),
        ("t{t}.tif", "T1.tif", None),
        ("{t}/img_{t}.tif", "5/img_5.tif", {"t": "5"}),
        ("{t}/img_{t}.tif", "5/img_6.tif", None),
        ("{t}_{t}.tif", "a_b_a_b.tif", {"t": "a_b"}),
        ("{t:d}/img_{T}.tif", "x/img_x.tif", None),
        ("{z:d}.tif", "x.tif", None),
        ("{z:03d}.tif", "12.tif", None),
        ("{z:03d}.tif", "1234.tif", {"z": "1234"}),
        ("img*{z:d}.tif", "img2_07.tif", {"z": "07"}),
        ("img*{z:d}.tif", "img207.tif", {"z": "207"}),
        ("a_{z:d}00.tif", "a_1200.tif", {"z": "12"}),
        ("{c}{z:d}.tif", "DAPI001.tif", {"c": "DAPI", "z": "001"}),
        ("{z:d}{c}.tif", "001DAPI.tif", {"c": "DAPI", "z": "001"}),
        ("{{{t}}}.tif", "{4}.tif", {"t": "4"}),
        ("a+(b)[{t}]^$|.tif", "a+(b)[4]^$|.tif", {"t": "4"}),
        ("a.b{t}.tif", "axb1.tif", None),
        ("größe_µ{t}.tif", "größe_µ3.tif", {"t": "3"}),
    ],
)
def test_matching(pattern: str, name: str, expected: dict[str, str] | None) -> None:
    match = parse(pattern).match(name)
    assert (match and match.groupdict()) == expected


@given(
    st.lists(st.sampled_from(["a", "b", "1", "_", "*", "?", "{t}", "{c}", "{z:d}", "/"]), max_size=9),
    st.text(alphabet="ab12_/", max_size=12),
)
def test_matching_without_backtracking_finds_what_backtracking_finds(parts: list[str], name: str) -> None:
    if any(parts.count(brace) > 1 for brace in ("{t}", "{c}", "{z:d}")):
        return
    try:
        pattern = parse("".join(parts))
    except OptionError:
        return
    if "//" in name or pattern.text.startswith("/"):
        return
    slow = pattern.regex.pattern.replace("(?>", "(?:").replace("}+)", "})")
    if "{z:d}?" in pattern.text or "{z:d}1" in pattern.text:
        return  # a number takes the whole run of digits: the slow expression would take less
    expected = re.fullmatch(slow.replace(r"[0-9]{1,})", r"[0-9]{1,})(?![0-9])"), name)
    match = pattern.regex.fullmatch(name)
    assert (match and match.groupdict()) == (expected and expected.groupdict())


def test_a_pattern_survives_a_trip_to_another_process() -> None:
    pattern = parse("t{t}_c{c:d}.tif")
    assert pickle.loads(pickle.dumps(pattern)) == pattern


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("run/scan_t{t}_c{c}.tif", "scan"),
        ("scan{t}.tif", "scan"),
        ("run 3/t{t}_{c}.tif", "run 3"),
        ("run 3/*/Ch{c}/{z}.tif", "run 3"),
        ("/data/run 3//./{z:03d}.tif", "run 3"),
        ("a{{b}}_TL{t}.tif", "a{b}"),
        ("/{t}.tif", ""),
    ],
)
def test_what_an_image_is_called(pattern: str, name: str) -> None:
    assert name_of(parse(pattern)) == name


# --- on disk --------------------------------------------------------------------------------------------


def make(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")


def test_candidates_in_folders_with_braces(tmp_path: Path) -> None:
    make(tmp_path, "run/t9/c0.tif", "run/t10/c0.tif", "run/t10/c1.tif", "run/t9/notes.txt", "run/x/c0.tif")
    make(tmp_path, "run/.t1/c0.tif", "run/t1/.c0.tif", "other/t1/c0.tif")
    (tmp_path / "run/t2").write_bytes(b"")
    (tmp_path / "run/t9/c5.tif").mkdir()
    expected = [f"{tmp_path}/run/{name}" for name in ("t9/c0.tif", "t10/c0.tif", "t10/c1.tif")]
    assert candidates(parse(f"{tmp_path}/run/t{{t}}/c{{c}}.tif")) == expected
    assert candidates(parse(f"{tmp_path}/run/t{{t}}/c0.tif")) == expected[:2]
    assert candidates(parse(f"{tmp_path}/r?n/t{{t}}/c*.tif")) == expected
    assert candidates(parse(f"{tmp_path}/run/t{{t}}/c{{t}}.tif")) == []
    assert candidates(parse(f"{tmp_path}/nowhere/t{{t}}/c{{c}}.tif")) == []
    assert candidates(parse(f"{tmp_path}/run/t\0{{t}}/c{{c}}.tif")) == []


def test_candidates_of_a_relative_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/t1.tif", "t2.tif", ".hidden/t3.tif", ".t4.tif")
    monkeypatch.chdir(tmp_path)
    assert candidates(parse("./t{t}.tif")) == ["t2.tif"]
    assert candidates(parse("a/../a//t{t}.tif")) == ["a/../a/t1.tif"]
    assert candidates(parse(".hidden/t{t}.tif")) == [".hidden/t3.tif"]
    assert candidates(parse(".t{t}.tif")) == [".t4.tif"]
    assert candidates(parse("{c}/t{t}.tif")) == ["a/t1.tif"]


def test_links_are_followed_and_loops_harmless(tmp_path: Path) -> None:
    make(tmp_path, "real/t1.tif")
    for link, target in (("real/up", ".."), ("real/t2.tif", "t1.tif"), ("real/t3.tif", "t3.tif")):
        (tmp_path / link).symlink_to(target)
    (tmp_path / "real/t4.tif").symlink_to("gone")
    (tmp_path / "self").symlink_to("self")
    names = [f"{tmp_path}/real/{name}" for name in ("t1.tif", "t2.tif")]
    assert candidates(parse(f"{tmp_path}/*/t{{t}}.tif")) == names
    assert candidates(parse(f"{tmp_path}/self/t{{t}}.tif")) == []
    assert candidates(parse(f"{tmp_path}/*/*/*/t{{t}}.tif")) == [
        f"{tmp_path}/real/up/real/{n}" for n in ("t1.tif", "t2.tif")
    ]


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    make(tmp_path, "t1/c1.tif")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ReadError, match="t1/: cannot be listed: Permission denied; check"):
        candidates(parse(f"{tmp_path}/t1/c{{c}}.tif"))


def test_natural_order_of_numbers_of_any_length() -> None:
    names = ["a" + "9" * 5000, "a1" + "0" * 5000, "a" + "0" * 6000 + "5", "a10", "ab", "a"]
    assert natural(names) == ["a", names[2], "a10", names[0], names[1], "ab"]


@given(st.lists(st.integers(0, 10**30)))
def test_natural_order_is_that_of_the_numbers(values: list[int]) -> None:
    assert natural(f"x{value}_y" for value in values) == [f"x{value}_y" for value in sorted(values)]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a*a*a*a*a*a*a*a*{z:d}b", "a" * 20_000),
        ("*_{t}_*_{c}_*_{z}_*_*_*_*x", "_" * 20_000),
        ("{c}{z:d}b", "1a" * 10_000),
        ("?" * 50 + "*" + "?" * 50 + "{z:d}x", "1" * 5_000),
        ("{t}_{c}_{z}_y{t}_{c}_{z}", "_" * 255),
    ],
)
def test_matching_takes_no_time_to_speak_of(pattern: str, name: str) -> None:
    start = time.process_time()
    assert parse(pattern).match(name) is None
    assert time.process_time() - start < 5
