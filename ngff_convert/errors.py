"""Every error this program raises on purpose, and the exit code each one ends with.

::

    Exception
    └── ConversionError
        ├── OptionError        2  the command line, or an option, is wrong
        ├── ReadError          3  the input cannot be read: missing, damaged, truncated
        ├── UnsupportedInput   4  the input's format, or a feature of it, is not supported
        ├── TargetError        5  the output is there already, or belongs to another conversion
        ├── WriteError         6  writing failed: disk full, no permission, network
        ├── MemoryBudgetError  7  it cannot be done within the memory given
        └── VerificationError  8  verification or validation found a difference

Anything else that escapes is a bug and ends with exit code 1 and a traceback.
A message is one line: what was found, where, and what to do about it.
"""

import os
import re
from typing import ClassVar

_SYSTEM_ERROR = re.compile(r"\[(?:os_error_code='|errno )(\d+)")


def first_line(error: BaseException) -> str:
    """Return what an error says without what tensorstore adds to it: where in its own source it says so.

    Examples
    --------
    >>> first_line(ValueError("no such codec [source locations='a.cc:1']")), first_line(KeyError())
    ('no such codec', 'KeyError')
    """
    said = (str(error).strip().splitlines() or [""])[0]
    return said.partition(" [source locations")[0].partition(" [tensorstore_spec")[0] or type(error).__name__


def reason(error: BaseException) -> str:
    """Return what the operating system said of a failure, also through a library; else its first line.

    Examples
    --------
    >>> reason(OSError(28, "No space left on device")), reason(ValueError("no such codec"))
    ('No space left on device', 'no such codec')
    """
    number = _SYSTEM_ERROR.search(str(error))
    if number:
        return os.strerror(int(number[1]))
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


class ConversionError(Exception):
    """A failure with a known cause; `exit_code` is what the command ends with."""

    exit_code: ClassVar[int] = 1


class OptionError(ConversionError, ValueError):
    """An option, or a combination of options, that cannot be meant."""

    exit_code = 2


class ReadError(ConversionError, OSError):
    """The input is missing, damaged or truncated."""

    exit_code = 3


class UnsupportedInput(ConversionError, ValueError):  # noqa: N818 - the input is at fault, not this program
    """The input is intact, but no reader handles its format or a feature of it."""

    exit_code = 4


class TargetError(ConversionError, FileExistsError):
    """The output exists already, or belongs to another conversion."""

    exit_code = 5


class WriteError(ConversionError, OSError):
    """Writing the output failed."""

    exit_code = 6


class MemoryBudgetError(ConversionError, ValueError):
    """No plan fits the memory given."""

    exit_code = 7


class VerificationError(ConversionError, ValueError):
    """What was written differs from what should have been."""

    exit_code = 8
