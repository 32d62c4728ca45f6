"""Which levels are copied chunk by chunk, as the source stores them, and how Zarr says what is in them.

Zarr v2 has deflate (as zlib) and the shuffle of bytes; Zarr v3 has the same stream in another envelope,
gzip. What neither knows is refused, with its name, before anything is written.
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any

from ngff_convert import chunking
from ngff_convert.errors import OptionError, UnsupportedInput
from ngff_convert.write_plan import SOURCE, Copied

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ngff_convert.model import Image, PixelArray, Shape
    from ngff_convert.options import Options

SPARE_BYTES = 2**20
"""By which a chunk may be larger than twice its pixels; `validate` allows no more."""

_INSTEAD = re.compile(r"[,:;]? convert it( instead)?$")


def copies(image: Image, options: Options) -> tuple[tuple[Shape, Copied], ...]:
    """Return the chunks of each level that is copied, level 0 first, and how they are stored.

    Parameters
    ----------
    image
        As it will be written.
    options
        Where their codec is not the source's, nothing is copied.

    Raises
    ------
    OptionError
        A level cannot be copied; it says why.
    ReadError
        The source is damaged.
    """
    if options.codec.name != SOURCE:
        return ()
    own = image.pixels.dtype.name
    if options.dtype not in (None, own):
        raise _refused(f"pixels are of type {own}, and are not cast", "--dtype")
    lower = image.native_levels if options.pyramid == "native" else ()
    levels = [image.pixels, *(level.pixels for level in lower)][: options.levels]
    return tuple(_copied(pixels, number, options) for number, pixels in enumerate(levels))


def _copied(pixels: PixelArray, number: int, options: Options) -> tuple[Shape, Copied]:
    import numpy as np  # most conversions are planned without

    from ngff_convert.references import refer_to

    noted = _Noted()
    where = f"level {number}"
    try:
        refer_to(pixels, str(number), noted)
    except (UnsupportedInput, NotImplementedError) as error:
        raise _refused(f"{where}: {_INSTEAD.sub('', str(error))}") from error
    except OptionError as error:  # a part that does not begin on the edges of chunks
        raise _refused(_INSTEAD.sub("", str(error)).removesuffix(", or")) from error
    document = noted.document
    chunks = tuple(document["chunks"])
    if not isinstance(options.chunks, str) and chunking.five(options.chunks) != chunks:
        raise _refused(f"{where}: its chunks are of {_by(chunks)} (t,c,z,y,x)", "--chunks")
    dtype = np.dtype(document["dtype"])
    steps = [*(document["filters"] or ()), *filter(None, [document["compressor"]])]
    codecs = tuple(step["id"] for step in steps)
    _check_codecs(steps, dtype, options.ngff_version, where)
    n_bytes = prod(chunks) * dtype.itemsize
    if "zlib" not in codecs and noted.sizes - {n_bytes}:
        raise _refused(f"{where}: not all of its chunks are of {n_bytes} bytes")
    if max(noted.sizes, default=0) > 2 * n_bytes + SPARE_BYTES:
        raise _refused(f"{where}: a chunk has {max(noted.sizes)} bytes, far more than its pixels take")
    fill = document["fill_value"]
    if "shuffle" in codecs and noted.is_absent and len(set(np.array(fill, dtype).tobytes())) > 1:
        raise _refused(f"{where}: chunks that were never written are {fill}, the others are shuffled")
    if dtype.kind == "f" and not isinstance(fill, str):
        fill = float(fill)
    return chunks, Copied(dtype.str, codecs, fill)


def _check_codecs(steps: list[dict[str, Any]], dtype: np.dtype[Any], version: str, where: str) -> None:
    """Refuse what the target has no words for."""
    codecs = [step["id"] for step in steps]
    if codecs not in ([], ["zlib"], ["shuffle"], ["shuffle", "zlib"]):
        names = " and ".join(name.removeprefix("imagecodecs_") for name in codecs)
        raise _refused(f"{where}: chunks are stored with {names}, which is not copied")
    if "shuffle" not in codecs:
        return
    if version != "0.4":
        raise _refused(
            f"{where}: its bytes are shuffled, which Zarr v3 has no codec for; use --ngff-version 0.4, or"
        )
    if steps[0]["elementsize"] != dtype.itemsize:
        raise _refused(
            f"{where}: {steps[0]['elementsize']} bytes are shuffled, where a voxel has {dtype.itemsize}"
        )


def _refused(reason: str, *others: str) -> OptionError:
    leave = (
        "; " if not reason.endswith(", or") and not reason.endswith("; use --ngff-version 0.4, or") else " "
    )
    out = "leave it out" + "".join(f", or {other}" for other in others)
    return OptionError(f"--compressor source: {reason}{leave}{out}")


def _by(sizes: Shape) -> str:
    return ",".join(map(str, sizes))


class _Noted:
    """What references to a level would say, but for where its chunks are."""

    separator = "/"

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self.sizes: set[int] = set()
        self.is_absent = False

    def begin(self, path: str, grid: Shape) -> None:
        """Need nothing."""

    def absent(self, chunk: Callable[[], bytes]) -> None:
        """Note that chunks are not there."""
        self.is_absent = True

    def add(
        self, path: str, number: NDArray[np.int64], offset: NDArray[np.int64], size: NDArray[np.int64]
    ) -> None:
        """Note how large chunks are."""
        self.sizes |= {int(size.min()), int(size.max())}

    def end(self, document: dict[str, Any]) -> None:
        """Keep the metadata."""
        self.document = document
