"""The file of a conversion in parts: its input and output, and everything that was chosen for it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from ngff_convert.errors import OptionError, ReadError, TargetError, WriteError
from ngff_convert.options import Options
from ngff_convert.targets import target_of
from ngff_convert.version import __version__
from ngff_convert.write_plan import Codec

if TYPE_CHECKING:
    from pathlib import Path

    from ngff_convert.journal import Noted
    from ngff_convert.targets import Place

JOB_VERSION = 1
"""Of the job file: fields may be added to it, none removed or changed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A conversion in parts.

    Attributes
    ----------
    source, target
        Input and output, absolute.
    parts
        How many there are; they are numbered from 1, as all schedulers can.
    mark
        Names what is written, and which beginning it was.
    options
        Of the conversion.
    """

    source: str
    target: str
    parts: int
    mark: str
    options: Options

    @property
    def place(self) -> Place:
        """Where the output goes."""
        return target_of(self.target, self.options)

    def journal(self, writer: str = "") -> Noted:
        """Return the journal, of one writer or of all."""
        return self.place.journal(self.mark, flush=True, writer=writer)


def check_name(path: Path) -> None:
    """Refuse the name of a job file that is to be written, where it would replace anything but a job.

    Raises
    ------
    TargetError
        There is something of that name which is no job, or that of another version.
    WriteError
        Its folder cannot be written.
    """
    if re.match("[a-z0-9]+:/", str(path)):
        raise OptionError(
            f"{path}: a job file is on a disk, wherever input and output are; choose another name"
        )
    if os.path.lexists(path):
        try:
            load(path)
        except (OptionError, ReadError) as error:
            raise TargetError(f"{path}: exists and is no job of this version; use another name") from error
    if not os.access(path.absolute().parent, os.W_OK):
        raise WriteError(f"{path}: its folder is not there or cannot be written; choose another place for it")


def save(job: Job, path: Path) -> None:
    """Write a job file.

    Raises
    ------
    TargetError
        There is something of that name which is no job.
    WriteError
        It cannot be written.
    """
    check_name(path)
    options = {**asdict(job.options), "restart": False}
    record = {"job": JOB_VERSION, "version": __version__, **asdict(job), "options": options}
    half = path.with_name(f".{path.name[:40]}.{os.getpid()}")
    try:
        half.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror}; choose another place for it"
        ) from error


def load(path: Path) -> Job:
    """Read a job file.

    Raises
    ------
    ReadError
        It cannot be read.
    OptionError
        It is no job file, or one of another version.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; is it the job file?") from error
    try:
        record = json.loads(text)
        version, planner = record["job"], record["version"]
        if version == JOB_VERSION:
            chosen = {field.name: record["options"][field.name] for field in fields(Options)}
            options = Options(**{**chosen, "codec": Codec(**chosen["codec"])})
            job = Job(**{**{f.name: record[f.name] for f in fields(Job)}, "options": options})
            _check_fields(job)
            return job
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OptionError(f"{path}: is no job file; `ngff-convert plan` makes them") from error
    raise OptionError(f"{path}: is a job of ngff-convert {planner}; plan it again with {__version__}")


def _check_fields(job: Job) -> None:
    texts = (job.source, job.target, job.mark)
    if not all(isinstance(text, str) and text and "\0" not in text for text in texts):
        raise ValueError("a name is no text")
    if type(job.parts) is not int or job.parts < 1:
        raise ValueError("a field has a value of another kind")
