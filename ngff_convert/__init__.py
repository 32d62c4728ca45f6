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
from ngff_convert.model import Calibration, Channel, Codec, Image, Report, WritePlan
from ngff_convert.options import Options
from ngff_convert.version import __version__

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
    "open",
]
