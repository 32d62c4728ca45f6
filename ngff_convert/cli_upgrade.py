"""The command that makes a store one of a later version: ``upgrade``."""

from __future__ import annotations

import click
import cloup

from ngff_convert.cli_options import STORAGE_OPTIONS
from ngff_convert.cli_output import bar, print_lines
from ngff_convert.describe import counted, one_line
from ngff_convert.options import Options


@cloup.command("upgrade")
@cloup.argument("store", metavar="OUT", help="An OME-Zarr: a folder; from 0.5 on also in a bucket.")
@cloup.option(
    "--to",
    type=click.Choice(("0.5", "0.6")),
    default="0.5",
    help="The version that it is to be.  [default: 0.5]",
)
@cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@cloup.option_group(
    "Running",
    cloup.option(
        "--workers", type=int, metavar="N", help="Chunks in work at once.  [default: one a processor]"
    ),
    STORAGE_OPTIONS,
)
def upgrade_command(
    store: str, to: str, quiet: bool, workers: int | None, storage_options: tuple[tuple[str, str], ...]
) -> None:
    """Make OUT an OME-Zarr of a later version, under the same name.

    From 0.5 to 0.6 only metadata are written. From 0.4 and older, which are Zarr v2, a store of Zarr v3 is
    made in OUT.partial and takes the place of the old one when it is whole: chunks keep their bytes where
    Zarr v3 has the codec, and are not stored twice where the disk has hard links.

    After an interruption the same command goes on. All images, labels, wells and other attributes are kept.
    """
    from ngff_convert.upgrade import upgrade

    options = Options(workers=workers, storage_options=storage_options)
    with bar(one_line(f"upgrading {store}"), quiet=quiet) as tell:
        done = upgrade(store, to, workers=options.workers, storage_options=options.storage_options, tell=tell)
    if quiet:
        return
    print_lines(one_line(f"note: {note}") for note in done.notes)
    if not done.documents:
        print_lines([one_line(f"{store}  is OME-Zarr {to} already")])
        return
    said = counted(done.documents, "metadata file")
    if chunks := done.kept + done.encoded:
        said += f", {counted(chunks, 'chunk')}, {done.kept} of them byte for byte"
    print_lines([one_line(f"{store}  OME-Zarr {done.before}, now {done.version}: {said}")])
