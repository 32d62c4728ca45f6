"""The command that copies nothing: ``virtual``."""

from __future__ import annotations

import click
import cloup

from ngff_convert.cli_options import INPUT, SELECTION, STORAGE_OPTIONS, options_from
from ngff_convert.cli_output import print_lines, some
from ngff_convert.describe import counted, one_line, size
from ngff_convert.errors import ReadError
from ngff_convert.version import PROGRAM


@cloup.command("virtual")
@cloup.argument("source", metavar="IN", help="A file.")
@cloup.argument("target", metavar="OUT", help="What is made: NAME.json, or for many chunks NAME.parquet.")
@INPUT
@SELECTION
@cloup.option_group(
    "Output",
    cloup.option(
        "--target-url",
        metavar="URL",
        help="Where readers will find IN, such as https://host/in.ims; or, where its pixels are in other "
        "files, its folder: https://host/folder/.  [default: where it is now]",
    ),
    cloup.option("--relative", is_flag=True, help="Name IN relative to OUT, and not by its absolute path."),
    cloup.option(
        "--record-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Chunks in one table of NAME.parquet.  [default: 100000]",
    ),
    cloup.option("--overwrite", is_flag=True, help="Replace references of that name."),
)
@cloup.option_group(
    "Running",
    STORAGE_OPTIONS,
    cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
)
def virtual_command(
    source: str,
    target: str,
    target_url: str | None,
    relative: bool,
    record_size: int | None,
    quiet: bool,
    **words: object,
) -> None:
    """Make IN itself an OME-Zarr 0.4, without copying a pixel.

    OUT says which bytes of IN are which chunk, and holds all metadata, for fsspec's reference file system and
    what reads Zarr through it. Chunks must be uncompressed or deflated, with or without shuffle.
    """
    from ngff_convert.virtual import write_references

    options = options_from(words)
    records = {} if record_size is None else {"record_size": record_size}
    done = write_references(source, target, options, target_url=target_url, relative=relative, **records)
    if not quiet:
        for line in done.warnings:
            click.echo(f"{PROGRAM}: {one_line(line)}", err=True)
        held = {"image": done.images, "level": done.levels, "chunk": done.chunks}
        counts = ", ".join(counted(number, what) for what, number in held.items())
        print_lines([one_line(f"{done.target}  references to {counts}: {size(done.size)}")])
    if done.missing:
        raise ReadError(f"{source}: not whole: {some(done.missing)}; {target} is made without that")
