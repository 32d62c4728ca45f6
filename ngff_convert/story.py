"""What happened during a conversion, from its events to its report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ngff_convert import events
from ngff_convert.write_plan import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ngff_convert.events import Observer
    from ngff_convert.targets import Place
    from ngff_convert.verification import Verification
    from ngff_convert.write_plan import Decided


class Story:
    """Hands events on to the observer, and keeps what the report is made of."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._started = time.monotonic()
        self._notes: list[str] = []
        self._filled: list[str] = []
        self._verification: Verification | None = None
        self._read_bytes = self._written_bytes = self._kept_bytes = 0

    def __call__(self, event: events.Event) -> None:
        """Observe an event."""
        if isinstance(event, events.Note):
            self._notes.append(event.message)
        if isinstance(event, events.Verified):
            self._verification = event.verification
        if isinstance(event, events.RegionDone):
            self._read_bytes += event.read_bytes
            self._written_bytes += event.written_bytes
            self._filled += event.filled
        self._observer(event)

    def keep(self, read_bytes: int, filled: Iterable[str]) -> None:
        """Count what an earlier run has done."""
        self._kept_bytes += read_bytes
        self._filled += filled

    def report(self, place: Place, decided: Sequence[Decided], missing: tuple[str, ...]) -> Report:
        """Return the report of a store that is whole and has not its name yet."""
        from ngff_convert import store

        return Report(
            target=str(place.path),
            plans=tuple(d.plan for d in decided),
            folders=tuple(d.folder for d in decided),
            read_bytes=self._read_bytes,
            written_bytes=self._written_bytes,
            kept_bytes=self._kept_bytes,
            stored_bytes=store.stored_bytes(place.storage, decided),
            seconds=time.monotonic() - self._started,
            warnings=tuple(self._notes),
            filled=(*missing, *self._filled),
            verification=self._verification,
        )
