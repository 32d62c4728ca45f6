"""Convert microscopy files to OME-Zarr (NGFF): the library behind the command ``ngff-convert``."""

from ngff_convert.convert import convert
from ngff_convert.convert import open_source as open  # noqa: A004 - read as ngff_convert.open
from ngff_convert.errors import (
    ConversionError,
    MemoryBudgetError,
    OptionError,
    ReadError,
    TargetError,
    UnsupportedInput,
    VerificationError,
    WriteError,
)
from ngff_convert.model import Calibration, Channel, Image
from ngff_convert.options import Options
from ngff_convert.separate import convert_each
from ngff_convert.version import __version__
from ngff_convert.write_plan import Codec, Report, WritePlan

__all__ = [
    "Calibration",
    "Channel",
    "Codec",
    "ConversionError",
    "Image",
    "MemoryBudgetError",
    "OptionError",
    "Options",
    "ReadError",
    "Report",
    "TargetError",
    "UnsupportedInput",
    "VerificationError",
    "WriteError",
    "WritePlan",
    "__version__",
    "convert",
    "convert_each",
    "open",
]
