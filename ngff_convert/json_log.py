"""What happens during a conversion as JSON lines, for programs: ``--log-format json``.

Every line is one object with `log`, the version of this format (now 1: fields may be added to it, none
removed or changed), `time` (UTC, ISO 8601), and `event`:

plan
    Pixels of an image are about to be read; a line for each image, before any region: `image` and `images`
    (its number from 0, and how many there are, label images included), `labels` (how many of these are label
    images, which come last), `label_of` (of a label image, the folder of its image; else null), `name`,
    `folder` (in the store), `dtype`, `levels` (`path`, `shape`, `chunks`, `shards`, `scale`, in the order of
    `axes`), `regions`, `workers`, `total_bytes` to be read, `finished_bytes` that an earlier run has read,
    and `digest`, which names the plan.
region
    A region is written: `image`, `pass`, `region` (numbers from 0), `levels` (first and last), `read_bytes`,
    `written_bytes`, `crc32` of its pixels, `filled` (a line for each cause), `done_bytes` and `total_bytes`
    of the image.
level
    All of a level is written: `image`, `level`, `path` in the store.
warning
    `message`: something to know although the conversion goes on.
done
    The output has its name: everything `describe.report_json` has; `exit_code` is 3 where some of it is
    filled, and an `error` follows. With ``--layout separate`` there is one for each store.
error
    It has failed, or the output is not whole: `exit_code` and `message`. Nothing follows.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ngff_convert import describe
from ngff_convert.events import Event, Finished, ImageStarted, LevelDone, Note, RegionDone

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

LOG_VERSION = 1


class JsonLines(AbstractContextManager["JsonLines"]):
    """An observer that writes a line an event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._done: dict[int, int] = {}
        self._total: dict[int, int] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Need nothing."""

    def __call__(self, event: Event) -> None:
        """Observe an event."""
        match event:
            case Note():
                self._say("warning", message=event.message)
            case ImageStarted():
                self._done[event.index], self._total[event.index] = event.finished_bytes, event.total_bytes
                self._say("plan", **_plan(event))
            case RegionDone():
                self._done[event.image] += event.read_bytes
                done, total = self._done[event.image], self._total[event.image]
                self._say("region", **_region(event), done_bytes=done, total_bytes=total)
            case LevelDone():
                self._say("level", image=event.image, level=event.level, path=event.path)
            case Finished():
                self._say("done", **describe.report_json(event.report))

    def failed(self, message: str, exit_code: int) -> None:
        """Tell how it ended."""
        self._say("error", exit_code=exit_code, message=message)

    def _say(self, event: str, **facts: Any) -> None:  # noqa: ANN401 - JSON of any kind
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"log": LOG_VERSION, "time": time, "event": event, **facts})
        with suppress(OSError):  # nobody reads any more, and the work goes on
            print(line, file=self._stream, flush=True)


def _plan(event: ImageStarted) -> dict[str, Any]:
    plan = event.plan
    return {
        "image": event.index,
        "images": event.count,
        "labels": event.n_labels,
        "label_of": event.label_of,
        "name": event.name,
        "folder": event.folder,
        "dtype": plan.dtype,
        **describe.levels_json(plan, event.folder),
        "regions": sum(step.n_regions for step in plan.passes),
        "workers": plan.workers,
        "total_bytes": event.total_bytes,
        "finished_bytes": event.finished_bytes,
        "digest": plan.digest,
    }


def _region(event: RegionDone) -> dict[str, Any]:
    return {
        "image": event.image,
        "pass": event.step,
        "region": event.region,
        "levels": event.levels,
        "read_bytes": event.read_bytes,
        "written_bytes": event.written_bytes,
        "crc32": f"{event.crc32:08x}",
        "filled": event.filled,
    }
