"""The commands of a conversion in parts: ``plan``, ``run``, ``status``, ``finish``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from ngff_convert.cli_options import (
    CLUSTER,
    LABELS,
    LOG_FORMAT,
    REPORT,
    RESOURCES,
    conversion_options,
    options_from,
)
from ngff_convert.cli_output import not_whole, outcome, print_json, print_lines
from ngff_convert.describe import counted
from ngff_convert.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.array_job import Status
    from ngff_convert.job_file import Job
    from ngff_convert.options import Options

MAX_PARTS = 1_000_000
"""As many as the largest schedulers take; a list of more would be of no use to anybody."""

_JOB = cloup.argument("job_file", metavar="JOB", type=Path, help="What `ngff-convert plan` wrote.")
_QUIET = cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")


@cloup.command("plan")
@cloup.argument("source", metavar="IN", help="A file, a folder, or a pattern of names.")
@cloup.argument(
    "target", metavar="OUT", help="The store to make, in a folder or bucket that all machines see."
)
@cloup.option_group(
    "Parts",
    cloup.option(
        "-n",
        "--parts",
        type=click.IntRange(1, MAX_PARTS),
        metavar="N",
        required=True,
        help="How many there are.",
    ),
    cloup.option(
        "-o", "--output", "job_file", type=Path, metavar="JOB", required=True, help="The job file to write."
    ),
)
@conversion_options
@LABELS
@cloup.option_group("Display", LOG_FORMAT, _QUIET)
def plan_command(
    source: str, target: str, parts: int, job_file: Path, log_format: str, quiet: bool, **words: object
) -> None:
    """Plan a conversion in N parts, for `run`.

    --workers and --memory are those of the machines that will run parts.
    """
    from ngff_convert import array_job
    from ngff_convert.job_file import check_name, save

    options = options_from(words)
    check_name(job_file)
    with outcome(source, target, log_format, None, quiet=quiet, verbose=False) as observe:
        job = array_job.plan(source, target, parts, options, observe)
        save(job, job_file)
    if not quiet:
        print_lines(
            [f"{job_file}: {counted(parts, 'part')}, numbered from 1; the work is in {job.place.partial}"]
        )


@cloup.command("run")
@_JOB
@cloup.option_group(
    "Parts",
    cloup.option(
        "--part",
        type=int,
        metavar="K",
        help="Which, from 1.  [default: what Slurm, PBS, LSF or Grid Engine say]",
    ),
)
@RESOURCES
@cloup.option_group("Display", LOG_FORMAT, _QUIET)
def run_command(job_file: Path, part: int | None, log_format: str, quiet: bool, **words: object) -> None:
    """Do one part of a job, on any machine, any number of times.

    What of it is done already is not done again.
    """
    from ngff_convert import array_job, machine, resume
    from ngff_convert.job_file import load

    options = options_from(words)
    part = array_job.part_of_this_process(os.environ) if part is None else part
    if part is None:
        raise OptionError(
            f"--part: is not given, and none of {', '.join(array_job.PART_VARIABLES)} says "
            "one; parts are numbered from 1"
        )
    job = _reached(load(job_file), options)
    machine.tune_process()
    try:
        with outcome(job.source, job.target, log_format, None, quiet=quiet, verbose=False) as observe:
            done = array_job.run(job, part, resume.wanted(options, machine.resources()), observe)
        said = f"part {part} of {job.parts} is done: {counted(done, 'region')} now"
    except array_job.JobFinished as finished:  # as schedulers run a part again that was on a lost machine
        said = str(finished)
    if not quiet:
        print_lines([said])


def _reached(job: Job, options: Options) -> Job:
    """Return a job whose input and output are reached as this command says, if it says it."""
    if not options.storage_options:
        return job
    return replace(job, options=replace(job.options, storage_options=options.storage_options))


@cloup.command("status")
@_JOB
@cloup.option("--missing", is_flag=True, help="Print only the parts to be run, such as 3,17-20.")
@cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(job_file: Path, missing: bool, as_json: bool) -> None:
    """Show which parts of a job are done."""
    from ngff_convert import array_job
    from ngff_convert.job_file import load

    if missing and as_json:
        raise click.UsageError("--missing and --json exclude each other")
    job = load(job_file)
    status = array_job.status(job)
    spec = array_job.array_spec(status.undone)
    if missing:
        print_lines([spec])
    elif as_json:
        print_json({"source": job.source, "target": job.target, **_facts(status), "resubmit": spec})
    elif status.finished:
        print_lines([f"{job.target}: is there already: the job is finished, or the output is another's"])
    else:
        print_lines([f"{job.source} -> {job.target}", *_table(status), f"resubmit {spec or 'nothing'}"])


def _facts(status: Status) -> dict[str, object]:
    states = {state: status.parts(state) for state in ("done", "begun", "missing")}
    counts = {"regions": sum(status.regions), "regions_done": sum(status.done)}
    return {"finished": status.finished, **counts, **states}


def _table(status: Status) -> Iterator[str]:
    from ngff_convert.array_job import array_spec

    for state in ("done", "begun", "missing"):
        parts = status.parts(state)
        of, done = (sum(counts[part - 1] for part in parts) for counts in (status.regions, status.done))
        line = f"{state:<8} {counted(len(parts), 'part'):<12} {done} of {counted(of, 'region'):<20}"
        yield f"{line} {array_spec(parts)}".rstrip()


@cloup.command("finish")
@_JOB
@RESOURCES
@CLUSTER
@cloup.option_group(
    "Display",
    LOG_FORMAT,
    REPORT,
    _QUIET,
    cloup.option("-v", "--verbose", is_flag=True, help="Print the plan too."),
)
def finish_command(
    job_file: Path, log_format: str, report_file: str | None, quiet: bool, verbose: bool, **words: object
) -> None:
    """Make the store of a job whose parts are done.

    What is left are small levels, metadata, checks, and the name.
    Refused while parts are missing, which are named; the exit code is then 5.
    """
    from ngff_convert import array_job, machine
    from ngff_convert.job_file import load

    options = options_from(words)
    job = _reached(load(job_file), options)
    machine.tune_process()
    with outcome(job.source, job.target, log_format, report_file, quiet=quiet, verbose=verbose) as observe:
        not_whole(job.source, job.target, array_job.finish(job, options, observe).filled)
