"""The commands that check a store: ``verify`` against its source, ``validate`` by the specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cloup

from ngff_convert.cli_options import (
    INPUT,
    LABELS_GIVEN,
    REPORT,
    RESOURCES,
    SELECTION,
    STORAGE_OPTIONS,
    options_from,
)
from ngff_convert.cli_output import print_json, print_lines, reported, some, told
from ngff_convert.describe import counted
from ngff_convert.errors import ReadError, VerificationError
from ngff_convert.options import SHARES, Options
from ngff_convert.words import SHARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.validate import Validation

_JSON = cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")


@cloup.command("verify")
@cloup.argument("source", metavar="IN", help="What OUT was made of.")
@cloup.argument(
    "store", metavar="OUT", help="An OME-Zarr: its folder, .ozx or address (s3://, gs://, http://)."
)
@INPUT
@SELECTION
@cloup.option_group("Labels", *LABELS_GIVEN)
@RESOURCES
@cloup.option_group(
    "Display",
    cloup.option(
        "--sample",
        "share",
        type=SHARE,
        metavar="SHARE",
        default=SHARES["full"],
        help="Compare only so much of each level, such as 5%.  [default: all of it]",
    ),
    _JSON,
    REPORT,
)
def verify_command(
    source: str, store: str, share: float, as_json: bool, report_file: str | None, **words: object
) -> None:
    """Compare the pixels of OUT with those of IN.

    IN is read in another way than by a conversion.

    Which images of IN are in OUT, and which part of them, OUT itself says where this program made it. Where
    another one did, --images and --t, --c, --z, --y, --x say so, and only the first level is compared; the
    others are decoded. A difference is named with its level, chunk, place and values, and the exit code is 8.
    """
    from ngff_convert.machine import tune_process
    from ngff_convert.verification import verification_lines
    from ngff_convert.verify import verify

    options = options_from(words)
    source = told(source, options)
    tune_process()
    with reported(report_file, source, store) as (facts, _):
        verification = verify(source, store, options, share)
        facts["verification"] = verification.to_json()
        if as_json:
            print_json(verification.to_json())
        else:
            print_lines(verification_lines(verification))
        if not verification.passed:
            raise VerificationError(f"{store}: {verification.summary}")
        if verification.filled:
            raise ReadError(f"{source}: cannot be read everywhere: {some(verification.filled)}")


@cloup.command("validate")
@cloup.argument("store", metavar="OUT", help="An OME-Zarr: a folder, .ozx or address; whoever wrote it.")
@cloup.option("--deep", is_flag=True, help="Decode every chunk too.")
@cloup.option_group(
    "Running",
    cloup.option(
        "--workers", type=int, metavar="N", help="Chunks in work at once.  [default: one a processor]"
    ),
    STORAGE_OPTIONS,
)
@_JSON
def validate_command(
    store: str, deep: bool, workers: int | None, storage_options: tuple[tuple[str, str], ...], as_json: bool
) -> None:
    """Check OUT against OME-NGFF 0.4, 0.5 or 0.6.

    Its metadata are held against the rules, and its files against its metadata.

    Errors end with exit code 8; a warning is what is allowed and yet not advised, or was not checked.
    """
    from ngff_convert.validate import validate

    options = Options(workers=workers, storage_options=storage_options)
    validation = validate(store, deep=deep, workers=options.workers, storage_options=options.storage_options)
    if as_json:
        print_json(validation.to_json())
    else:
        print_lines(_validation_lines(validation))
    if validation.errors:
        first = validation.errors[0]
        raise VerificationError(
            f"{store}: {counted(len(validation.errors), 'error')}: {first.path or '/'}: {first.message}"
        )


def _validation_lines(validation: Validation) -> Iterator[str]:
    for finding in validation.findings:
        yield f"{finding.grade:<7}  {finding.path or '/'}: {finding.message} [{finding.rule}]"
    counts = {
        "image": validation.images,
        "plate": validation.plates,
        "well": validation.wells,
        "label image": validation.labels,
        "level": validation.levels,
    }
    held = ", ".join(counted(number, what) for what, number in counts.items() if number)
    chunks = f"{validation.stored} of {counted(validation.chunks, 'chunk file')} stored"
    if not validation.chunks and any(finding.rule == "chunks-unlisted" for finding in validation.findings):
        chunks = "chunk files not counted"
    chunks += f", {validation.decoded} decoded" if validation.decoded else ""
    yield f"{validation.store}  OME-Zarr {validation.version}: {held or 'nothing'}, {chunks}"
    yield f"{counted(len(validation.errors), 'error')}, {counted(len(validation.warnings), 'warning')}"
