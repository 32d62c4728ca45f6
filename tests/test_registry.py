from __future__ import annotations

import os
import socket
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.readers import registry
from ngff_convert.readers.imaris import ImarisReader
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FakeReader:
    description = "for tests"

    def __init__(self, name: str, suffixes: tuple[str, ...], magic: bytes) -> None:
        self.name = name
        self.suffixes = suffixes
        self.settings: frozenset[str] = frozenset()
        self.magic = magic

    def can_read(self, path: str, head: bytes) -> bool:
        return head.startswith(self.magic)

    def open(self, path: str, reading: Any = None) -> Any:
        raise AssertionError("picking does not open")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [
        FakeReader("a", (".aaa",), b"AA"),
        FakeReader("b", (".bbb",), b"A"),
        FakeReader("c", (".ccc",), b"C"),
    ]
    monkeypatch.setattr(registry, "readers", lambda: {reader.name: reader for reader in known})


def file(tmp_path: Path, name: str, content: bytes) -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "picked"),
    [
        ("x.ccc", b"AA..", "a"),  # content beats the suffix
        ("x.bbb", b"AA..", "b"),  # the suffix decides between two that recognise the content
        ("x.BBB", b"AA..", "b"),
        ("x", b"C", "c"),
    ],
)
@pytest.mark.usefixtures("fakes")
def test_content_then_suffix(tmp_path: Path, name: str, content: bytes, picked: str) -> None:
    assert registry.pick(file(tmp_path, name, content)).name == picked


@pytest.mark.usefixtures("fakes")
def test_the_user_is_taken_at_the_word(tmp_path: Path) -> None:
    assert registry.pick(file(tmp_path, "x.aaa", b"AA"), "c").name == "c"
    with pytest.raises(OptionError, match="there is no such reader; there are a, b, c"):
        registry.pick("x", "d")


@pytest.mark.usefixtures("fakes")
def test_what_nobody_recognises_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match=r"x\.aaa: no reader recognises"):
        registry.pick(file(tmp_path, "x.aaa", b"\x89PNG"))


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="No such file"):
        registry.pick(str(tmp_path / "missing.ims"))
    with pytest.raises(ReadError, match="is empty"):
        registry.pick(file(tmp_path, "empty.ims", b""))
    with pytest.raises(UnsupportedInput, match="is a folder, or a pattern of names, in which no reader"):
        registry.pick(str(tmp_path))
    with pytest.raises(ReadError, match="embedded null"):
        registry.pick("a\0b")


@pytest.mark.parametrize("name", ["pipe", "socket", "/dev/zero"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for look in (registry.pick, ImarisReader().open):
            with pytest.raises(ReadError, match=f"{name}: is a pipe, a socket or a device; give a regular"):
                look(name)


class Whole:
    """A plugin that works, but for what its subclasses break."""

    name = "whole"
    description = "for tests"
    suffixes = (".xyz",)
    settings: frozenset[str] = frozenset()

    def can_read(self, path: str, head: bytes) -> bool:
        raise RuntimeError("it promised not to")

    def open(self, path: str, reading: Any = None) -> Any:
        raise AssertionError("picking does not open")


class Raises(Whole):
    def __init__(self) -> None:
        raise RuntimeError("no licence\nfound")


class Imposter(Whole):
    name = "imaris"


class Nameless:
    pass


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = {
        "absent": "no_such_package:Reader",
        "an imposter": f"{__name__}:Imposter",
        "imaris": "ngff_convert.readers.imaris:ImarisReader",
        "nameless": f"{__name__}:Nameless",
        "raises": f"{__name__}:Raises",
        "whole": f"{__name__}:Whole",
    }
    found = [EntryPoint(name, value, registry.GROUP) for name, value in entries.items()]
    monkeypatch.setattr(registry, "entry_points", lambda **_: found)
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


@pytest.mark.usefixtures("plugins")
def test_a_broken_plugin_breaks_nothing_else(tmp_path: Path) -> None:
    assert list(registry.readers()) == ["imaris", "whole"]
    assert isinstance(registry.readers()["imaris"], ImarisReader)
    broken = registry.broken()
    for name, words in {
        "absent": "no_such_package:Reader cannot be used: ModuleNotFoundError: No module named",
        "an imposter": "another reader is called 'imaris'",
        "nameless": "AttributeError",
        "raises": "Raises cannot be used: RuntimeError: no licence found",
    }.items():
        assert words in broken.pop(name)
    assert not broken
    write_ims(tmp_path / "a.xyz", coded_pixels((1, 1, 2, 8, 8)))
    assert registry.pick(str(tmp_path / "a.xyz")).name == "imaris"  # although `whole` raises when asked
    with pytest.raises(
        OptionError, match=r"--reader raises: .* no licence found; repair or remove that plugin"
    ):
        registry.pick("x", "raises")


def test_the_built_in_reader_is_found_by_its_entry_point(tmp_path: Path) -> None:
    write_ims(tmp_path / "a.h5", coded_pixels((1, 1, 2, 8, 8)))
    assert registry.pick(str(tmp_path / "a.h5")).name == "imaris"
    assert "imaris" in registry.readers()


def test_folders_and_patterns_are_many_files(tmp_path: Path) -> None:
    for name in ("t0.tif", "t1.tif", "t{t}.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((8, 8), "uint8"))
    (tmp_path / "folder {c}").mkdir()
    (tmp_path / "folder {c}" / "a.TIF").touch()
    for path in (tmp_path, tmp_path / "folder {c}", tmp_path / "z{z}.tif", tmp_path / "*.tif", "gone/{t}"):
        assert registry.pick(str(path)).name == "files"
    assert registry.pick(str(tmp_path / "t{t}.tif")).name == "tiff"  # there is such a file
    assert registry.pick(str(tmp_path / "t{t}.tif"), "files").name == "files"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / ".hidden.tif").touch()
    for path in (tmp_path / "none", tmp_path / "none" / "."):
        with pytest.raises(UnsupportedInput, match="in which no reader finds what it knows"):
            registry.pick(str(path))


def test_readers_see_no_head_of_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bytes]] = []

    class Curious(FakeReader):
        def can_read(self, path: str, head: bytes) -> bool:
            seen.append((path, head))
            return True

    monkeypatch.setattr(registry, "readers", lambda: {"a": Curious("a", (), b"")})
    asked = [str(tmp_path), str(tmp_path / "x{t}"), file(tmp_path, "y{t}", b"AA")]
    assert [registry.pick(path).name for path in asked] == ["a"] * 3
    assert seen == list(zip(asked, (b"", b"", b"AA"), strict=True))


@pytest.mark.parametrize("name", ["x" * 300 + ".tif", "a/" * 3000 + "b.tif", "nul\0.tif"])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(ReadError, match=r"cannot be read|No such file"):
        registry.pick(name)
