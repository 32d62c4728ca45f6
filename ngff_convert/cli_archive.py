"""The commands for archives, an OME-Zarr in one file: ``pack`` and ``unpack``."""

from __future__ import annotations

from pathlib import Path

import cloup

from ngff_convert.cli_output import bar, print_lines
from ngff_convert.describe import counted, one_line, size
from ngff_convert.errors import OptionError
from ngff_convert.storage_contract import SUFFIX

_SUFFIXES = (".ome.zarr", ".zarr")
_QUIET = cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")


@cloup.command("pack")
@cloup.argument("store", metavar="STORE", help="A finished OME-Zarr store of version 0.5 or 0.6.")
@cloup.argument("target", metavar="[OUT]", required=False, help="The archive to make.  [default: NAME.ozx]")
@cloup.option("--overwrite", is_flag=True, help="Replace an archive of that name.")
@_QUIET
def pack_command(store: str, target: str | None, overwrite: bool, quiet: bool) -> None:
    """Make one file of an OME-Zarr store.

    It is an .ozx archive: a zip of the files of the store.

    Nothing is compressed anew, and readers find every chunk in it without unpacking. The file appears when
    it is whole; the store stays.
    """
    from ngff_convert.archive import pack

    _check_disk(store, target)
    source = Path(store)
    archive = Path(target) if target else _beside(source, _SUFFIXES, SUFFIX)
    if archive.suffix.lower() != SUFFIX:
        raise OptionError(f"{archive}: an archive is called NAME{SUFFIX}; choose such a name")
    with bar(f"packing {source.name}", quiet=quiet) as tell:
        packed = pack(source, archive, overwrite=overwrite, tell=tell)
    if not quiet:
        files = counted(packed.files, "file")
        print_lines([one_line(f"{archive}  OME-Zarr {packed.version}: {files}, {size(packed.size)}")])


@cloup.command("unpack")
@cloup.argument("archive", metavar="IN", help="An .ozx archive.")
@cloup.argument(
    "target", metavar="[OUT]", required=False, help="The store to make.  [default: NAME.ome.zarr]"
)
@cloup.option("--overwrite", is_flag=True, help="Replace an OME-Zarr store of that name.")
@_QUIET
def unpack_command(archive: str, target: str | None, overwrite: bool, quiet: bool) -> None:
    """Make an OME-Zarr store of an .ozx archive.

    Every checksum is compared. The store appears when it is whole; until then the work is in OUT.partial.
    """
    from ngff_convert.unpack import unpack

    _check_disk(archive, target)
    source = Path(archive)
    store = Path(target) if target else _beside(source, (SUFFIX, ".zip"), _SUFFIXES[0])
    if store.suffix.lower() == SUFFIX:
        raise OptionError(f"{store}: a store is a folder, by custom NAME.ome.zarr; choose another name")
    with bar(f"unpacking {source.name}", quiet=quiet) as tell:
        unpacked = unpack(source, store, overwrite=overwrite, tell=tell)
    if not quiet:
        print_lines([one_line(f"{store}  {counted(unpacked.files, 'file')}, {size(unpacked.size)}")])


def _check_disk(*paths: str | None) -> None:
    if remote := next((path for path in paths if path and "://" in path), None):
        raise OptionError(f"{remote}: archives are made and unpacked on a disk; copy it from or to there")


def _beside(path: Path, suffixes: tuple[str, ...], suffix: str) -> Path:
    """Return the name of the output where none is given: that of the input with another suffix."""
    path = path if path.name not in ("", "..") else path.resolve()
    name = next((path.name.removesuffix(known) for known in suffixes if path.name.endswith(known)), path.name)
    return path.with_name((name or path.name) + suffix)
