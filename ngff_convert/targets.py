"""Which kind of output an address means: a folder, an archive, or a prefix in a bucket."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from ngff_convert.archive_target import ArchiveTarget
from ngff_convert.bucket_target import BucketTarget
from ngff_convert.commit import Target
from ngff_convert.errors import OptionError
from ngff_convert.storage import SUFFIX, storage_of

if TYPE_CHECKING:
    from ngff_convert.options import Options
    from ngff_convert.storage import Bucket

BUCKETS = ("s3://", "gs://")

Place: TypeAlias = Target | BucketTarget


def target_of(target: str | os.PathLike[str], options: Options) -> Place:
    """Return where an output goes.

    Parameters
    ----------
    target
        A folder, a file ``NAME.ozx``, or ``s3://BUCKET/PREFIX`` or ``gs://BUCKET/PREFIX``.
    options
        `overwrite`, `restart` and `storage_options`.

    Raises
    ------
    OptionError
        Nothing can be written to such an address.
    """
    address = os.fspath(target)
    is_archive = address.lower().endswith(SUFFIX)
    if is_archive and options.ngff_version == "0.4":
        raise OptionError(
            f"{address}: an archive is of OME-Zarr 0.5; leave --ngff-version out, or make a folder"
        )
    if is_bucket(address):
        if is_archive:
            raise OptionError(f"{address}: an archive is made on a disk; make it there, and copy it")
        if not address.partition("://")[2].partition("/")[2].strip("/"):
            bare = address.rstrip("/")
            raise OptionError(f"{bare}: is a whole bucket; name the store in it: {bare}/out.ome.zarr")
        bucket = cast("Bucket", storage_of(address, options.storage_options))
        return BucketTarget(bucket, options.overwrite, options.restart)
    if re.match(r"(s3|gs|https?):/[^/]", address):
        raise OptionError(f"{address}: has one slash too few after its colon")
    if "://" in address:
        raise OptionError(f"{address}: nothing can be written there; s3:// and gs:// can be, and folders")
    kind = ArchiveTarget if is_archive else Target
    return kind(Path(address), options.overwrite, options.restart)


def is_bucket(address: str) -> bool:
    """Return whether an output is in a bucket."""
    return address.startswith(BUCKETS)
